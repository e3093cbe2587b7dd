"""Probabilities of the facts -> what is proposed: stated values, assumptions from silence, and nothing where it is open.

The facts are decided together. Every combination of values, "not mentioned" included, leads to one verdict, to an open
question within one framing, or to nothing; the combinations' probabilities are summed, so what is risked is a wrong
verdict and not a wrong word. What separates the families is never assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .model import CLASSES, COLUMNS, FACTS, NOT_MENTIONED

UNDECIDED = "undecided"


@dataclass(frozen=True)
class Thresholds:
    """From which probability on something counts."""

    verdict: float  # a single verdict
    framing: float  # multi-task, meta or none, the verdict open
    fact: float  # a stated value that changes neither


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
def combinations() -> tuple[tuple[dict[str, str], ...], NDArray[np.int64]]:
    """Every combination of the facts' values, unmentioned facts left out, and its columns (combination, fact)."""
    stated = []
    columns = []
    for values in product(*CLASSES.values()):
        chosen = dict(zip(CLASSES, values, strict=True))
        stated.append({fact: value for fact, value in chosen.items() if value != NOT_MENTIONED})
        columns.append([COLUMNS.index((fact, value)) for fact, value in chosen.items()])
    return tuple(stated), np.array(columns)


@dataclass(frozen=True)
class Outcomes:
    """Where each combination leads by the rules: its verdict or `undecided`, and its framing or `undecided`."""

    verdicts: tuple[str, ...]
    framings: tuple[str, ...]

    def members(self, verdict: str, framing: str | None = None) -> NDArray[np.int64]:
        """The combinations with this verdict and, if given, this framing."""
        found = [
            i
            for i, (v, f) in enumerate(zip(self.verdicts, self.framings, strict=True))
            if v == verdict and framing in (None, f)
        ]
        return np.array(found, dtype=np.int64)


def joint(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """(text, column) -> the probability of every combination (text, combination)."""
    return probability[:, combinations()[1]].prod(axis=-1)  # type: ignore[no-any-return]


def mass(together: NDArray[np.float64], labels: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """(text, combination) -> for each label but `undecided` the probability of the combinations that bear it (text,)."""
    of = np.array(labels)
    return {label: together[:, of == label].sum(axis=1) for label in sorted(set(labels) - {UNDECIDED})}


def calibrated(probability: float, scale: tuple[float, float]) -> float:
    """Platt's correction: (slope, offset) on the log-odds, fitted on texts of authors that were held out."""
    p = min(max(probability, 1e-6), 1 - 1e-6)
    return 1.0 / (1.0 + math.exp(-(scale[0] * math.log(p / (1 - p)) + scale[1])))


def marginal(together: NDArray[np.float64]) -> NDArray[np.float64]:
    """(text, combination) -> the probability of every value of every fact (text, column)."""
    out = np.zeros((len(together), len(COLUMNS)))
    for place, columns in enumerate(combinations()[1]):
        out[:, columns] += together[:, place, None]
    return out


def decide(
    together: NDArray[np.float64], outcomes: Outcomes, thresholds: Thresholds, scale: tuple[float, float]
) -> list[dict[str, Value]]:
    """(text, combination) probabilities -> the accepted values of each text.

    First a single verdict, if its calibrated probability reaches the threshold; else what fixes the framing alone; else what is
    stated without settling either.
    """
    verdicts, framings = mass(together, outcomes.verdicts), mass(together, outcomes.framings)
    probability = marginal(together)
    found = []
    for i in range(len(together)):
        verdict = max(verdicts, key=lambda v: verdicts[v][i])
        framing = max(framings, key=lambda f: framings[f][i])
        sure = calibrated(float(verdicts[verdict][i]), scale)
        if sure >= thresholds.verdict:
            members = outcomes.members(verdict)
        else:
            members, sure = outcomes.members(UNDECIDED, framing), 0.0
            if framings[framing][i] < thresholds.framing or not len(members):
                members = outcomes.members(UNDECIDED, UNDECIDED)
        stated = combinations()[0][int(members[together[i, members].argmax()])]
        found.append(_values(stated, probability[i], outcomes, thresholds, sure))
    return found


def _values(
    stated: dict[str, str], p: NDArray[np.float64], outcomes: Outcomes, thresholds: Thresholds, sure: float
) -> dict[str, Value]:
    """The accepted values of one text, with the confidences that multiply to `sure` where a verdict is decided."""

    def of(fact: str, value: str) -> float:
        return float(p[COLUMNS.index((fact, value))])

    kept = dict(stated)
    for fact, value in stated.items():
        fewer = {f: v for f, v in kept.items() if f != fact}
        if of(fact, value) < thresholds.fact and _leads(fewer, outcomes) == _leads(kept, outcomes):
            kept = fewer
    values = {fact: Value(value, of(fact, value), False) for fact, value in kept.items()}
    for fact, value in with_assumptions(kept).items():
        if fact not in kept:
            against = (
                sum(of(fact, v) for v in FACTS[fact] if v != value) if fact == "task_belief" else of(fact, "single")
            )
            values[fact] = Value(value, 1.0 - against, True)
    if sure > 0.0:
        product_of_all = math.prod(v.confidence for f, v in values.items() if f in needed(values))
        power = math.log(min(sure, 0.999)) / min(math.log(max(product_of_all, 1e-9)), -1e-4)
        values = {
            f: Value(v.value, v.confidence**power if f in needed(values) else v.confidence, v.assumed)
            for f, v in values.items()
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
    place = combinations()[0].index(dict(facts))
    return outcomes.verdicts[place], outcomes.framings[place]
