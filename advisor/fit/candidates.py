"""Who is compared: the recommended algorithm, its controls and the references, and which of them the scenario's limits admit. Data, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .families import Family


@dataclass(frozen=True)
class Candidate:
    """One line of the report. `training` names a function of train.TRAININGS or controls.CONTROLS, `outcome` one of its results."""

    name: str
    role: str  # recommended, control or reference
    says: str  # what it is, for readers
    training: str
    outcome: str
    gradients: bool = False  # needs gradient steps at test time
    tested_on: str = "held_out"  # or "shifted", off the training distribution
    told: bool = False  # is told which task it is in
    belief: bool = True  # False: an algorithm of its own that keeps no belief which could be shown
    means: str = ""  # what it says about the recommendation if this control is clearly better


_MULTI_TASK = Candidate(
    "multi-task, task known", "control", "one policy for all tasks that is told the task's number", "multi_task", "known", told=True,
)  # fmt: skip
_HIDDEN = Candidate(
    "task hidden", "control", "the same training without the number", "multi_task_hidden", "hidden",
    means="telling it the task brings nothing here: the tasks are so alike that one compromise serves them all",
)  # fmt: skip
_SEPARATE = Candidate(
    "separate networks", "control", "a network for each task, the same steps in all", "multi_task_separate", "separate", told=True,
    means="sharing costs more than it brings (negative transfer): train one policy a task, or share less",
)  # fmt: skip
_MAML = Candidate(
    "MAML", "control", "meta-trained start, then gradient steps", "maml", "adapted", gradients=True, belief=False,
    means="gradient steps are allowed here and adapt better than what was recommended: weigh them against their cost at test time",
)  # fmt: skip
_RL2 = Candidate(
    "RL²", "control", "memory kept over all its episodes, weights frozen", "rl2", "remembering", belief=False,
    means="adapting in memory, without any gradient at test time, does better on this family: try it first where a recurrent policy can be used",
)  # fmt: skip
_PEARL = Candidate(
    "PEARL", "control", "a posterior over the task, sampled anew each episode, weights frozen", "pearl", "believing",
    means="inferring the task from all transitions, without any gradient at test time, does better on this family",
)  # fmt: skip
_FINE_TUNED = Candidate(
    "multi-task, then fine-tuned", "control", "one policy trained on all tasks without adaptation, then the same gradient steps on the same "
    "episodes; step size chosen on training tasks", "maml_pretrained", "adapted", gradients=True,
    means="ordinary pretraining and fine-tuning does better: meta-training isn't worth its cost on this budget of steps",
)  # fmt: skip
_SCRATCH = Candidate(
    "from scratch", "control", "an untrained policy, the same gradient steps on the same episodes; step size chosen on training tasks",
    "maml_scratch", "adapted", gradients=True, means="nothing that was learned across tasks helps here: train each task by itself",
)  # fmt: skip
_MEMORYLESS = Candidate(
    "policy without memory", "control", "the same training without memory or belief", "rl2_memoryless", "remembering",
    means="one fixed policy does better than what adapts: the tasks are too alike, or too little is seen of each, for adapting to pay",
)  # fmt: skip
_DICTIONARY = Candidate(
    "known tasks' policies in turn", "control", "multi-task training on 20 tasks; each episode of adaptation tries the next of its policies, "
    "the last episode keeps the best; their order is chosen on training tasks", "dictionary", "tried",
    means="the known tasks cover the new ones so well that trying their policies in turn does better than inferring the task",
)  # fmt: skip
_RANDOM = Candidate("random", "reference", "uniformly random actions", "references", "random")
_ORACLE = Candidate("oracle", "reference", "the best policy that is told the task", "references", "oracle")
_OPTIMUM = Candidate(
    "exact Bayes optimum", "reference", "the most that any learner can reach, computed exactly", "references", "oracle"
)
_GREEDY = Candidate("greedy on the posterior mean", "reference", "exact belief, never explores", "references", "greedy")
_UNADAPTED = {
    "maml": Candidate("unadapted", "control", "the same meta-trained policy before its first gradient step", "maml", "unadapted"),
    "rl2": Candidate("unadapted", "control", "the same weights, memory cleared at every step", "rl2", "forgetting"),
    "pearl": Candidate("unadapted", "control", "the same policy, its belief held at the prior", "pearl", "unadapted"),
}  # fmt: skip
_META = {"maml": _MAML, "rl2": _RL2, "pearl": _PEARL}


def candidates_of(verdict: str, name: str, family: Family) -> tuple[Candidate, ...]:
    """Everybody who is compared where `verdict` is recommended on the family called `name`; the recommended one first, references last."""
    if name == "in_context":
        return _IN_CONTEXT
    references = (
        _RANDOM,
        _OPTIMUM if name in ("bandit", "diagnosis") else _ORACLE,
        *([_GREEDY] if name == "bandit" else []),
    )
    if verdict == "none_reliable":
        same = replace(
            _PEARL, name="same distribution", role="recommended", says="PEARL on new goals of the training distribution"
        )
        off = (
            replace(c, name=f"{c.name}, shifted", outcome="shifted", tested_on="shifted", means="")
            for c in (_PEARL, _RL2, _DICTIONARY)
        )
        tuned = (
            replace(c, name=f"{c.name}, shifted", outcome="shifted", tested_on="shifted", means="")
            for c in (_MAML, _FINE_TUNED)
        )
        return (same, *(replace(c, belief=True) for c in (*off, *tuned)), *references)
    if verdict == "multi_task":
        rivals = (_HIDDEN, _SEPARATE, _RL2, _PEARL, _MAML, _FINE_TUNED, _SCRATCH)
        return (replace(_MULTI_TASK, role="recommended"), *rivals, *references)
    others = (c for n, c in _META.items() if n != verdict)
    plain = (_SCRATCH, _FINE_TUNED, *([] if verdict == "maml" else [_MEMORYLESS]), _DICTIONARY)
    return (replace(_META[verdict], role="recommended", belief=True), _UNADAPTED[verdict], *others, *plain, *references)


_IN_CONTEXT = (
    Candidate("in-context learner", "recommended", "examples in the prompt, weights frozen", "in_context", "in_context"),
    Candidate("without examples", "control", "the same weights, an empty prompt", "in_context", "zero_shot"),
    Candidate("few-shot fine-tuned", "control", "the same weights, tuned by gradient steps on the same examples", "in_context_tuned",
              "fine_tuned",
              gradients=True, means="tuning on the examples does better than reading them: in-context learning doesn't replace it here"),
    _RANDOM, _ORACLE,
)  # fmt: skip


def admit(
    candidates: tuple[Candidate, ...], facts: Mapping[str, str], family: Family, adapt: int, gradients: bool
) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """The candidates as they take part, and why the others don't.

    Few-shot fine-tuning is run beside in-context learning in any case, for whether one replaces the other is the question
    there; where the scenario rules it out, it is shown as a reference and judges nothing.
    """
    found = refusals(candidates, facts, family, adapt, gradients)
    beside = {c.name for c in candidates if c.training == "in_context_tuned" and c.name in found}
    shown = (
        replace(c, role="reference", says=f"{c.says}; not admitted here") if c.name in beside else c for c in candidates
    )
    return tuple(shown), {name: why for name, why in found.items() if name not in beside}


def refusals(
    candidates: tuple[Candidate, ...], facts: Mapping[str, str], family: Family, adapt: int, gradients: bool
) -> dict[str, str]:
    """Name -> why the scenario's limits, or the family's form, keep a candidate out.

    `adapt`: episodes to adapt in; `gradients`: whether gradient steps are allowed at test time.
    """
    found: dict[str, str] = {}
    for c in candidates:
        if c.gradients and not gradients:
            found[c.name] = "needs gradient steps at test time, which this scenario rules out"
        elif c.told and c.role == "control" and facts.get("task_identity") == "hidden":
            found[c.name] = "is told the task, which this scenario hides"
        elif facts.get("task_belief") == "required" and not c.belief:
            found[c.name] = "keeps no belief over the task that could be shown, which this scenario asks for"
        elif c.gradients and c.role == "control" and (adapt < 1 or family.scored == "mean"):
            found[c.name] = (
                "has no form for this stand-in: it adapts within what is scored, which leaves no gradient step before"
            )
        elif c.training == "dictionary" and adapt < 1:
            found[c.name] = "has no form for this stand-in: a task is one episode, which leaves none to try policies in"
    return found
