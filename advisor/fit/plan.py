"""Recommendation -> Plan: which small task family stands in for the user's environment, and what is trained on it. Data first, no torch.

Each row of STAND_INS is a stand-in with its candidates; the first whose verdict and facts match is taken. All candidates of a row are
given the same number of environment steps to train on and the same episodes to adapt in; `tests/fit/test_train.py` counts them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..engine import Recommendation
from ..errors import AdvisorError, NoProject, nearest

Settings = Mapping[str, Any]
SEEDS = {"smoke": 3, "standard": 5}  # the budgets, by the number of seeds that they give

MOST_STEPS = 3  # gradient steps at test time: one for every 20 episodes that the scenario grants, up to as many as the paper shows


@dataclass(frozen=True)
class Candidate:
    """One line of the report. `training` names a function of train.TRAININGS, `outcome` one of its results."""

    name: str
    role: str  # recommended, control or reference
    says: str  # what it is, for readers
    training: str
    outcome: str
    gradients: bool = False  # needs gradient steps at test time
    tested_on: str = "held_out"  # or "shifted", off the training distribution


@dataclass(frozen=True)
class StandIn:
    """One task family with the candidates that are compared on it; `settings` are those of each training, by budget."""

    verdict: str
    family: str  # module:class under reference_impls.tasks
    sentence: str
    when: Settings = field(default_factory=dict)  # fact -> value that must be known
    family_settings: Settings = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    settings: Mapping[str, Mapping[str, Settings]] = field(default_factory=dict)  # budget -> training -> settings
    scored: str = "last"  # the stage that counts: the last, or the mean of all
    stage: str = "episode"  # what a stage of adaptation is called
    tasks: int = 40  # held-out tasks per seed
    pool: int = 1  # tasks averaged to one score: more where a single return is mostly luck
    test: Settings = field(default_factory=dict)  # how adaptation runs at test time, the same for every candidate


@dataclass(frozen=True)
class Plan:
    """What is going to be run: a stand-in, made to measure. `refused` holds candidates that the scenario's limits forbid, with the reason."""

    verdict: str
    stand_in: str
    row: StandIn
    candidates: tuple[Candidate, ...]
    refused: Mapping[str, str]
    settings: Mapping[str, Settings]  # training -> settings
    budget: str
    seeds: int


_RANDOM = Candidate("random", "reference", "uniformly random actions", "references", "random")
_ORACLE = Candidate("oracle", "reference", "the best policy that is told the task", "references", "oracle")
_OPTIMUM = Candidate(
    "exact Bayes optimum", "reference", "the most that any learner can reach, computed exactly", "references", "oracle"
)
_FINE_TUNED = Candidate(
    "multi-task, then fine-tuned", "control", "one policy trained on all tasks without adaptation, then the same gradient steps on the same "
    "episodes; step size chosen on training tasks", "maml_pretrained", "adapted", gradients=True,
)  # fmt: skip
_SCRATCH = Candidate(
    "from scratch", "control", "an untrained policy, the same gradient steps on the same episodes; step size chosen on training tasks",
    "maml_scratch", "adapted", gradients=True,
)  # fmt: skip

_PEARL_SMOKE = {"iterations": 20, "train_tasks": 200}
_PEARL_STANDARD = {"iterations": 40, "train_tasks": 200}

