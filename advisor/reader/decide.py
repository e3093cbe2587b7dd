"""Probabilities of the facts -> what is proposed: stated values, assumptions from silence, and nothing where it is open.

The facts are decided together. Every combination of values, "not mentioned" included, leads to one verdict, to an open
question within one framing, or to nothing; the combinations' probabilities are summed, so what is risked is a wrong
verdict and not a wrong word. What separates the families is never assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

from .model import CLASSES, COLUMNS, FACTS, NOT_MENTIONED, PLACES, VERDICTS

UNDECIDED = "undecided"


@dataclass(frozen=True)
class Thresholds:
    """From which probability on something counts."""

    verdict: float  # a single verdict
    framing: float  # multi-task, meta or none, the verdict open
    fact: float  # a stated value that changes neither
    assumed: float  # what goes without saying, the verdict open


@dataclass(frozen=True)
class Value:
    """An accepted value of a fact; `assumed` where silence speaks for it."""

    value: str
    confidence: float
    assumed: bool


def with_assumptions(facts: Mapping[str, str]) -> dict[str, str]:
    """What goes without saying once the test tasks are stated: that no belief is asked for, and the training tasks."""
    full = dict(facts)
    test = full.get("test_tasks")
    if test in ("same_as_training", "new_same_distribution"):
        full.setdefault("task_belief", "not_required")
        full.setdefault("training_tasks", "known_set" if test == "same_as_training" else "distribution")
    return full


@lru_cache(maxsize=1)
def combinations() -> tuple[dict[str, str], ...]:
    """Every combination of the facts' values, unmentioned facts left out, in the order of `joint`."""
    return tuple(
        {fact: value for fact, value in zip(CLASSES, values, strict=True) if value != NOT_MENTIONED}
        for values in product(*CLASSES.values())
    )


@lru_cache(maxsize=1)
def _places() -> dict[tuple[str | None, ...], int]:
    return {tuple(facts.get(fact) for fact in FACTS): place for place, facts in enumerate(combinations())}


def place_of(facts: Mapping[str, str]) -> int:
    """Where a combination stands."""
    return _places()[tuple(facts.get(fact) for fact in FACTS)]


@lru_cache(maxsize=1)
def members() -> tuple[tuple[int, ...], ...]:
    """For each column the combinations that hold its value."""
    return tuple(
        tuple(i for i, facts in enumerate(combinations()) if facts.get(fact, NOT_MENTIONED) == value)
        for fact, value in COLUMNS
    )


@dataclass(frozen=True)
class Outcomes:
    """Where each combination leads by the rules: its verdict or `undecided`, and its framing or `undecided`."""

    verdicts: tuple[str, ...]
    framings: tuple[str, ...]
    by_verdict: dict[str, list[int]] = field(init=False, compare=False)  # the combinations of each verdict
    by_framing: dict[str, list[int]] = field(init=False, compare=False)
    open: dict[str, list[int]] = field(init=False, compare=False)  # of each framing those that leave the verdict open

    def __post_init__(self) -> None:
        for name, labels in (("by_verdict", self.verdicts), ("by_framing", self.framings)):
            found = {label: [i for i, of in enumerate(labels) if of == label] for label in sorted(set(labels))}
            object.__setattr__(self, name, found)
        still = set(self.by_verdict[UNDECIDED])
        object.__setattr__(self, "open", {f: [i for i in of if i in still] for f, of in self.by_framing.items()})


def joint(probability: Sequence[float]) -> list[float]:
    """(column,) -> the probability of every combination, the product over its facts."""
    a, b, c, d = (probability[place.start : place.stop] for place in PLACES)
    ab, cd = [x * y for x in a for y in b], [x * y for x in c for y in d]
    return [x * y for x in ab for y in cd]


