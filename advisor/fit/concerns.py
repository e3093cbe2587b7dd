"""The concerns of multi-task training, diagnosed from trainings of the scenario's own tasks and not from its words.

`measure` trains and counts; `diagnose` compares with thresholds that `python -m benchmarks run concerns-diagnosis` checks on families
in which a concern bites or doesn't. Torch and the reference implementations are imported inside, in the worker.

A score is the share of the way from a random to the best policy of a task, so that loud and quiet tasks weigh alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from ..rulebook import holds
from ..rulebook.model import Entry

Measures = Mapping[str, float]
WIDER = 2  # the training that asks whether width helps has hidden layers so many times as wide,
LEAST = 128  # and at least so wide
PROBED = 5  # rounds from one look at the gradients to the next
PROBE_EPISODES = 50  # per task, of the untrained policy, behind the spread of the rewards
KINDS = ("shared", "separate", "wide")
TASKS = {"smoke": 25, "standard": 50}  # at most so many tasks of a plan are trained on, by budget,
IN_TURN = 5  # and at most so many one after another, which takes so many times the gradient steps
UNTRAINED = ("reward_spread",)  # measures of the family itself: no step that a training takes has acted on them


@dataclass(frozen=True)
class Sign:
    """What a concern is diagnosed by: it is present where the measure lies above the threshold."""

    concern: str  # as in rules/mitigations.toml
    measure: str
    threshold: float
    meaning: str
    advice: tuple[str, ...]  # ids of rules/mitigations.toml in the order in which to try them, simplest first


@dataclass(frozen=True)
class Finding:
    """One concern of one fit: the mean of its measure over the seeds against the threshold."""

    sign: Sign
    value: float

    @property
    def present(self) -> bool:
        """Whether the concern was found."""
        return self.value > self.sign.threshold

    @property
    def says(self) -> str:
        """One line: what was measured, against what, and what follows."""
        verdict = f"found; try {', then '.join(self.sign.advice)}" if self.present else "not found"
        return (
            f"{self.sign.concern}: {verdict} ({self.sign.meaning}: {self.value:.2f}, threshold {self.sign.threshold:g})"
        )


@dataclass(frozen=True)
class Step:
    """A mitigation that is still to be tried."""

    id: str  # in rules/mitigations.toml
    label: str


@dataclass(frozen=True)
class Asked:
    """What a plan wants to be diagnosed: the trainings, on how many tasks, and what may be recommended against each concern."""

    kinds: tuple[str, ...]
    tasks: int  # at most, evenly spread over the catalogue
    told: bool  # whether the policy is told its task
    advice: Mapping[str, tuple[Step, ...]]  # by concern, simplest first
    note: str  # what was trained on, for readers


@dataclass(frozen=True)
class Concern:
    """One concern in a report: its measure in each seed, the mean of them against the threshold, and what to try."""

    id: str  # in rules/mitigations.toml
    measure: str
    meaning: str
    values: tuple[float, ...]  # of each seed
    value: float  # their mean
    threshold: float
    present: bool  # the mean lies above the threshold
    advice: tuple[Step, ...]  # where present, what is left to try, simplest first


@dataclass(frozen=True)
class Diagnosis:
    """The concerns of one fit. `measures`: the mean over the seeds of everything that was measured, those without a threshold too."""

    concerns: tuple[Concern, ...]
    measures: Measures
    note: str


SIGNS = (
    Sign("task_imbalance", "reward_spread", 5.0, "largest over smallest spread of a task's rewards under the untrained policy",
         ("one_scale",)),
    Sign("gradient_interference", "gap", 0.05, "score by which single-task networks are ahead of the shared one",
         ("one_scale", "show_task_identity", "widen")),
    Sign("capacity_limits", "width_gain", 0.15, f"score that {WIDER} times the width, and at least {LEAST}, brings",
         ("show_task_identity", "larger_network")),
    Sign("catastrophic_interference", "forgetting", 0.1, "score that a task loses from the end of its own turn to the end of the last",
         ("train_side_by_side", "experience_replay", "continual_learning")),
)  # fmt: skip


def diagnose(measured: Iterable[Measures]) -> tuple[Finding, ...]:
    """The findings from what `measure` gave for each seed; there is none on a concern of which nothing was measured."""
    seeds = list(measured)
    values = {sign: [one[sign.measure] for one in seeds if sign.measure in one] for sign in SIGNS}
    return tuple(Finding(sign, mean(found)) for sign, found in values.items() if found)


def asked(
    facts: Mapping[str, str], mitigations: Mapping[str, Entry], budget: str, known: int, told: bool = True
) -> Asked:
    """What to diagnose on a catalogue of `known` tasks; `mitigations` are the entries of the rules.

    Forgetting is measured only where the facts say that catastrophic interference is a concern: it costs a training with the tasks
    one after another. What the trainings do already, or the facts say is done, is not recommended once more.
    """
    taken = {"one_scale", *(["show_task_identity"] if told else [])}
    advice = {}
    for sign in SIGNS:
        entry = mitigations.get(sign.concern, {})
        steps = sorted([*entry.get("before", []), *entry.get("options", [])], key=lambda step: int(step.get("step", 9)))
        advice[sign.concern] = tuple(
            Step(step["id"], step["label"])
            for step in steps
            if step["id"] in sign.advice
            and (sign.measure in UNTRAINED or step["id"] not in taken)
            and not (step.get("done") and holds(step["done"], facts))
        )
    in_turn = facts.get("catastrophic_interference") == "present"
    tasks = min(TASKS[budget], known)
    parts = [f"measured on {tasks} of the {known} tasks" if tasks < known else f"measured on all {known} tasks"]
    if in_turn:
        parts.append(f"on {min(IN_TURN, known)} one after another")
    else:
        parts.append("forgetting not measured, for nothing says that tasks arrive one after another")
    parts.append("rewards on one scale" + (" and the task's number given" if told else ""))
    if not told:
        parts.append("single-task networks know their task, so the gap holds what hiding it costs")
    return Asked((*KINDS, *(["in_turn"] if in_turn else [])), tasks, told, advice, "; ".join(parts))


def report(measured: Iterable[Measures], wanted: Asked) -> Diagnosis:
    """The diagnosis for a report, from what `measured` gave for each seed."""
    seeds = list(measured)
    names = dict.fromkeys(name for one in seeds for name in one)
    return Diagnosis(
        concerns=tuple(
            Concern(
                id=finding.sign.concern,
                measure=finding.sign.measure,
                meaning=finding.sign.meaning,
                values=tuple(one[finding.sign.measure] for one in seeds if finding.sign.measure in one),
                value=finding.value,
                threshold=finding.sign.threshold,
                present=finding.present,
                advice=wanted.advice.get(finding.sign.concern, ()) if finding.present else (),
            )
            for finding in diagnose(seeds)
        ),
        measures={name: mean(one[name] for one in seeds if name in one) for name in names},
        note=wanted.note,
    )


def measured(
    family: Any, settings: Mapping[str, Any], seed: int, kinds: Iterable[str], tasks: int, told: bool = True
) -> dict[str, float]:
    """What `measure` finds on at most so many tasks of the catalogue, and on at most IN_TURN of them one after another."""
    kinds, known, settings = tuple(kinds), family.catalogue(), {**settings, "task_id": told}
    found = measure(family, settings, seed, [k for k in kinds if k != "in_turn"], spread(known, tasks))
    if "in_turn" in kinds:
        found["forgetting"] = measure(family, settings, seed, ["in_turn"], spread(known, IN_TURN))["forgetting"]
    return found


def spread(tasks: Any, most: int) -> Any:
    """At most so many rows of tasks (task, parameter), at even distances in their list."""
    n = len(tasks)
    return tasks if n <= most else tasks[[i * n // most for i in range(most)]]


def measure(
    family: Any, settings: Mapping[str, Any], seed: int, kinds: Iterable[str] = KINDS, tasks: Any = None
) -> dict[str, float]:
    """What the concerns are diagnosed by, from trainings of the multi-task implementation with these settings of its Config.

    kinds: the trainings to run: "shared", "separate" (single-task networks) and "wide" for the gap and the gain from width, "in_turn" (one
    task after another) for forgetting; each gets the same environment steps. tasks (task, parameter): by default the family's catalogue.
    Besides the signs: `gradient_spread` (largest over smallest gradient norm of a task before training, raw rewards), `worst_gap` (of
    a single task), `cosine` and `opposed` (mean cosine of, and share of opposed pairs among, the tasks' actor gradients in training).
    """
    import torch

    from reference_impls import multi_task

    config = multi_task.Config(**{"seed": seed, **settings})
    tasks = family.catalogue() if tasks is None else tasks
    changes: dict[str, dict[str, Any]] = {
        "shared": {},
        "separate": {"separate": True, "heads": False, "surgery": False, "experts": 0, "balance": "equal"},
        "wide": {"hidden": tuple(max(LEAST, WIDER * n) for n in config.hidden), "critic_hidden": None},
        "in_turn": {
            "in_turn": True,
            "surgery": False,
            "balance": "equal",
            "iterations": config.iterations * len(tasks),
        },
    }
    if not config.task_id:
        changes["separate"]["task_id"] = True  # a network for each task knows its task
    values = spreads(family, config, tasks)
    returns: dict[str, Any] = {}
    after: list[Any] = []  # return of each task at the end of its turn
    for kind in kinds:
        changed = replace(config, **changes[kind])
        cosines: list[tuple[float, float]] = []

        def watch(moment: Any, kind: str = kind, changed: Any = changed, cosines: list[Any] = cosines) -> None:
            if kind == "shared" and moment.done % PROBED == 0:
                cosines.append(conflict(moment, changed))
            elif kind == "in_turn" and moment.done % config.iterations == 0:  # the end of a task's turn
                so_far = multi_task.Trained(moment.actor, moment.critic, tasks, 0)
                after.append(multi_task.evaluate(so_far, changed, family, tasks, seed)[len(after), 0])

        trained = multi_task.train(changed, family, tasks, watch=watch)
        returns[kind] = multi_task.evaluate(trained, changed, family, tasks, seed)[:, 0]  # (task,)
        if cosines:
            values |= {"cosine": mean(c for c, _ in cosines), "opposed": mean(o for _, o in cosines)}
    return values | _scores(family, tasks, returns, after, torch.Generator().manual_seed(seed))


def _scores(family: Any, tasks: Any, returns: Mapping[str, Any], after: list[Any], generator: Any) -> dict[str, float]:
    """Differences of scores, from the returns (task,) of each kind of training; where no oracle is known, the best of them is."""
    import torch

    random = family.random_return(tasks, generator)
    best = (
        family.oracle_return(tasks, generator)
        if hasattr(family, "oracle_return")
        else torch.full_like(random, torch.nan)
    )
    best = torch.where(best.isnan(), torch.stack([random, *returns.values()]).amax(0), best)
    room = (best - random).clamp(min=1e-6)  # (task,)
    values: dict[str, float] = {}
    if {"shared", "separate"} <= returns.keys():
        gap = (returns["separate"] - returns["shared"]) / room
        values |= {"gap": float(gap.mean()), "worst_gap": float(gap.max())}
    if {"shared", "wide"} <= returns.keys():
        values["width_gain"] = float(((returns["wide"] - returns["shared"]) / room).mean())
    if "in_turn" in returns:
        lost = (torch.stack(after) - returns["in_turn"]) / room
        values["forgetting"] = float(lost[:-1].mean())  # the last one had no time to be forgotten
    return values


def spreads(family: Any, config: Any, tasks: Any) -> dict[str, float]:
    """Ratio of the largest to the smallest task, before training: of the rewards' spread, and of the critic's raw gradient's norm."""
    import torch

    from reference_impls import mitigations, multi_task

    generator, ids = torch.Generator().manual_seed(config.seed), torch.arange(len(tasks))
    raw = replace(
        config, normalise_rewards=False, separate=False, heads=False, experts=0, in_turn=False, rehearse=False, ewc=0.0
    )
    actor = multi_task.MLP(family.observation_size, 2 * family.action_size, raw, len(tasks), generator)
    critic = multi_task.Twin(family.observation_size + family.action_size, raw, len(tasks), generator)
    seen = multi_task.collect(actor, family, tasks, ids, PROBE_EPISODES, generator)
    shift, scale = multi_task.standard(seen, family, raw)
    batch = multi_task.draw(seen, raw, shift, scale, generator)
    target = multi_task.targets(actor, critic, batch, ids, raw, generator)
    _, gradients = mitigations.task_gradients(
        critic, lambda q: multi_task.critic_loss(q, batch, ids, target), len(tasks)
    )
    ratios = {"reward_spread": seen.reward.std(1, correction=0), "gradient_spread": gradients.norm(dim=1)}
    return {name: float(x.max() / x.min().clamp(min=1e-9)) for name, x in ratios.items()}


def conflict(moment: Any, config: Any) -> tuple[float, float]:
    """Mean cosine between the tasks' actor gradients, and the share of pairs that are opposed; (0, 0) for a single task."""
    import torch

    from reference_impls import mitigations, multi_task

    generator, n = torch.Generator().manual_seed(moment.done), len(moment.ids)
    if n < 2 or any(len(p) > 1 for p in moment.actor.parameters()):  # heads, experts: no plain shared weights
        return 0.0, 0.0
    _, gradients = mitigations.task_gradients(
        moment.actor,
        lambda actor: multi_task.actor_loss(actor, moment.critic, moment.batch, moment.ids, config, generator),
        n,
    )
    unit = gradients / gradients.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosines = (unit @ unit.T)[torch.triu_indices(n, n, 1).unbind(0)]  # (pair,)
    return float(cosines.mean()), float((cosines < 0).float().mean())