STAND_INS = (
    StandIn(
        verdict="multi_task",
        family="catalogue:Catalogue",
        sentence="a point robot that walks to one of {tasks} known goals, the goal named by its number",
        family_settings={"tasks": 10},
        candidates=(
            Candidate("multi-task, task known", "recommended", "one policy for all tasks that is told the task's number",
                      "multi_task", "known"),
            Candidate("task hidden", "control", "the same training without the number", "multi_task_hidden", "hidden"),
            Candidate("separate networks", "control", "a network for each task, the same steps in all", "multi_task_separate", "separate"),
            _RANDOM, _ORACLE,
        ),
        settings={
            "smoke": dict.fromkeys(("multi_task", "multi_task_hidden", "multi_task_separate"), {"iterations": 40}),
            "standard": dict.fromkeys(("multi_task", "multi_task_hidden", "multi_task_separate"), {"iterations": 150}),
        },
        tasks=0,  # the whole catalogue: it is tested on what it was trained on
    ),
    StandIn(
        verdict="maml",
        family="navigation:Navigation",
        sentence="a point robot in the plane that looks for a goal it can't see, anew in each task (2D navigation of the MAML paper)",
        candidates=(
            Candidate("MAML", "recommended", "meta-trained start, then gradient steps", "maml", "adapted", gradients=True),
            Candidate("unadapted", "control", "the same meta-trained policy before its first gradient step", "maml", "unadapted"),
            _SCRATCH, _FINE_TUNED, _RANDOM, _ORACLE,
        ),
        settings={
            "smoke": {"maml": {"iterations": 40}, "maml_pretrained": {"iterations": 80, "inner_steps": 0}, "maml_scratch": {}},
            "standard": {"maml": {"iterations": 100}, "maml_pretrained": {"iterations": 200, "inner_steps": 0}, "maml_scratch": {}},
        },
        stage="gradient step",
        tasks=40,
        test={"steps": 1, "episodes": 20},
    ),
    StandIn(
        verdict="rl2",
        family="bandit:Bandit",
        sentence="Bernoulli bandits with 5 arms and 10 pulls, new arms in each task (bandits of the RL² paper)",
        candidates=(
            Candidate("RL²", "recommended", "memory kept over the trial, weights frozen", "rl2", "remembering"),
            Candidate("unadapted", "control", "the same weights, memory cleared at every step", "rl2", "forgetting"),
            Candidate("policy without memory", "control", "the same training without memory", "rl2_memoryless", "remembering"),
            _SCRATCH, _FINE_TUNED, _RANDOM, _OPTIMUM,
            Candidate("greedy on the posterior mean", "reference", "exact belief, never explores", "references", "greedy"),
        ),
        settings={
            "smoke": dict.fromkeys(("rl2", "rl2_memoryless"), {"iterations": 250}),
            "standard": dict.fromkeys(("rl2", "rl2_memoryless"), {"iterations": 1200}),
        },
        scored="mean",
        stage="pull",
        tasks=4000,
        pool=100,
    ),
    StandIn(
        verdict="pearl",
        when={"action_kind": "discrete"},
        family="diagnosis:Diagnosis",
        sentence="a small diagnosis: order noisy tests at a cost, then name one of five conditions",
        candidates=(
            Candidate("PEARL", "recommended", "acts on its belief, which every result moves", "pearl", "believing"),
            Candidate("unadapted", "control", "the same policy, its belief held at the prior", "pearl", "unadapted"),
            Candidate("policy without memory", "control", "trained as long, without belief or memory", "rl2_memoryless", "remembering"),
            _RANDOM, _OPTIMUM,
        ),
        settings={
            "smoke": {"pearl": {"iterations": 20, "train_tasks": 1000}, "rl2_memoryless": {"iterations": 40, "tasks": 500, "episodes": 1}},
            "standard": {"pearl": {"iterations": 90, "train_tasks": 1000}, "rl2_memoryless": {"iterations": 180, "tasks": 500, "episodes": 1}},
        },
        tasks=3000,
        pool=100,
        test={"episodes": 1},
    ),
    StandIn(
        verdict="pearl",
        family="semicircle:Semicircle",
        sentence="a point robot that walks to a hidden goal on a semicircle and learns from its rewards where the goal lies",
        candidates=(
            Candidate("PEARL", "recommended", "a posterior over the task, sampled anew each episode", "pearl", "believing"),
            Candidate("unadapted", "control", "the same policy, its belief held at the prior", "pearl", "unadapted"),
            Candidate("known tasks' policies in turn", "control", "multi-task training on 20 tasks; each test episode tries the next of its "
                      "policies, the last episode keeps the best; their order is chosen on training tasks", "dictionary", "tried"),
            _RANDOM, _ORACLE,
        ),
        settings={
            "smoke": {"pearl": _PEARL_SMOKE, "dictionary": {"iterations": 35, "episodes": 20}},
            "standard": {"pearl": _PEARL_STANDARD, "dictionary": {"iterations": 65, "episodes": 20}},
        },
        tasks=200,
        test={"episodes": 4},
    ),
    StandIn(
        verdict="none_reliable",
        family="semicircle:Semicircle",
        sentence="a point robot that walks to a hidden goal: trained with goals on the upper semicircle, tested there and on the lower one",
        candidates=(
            Candidate("same distribution", "recommended", "PEARL on new goals of the training distribution", "pearl", "believing"),
            Candidate("shifted", "control", "the same trained policy on goals off that distribution", "pearl", "shifted", tested_on="shifted"),
            _RANDOM, _ORACLE,
        ),
        settings={"smoke": {"pearl": _PEARL_SMOKE}, "standard": {"pearl": _PEARL_STANDARD}},
        tasks=200,
        test={"episodes": 4},
    ),
)  # fmt: skip