def mass(together: Sequence[float], groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """The probability of each group of combinations but `undecided`."""
    return {label: sum([together[i] for i in of]) for label, of in groups.items() if label != UNDECIDED}


def agreed(together: list[float], direct: Sequence[float], outcomes: Outcomes, power: float) -> list[float]:
    """Weigh the combinations by what a head believes of the verdicts themselves: `direct` (verdict,).

    A log-linear pool (Genest and Zidek 1986): each verdict's probability moves to its geometric mean with the head's, `power` the
    weight of the head; within a verdict the combinations keep their proportions.
    """
    weighed = [0.0] * len(together)
    for label, p in zip(VERDICTS, direct, strict=True):
        of = outcomes.by_verdict.get(label, ())
        own = sum([together[i] for i in of])
        factor = (max(p, 1e-6) / max(own, 1e-6)) ** power
        for i in of:
            weighed[i] = together[i] * factor
    total = sum(weighed)
    return [x / total for x in weighed]


def calibrated(probability: float, scale: Sequence[float]) -> float:
    """Platt's correction: (slope, offset) on the log-odds, fitted on texts of authors that were held out."""
    p = min(max(probability, 1e-6), 1 - 1e-6)
    return 1.0 / (1.0 + math.exp(-(scale[0] * math.log(p / (1 - p)) + scale[1])))


def marginal(together: Sequence[float]) -> list[float]:
    """The probability of every value of every fact (column,)."""
    return [sum([together[i] for i in of]) for of in members()]


def decide(
    together: Sequence[float], outcomes: Outcomes, thresholds: Thresholds, scale: Sequence[float]
) -> dict[str, Value]:
    """The combinations' probabilities -> the accepted values.

    First a single verdict, if its calibrated probability reaches the threshold; else what fixes the framing alone; else what is
    stated without settling either.
    """
    verdicts, framings = mass(together, outcomes.by_verdict), mass(together, outcomes.by_framing)
    verdict, framing = max(verdicts, key=verdicts.__getitem__), max(framings, key=framings.__getitem__)
    sure = calibrated(verdicts[verdict], scale)
    if sure >= thresholds.verdict:
        chosen = outcomes.by_verdict[verdict]
    else:
        sure = 0.0
        chosen = outcomes.open[framing] if framings[framing] >= thresholds.framing else []
        chosen = chosen or outcomes.open[UNDECIDED]
    stated = combinations()[max(chosen, key=together.__getitem__)]
    return _values(stated, together, outcomes, thresholds, sure)


def _values(
    stated: dict[str, str], together: Sequence[float], outcomes: Outcomes, thresholds: Thresholds, sure: float
) -> dict[str, Value]:
    """The accepted values of one text, with the confidences that multiply to `sure` where a verdict is decided."""

    def of(fact: str, value: str) -> float:
        return min(sum([together[i] for i in members()[COLUMNS.index((fact, value))]]), 1.0)

    kept = dict(stated)
    for fact, value in stated.items():
        if of(fact, value) < thresholds.fact:
            fewer = {f: v for f, v in kept.items() if f != fact}
            if _leads(fewer, outcomes) == _leads(kept, outcomes):
                kept = fewer
    values = {fact: Value(value, of(fact, value), False) for fact, value in kept.items()}
    for fact, value in with_assumptions(kept).items():
        if fact not in kept:
            against = (
                sum(of(fact, v) for v in FACTS[fact] if v != value) if fact == "task_belief" else of(fact, "single")
            )
            if sure > 0.0 or 1.0 - against >= thresholds.assumed:
                values[fact] = Value(value, max(1.0 - against, 0.0), True)
    if sure > 0.0:
        needs = needed(values)
        product_of_all = math.prod(values[fact].confidence for fact in needs)
        power = math.log(min(sure, 0.999)) / min(math.log(max(product_of_all, 1e-9)), -1e-4)
        values = {
            f: Value(v.value, v.confidence**power if f in needs else v.confidence, v.assumed) for f, v in values.items()
        }
    return {fact: values[fact] for fact in FACTS if fact in values}


def needed(values: Mapping[str, Value]) -> set[str]:
    """The accepted facts on which the verdict rests together."""
    value = {fact: v.value for fact, v in values.items()}
    if value.get("test_tasks") == "shifted":
        return {"test_tasks"}
    if value.get("training_tasks") == "single":
        return {"test_tasks", "training_tasks"}
    if value.get("task_belief") == "required" or value.get("test_tasks") == "same_as_training":
        return set(value) - {"adaptation_gradients"}
    return set(value)


def _leads(facts: Mapping[str, str], outcomes: Outcomes) -> tuple[str, str]:
    place = place_of(facts)
    return outcomes.verdicts[place], outcomes.framings[place]