def make(
    recommendation: Recommendation, family: str | None = None, budget: str = "smoke", seeds: int | None = None
) -> Plan:
    """The plan for a recommendation; `family` fits that family in place of the recommended verdict.

    Raises NoProject where there is nothing to train (undecided, out of scope), AdvisorError for an unknown family or budget and for
    fewer than two seeds.
    """
    verdict = family or recommendation.verdict
    facts = recommendation.values
    if budget not in SEEDS:
        raise AdvisorError(
            f"no budget is called `{budget[:80]}`", hint=f"{nearest(budget, SEEDS)} budgets: {', '.join(SEEDS)}".strip()
        )
    if seeds is not None and seeds < 2:
        raise AdvisorError("a fit needs at least 2 seeds", hint="one training run says nothing about the next")
    if verdict == "undecided":
        raise NoProject(
            "the verdict is still open, so there is nothing to fit yet; possible: "
            + ", ".join(recommendation.possible),
            hint="answer the next question with: advisor ask, or give the missing facts: "
            + ", ".join(recommendation.missing),
        )
    if verdict == "out_of_scope":
        raise NoProject(
            "nothing here is learned across tasks, so there is no multi-task or meta-learner to fit",
            hint="ordinary single-task training is the right tool; if there are more tasks, say so in the scenario",
        )
    row = next(
        (r for r in STAND_INS if r.verdict == verdict and all(facts.get(k) == v for k, v in r.when.items())), None
    )
    if row is None:
        raise AdvisorError(f"no stand-in for `{verdict[:80]}`", hint=nearest(verdict, {r.verdict for r in STAND_INS}))
    row = _to_measure(row, facts)
    settings = dict(row.settings[budget])
    refused = {}
    if facts.get("adaptation_gradients", "allowed" if verdict == "maml" else "not_allowed") == "not_allowed":
        why = "needs gradient steps at test time, which this scenario rules out"
        if family == "maml":
            raise NoProject(
                "MAML can't be fitted: " + why, hint="without gradients at test time the families are rl2 and pearl"
            )
        refused = {c.name: why for c in row.candidates if c.gradients}
    else:
        refused = {
            c.name: "has no form for this stand-in"
            for c in row.candidates
            if c.gradients and c.training not in settings
        }
    return Plan(
        verdict=verdict,
        stand_in=_says(row, facts),
        row=row,
        candidates=tuple(c for c in row.candidates if c.name not in refused),
        refused=refused,
        settings=settings,
        budget=budget,
        seeds=seeds or SEEDS[budget],
    )


def _to_measure(row: StandIn, facts: Mapping[str, str]) -> StandIn:
    """The row with the sizes that the facts give, within what trains in seconds."""
    if row.verdict == "multi_task" and "task_count" in facts:
        row = replace(
            row, family_settings={"tasks": min(max(int(facts["task_count"]), 2), row.family_settings["tasks"])}
        )
    if row.verdict == "maml" and "adaptation_episodes" in facts:
        episodes = int(facts["adaptation_episodes"])  # in all, so it is shared out over the gradient steps
        steps = max(1, min(MOST_STEPS, episodes // row.test["episodes"]))
        row = replace(row, test={"steps": steps, "episodes": max(2, min(row.test["episodes"], episodes // steps))})
    if row.stage == "episode" and row.test.get("episodes", 1) > 1 and "adaptation_episodes" in facts:
        row = replace(row, test={"episodes": 1 + max(1, min(9, int(facts["adaptation_episodes"])))})
    return row


def _says(row: StandIn, facts: Mapping[str, str]) -> str:
    """One sentence: what was trained, that it is not the user's environment, and what was left out."""
    out = ["the scenario's own observations, actions and dynamics"]
    if int(facts.get("task_count", 0)) > row.family_settings.get("tasks", math.inf):
        out.append(f"all but {row.family_settings['tasks']} of its {facts['task_count']} tasks")
    if facts.get("reward") == "sparse":
        out.append("the sparse reward")
    if facts.get("observation_kind") == "image":
        out.append("images")
    if facts.get("model_kind") == "foundation_model":
        out.append("the foundation model, in whose place a small network was trained")
    if facts.get("action_kind") == "discrete" and row.verdict in ("maml", "multi_task"):
        out.append("discrete actions")
    if facts.get("action_kind") == "continuous" and row.verdict == "rl2":
        out.append("continuous actions")
    what = row.sentence.format(**row.family_settings)
    if row.verdict == "maml":  # who wins depends on it: more steps favour fine-tuning
        steps, episodes = row.test["steps"], row.test["episodes"]
        what += f", scored after {steps} gradient step{'s' if steps > 1 else ''} on {episodes} episodes each"
    return f"A stand-in, not your environment: {what}; left out: {', '.join(out)}."
