"""Held-out readings -> stacks, corrections and thresholds: all that is calibrated or chosen. For training only."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from .decide import UNDECIDED, Outcomes, Thresholds, agreed, joint, mass, place_of
from .model import CLASSES, COLUMNS, NOT_MENTIONED, PLACES, softmax_by_fact

Array = NDArray[Any]


@dataclass(frozen=True)
class Risks:
    """What may go wrong; shares of held-out descriptions."""

    accepted: float = 0.04  # wrong single verdicts among all
    asking: float = 0.015  # the same where questions can follow
    framing: float = 0.06  # wrong framings among those stated
    fact: float = 0.6  # probability from which on a value is stated that changes neither verdict nor framing
    assumed: float = 0.9  # probability from which on something goes without saying while the verdict is open
    # Where questions can follow, a question costs less than a mistake.
    asking_framing: float = 0.85
    asking_fact: float = 0.8
    asking_assumed: float = 0.95
    inverse_penalty: float = 0.05  # scikit-learn's C, of the stacks
    # The odds of an error on a text of today over those on a held-out one of the corpus: with twice, 0.955 is stated on average
    # of 230 verdicts on the texts kept aside, and 0.952 of them are right (docs/reader.md). It changes no decision.
    odds_outside: float = 2.0


POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)  # tried for the weight of a head over verdicts


@dataclass(frozen=True)
class Seen:
    """A description as models read it that were trained without its origin."""

    row: dict[str, Any]
    fold: int
    pooled: list[float]  # log-odds of the linear heads
    encoded: list[float]  # log-odds of the encoders, empty without them
    direct: list[list[float]]  # probabilities of the verdicts: whole-text head, encoder


def fit_stack(x: Array, labels: Sequence[Array], inverse_penalty: float) -> tuple[Array, Array]:
    """One multinomial logistic model for each fact -> weights (log-odds, column) and bias (column,)."""
    weights, bias = np.zeros((x.shape[1], len(COLUMNS))), np.zeros(len(COLUMNS))
    for y, place in zip(labels, PLACES, strict=True):
        if len(set(y.tolist())) == 1:
            bias[place.start + y[0]] = 10.0  # a small corpus may never mention a fact
            continue
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # the iteration limit is part of the recipe
            model = LogisticRegression(C=inverse_penalty, max_iter=300).fit(x, y)
        if len(model.classes_) == 2:
            coefficients, intercepts = np.vstack([-model.coef_, model.coef_]) / 2, np.repeat(model.intercept_, 2) / 2
            intercepts[0] *= -1
        else:
            coefficients, intercepts = model.coef_, model.intercept_
        weights[:, place.start + model.classes_] = coefficients.T
        bias[place.start + model.classes_] = intercepts
    return weights, bias


def temperature(scores: Array, labels: Sequence[Array]) -> Array:
    """The temperature of each fact, spread over its columns (column,), that fits held-out labels best."""
    found = np.ones(len(COLUMNS))
    for y, place in zip(labels, PLACES, strict=True):
        part = scores[:, place.start : place.stop]

        def loss(log_t: float, part: Array = part, y: Array = y) -> float:
            z = part / np.exp(log_t)
            z = z - z.max(axis=1, keepdims=True)
            return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean())

        found[place.start : place.stop] = np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x)
    return found


def stacked(seen: Sequence[Seen], careful: bool, inverse_penalty: float) -> tuple[dict[str, Any], list[list[float]]]:
    """The stack of a reader, its temperature folded in, and what stacks of the other origins say of each text (column,)."""
    x = np.array([s.pooled + s.encoded if careful else s.pooled for s in seen])
    labels = [
        np.array([values.index(s.row["facts"].get(fact, NOT_MENTIONED)) for s in seen])
        for fact, values in CLASSES.items()
    ]
    origin = np.array([s.row["origin"] for s in seen])
    scores = np.zeros((len(seen), len(COLUMNS)))
    for name in sorted(set(origin.tolist())):
        held = origin == name
        w, b = fit_stack(x[~held], [y[~held] for y in labels], inverse_penalty)
        scores[held] = x[held] @ w + b
    t = temperature(scores, labels)
    w, b = fit_stack(x, labels, inverse_penalty)
    stack = {"weights": np.round(w / t, 5).tolist(), "bias": np.round(b / t, 5).tolist()}
    return stack, [softmax_by_fact(row) for row in (scores / t).tolist()]


def settle(seen: Sequence[Seen], table: Outcomes, risks: Risks, careful: bool) -> dict[str, Any]:
    """Stack, weights of the verdict heads, correction and thresholds, with the curve of risk against coverage."""
    stack, facts = stacked(seen, careful, risks.inverse_penalty)
    together = [joint(p) for p in facts]
    places = [place_of(s.row["facts"]) for s in seen]
    true = [table.verdicts[p] for p in places]
    powers = []
    for head in range(2 if careful else 1):  # one after the other, as they are applied
        direct = [s.direct[head] for s in seen]
        power = min(POWERS, key=lambda w: _loss(together, direct, true, table, w))  # noqa: B023 - called at once
        together = [agreed(t, d, table, power) for t, d in zip(together, direct, strict=True)]
        powers.append(power)
    p, hit = _best([mass(t, table.by_verdict) for t in together], true)
    odds = np.log(np.clip(p, 1e-6, 1 - 1e-6) / np.clip(1 - p, 1e-6, 1))
    platt = LogisticRegression(C=1e6).fit(odds[:, None], hit)
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0]) - math.log(risks.odds_outside)
    sure = 1.0 / (1.0 + np.exp(-(slope * odds + offset)))
    q, right = _best([mass(t, table.by_framing) for t in together], [table.framings[p] for p in places])
    open_ = np.array([v == UNDECIDED for v in true])

    def verdict(risk: float) -> float:
        return _least(sure, hit, risk, len(hit))

    chosen, asking = verdict(risks.accepted), verdict(risks.asking)
    framing = _least(q, right, risks.framing, len(q), relative=True)
    return {
        "stack": stack,
        "powers": powers,
        "thresholds": asdict(Thresholds(chosen, framing, risks.fact, risks.assumed)),
        "asking": asdict(
            Thresholds(asking, max(framing, risks.asking_framing), risks.asking_fact, risks.asking_assumed)
        ),
        "scale": [slope, offset],
        "held_out": [_point(t, sure, hit, open_) for t in np.arange(0.4, 0.96, 0.05)],
    }


def _loss(
    together: Sequence[list[float]], direct: Sequence[list[float]], true: Sequence[str], table: Outcomes, power: float
) -> float:
    """Mean negative log-likelihood of the verdicts, `undecided` among them."""
    total = 0.0
    for t, d, label in zip(together, direct, true, strict=True):
        weighed = agreed(t, d, table, power)
        total -= float(np.log(max(sum(weighed[i] for i in table.by_verdict[label]), 1e-6)))
    return total / len(true)


def _best(masses: Sequence[dict[str, float]], true: Sequence[str]) -> tuple[Array, Array]:
    """The likeliest label of each text: its probability, and whether it is right."""
    names = [max(m, key=m.__getitem__) for m in masses]
    p = np.array([m[name] for m, name in zip(masses, names, strict=True)])
    return p, np.array([a == b for a, b in zip(names, true, strict=True)])


def _least(sure: Array, hit: Array, risk: float, rows: int, relative: bool = False) -> float:
    """The lowest threshold at which wrong ones are at most `risk` of all `rows`, or of those accepted if `relative`."""
    order = np.argsort(-sure, kind="stable")
    wrong = np.cumsum(~hit[order])
    allowed = np.flatnonzero(wrong <= risk * (np.arange(1, len(order) + 1) if relative else rows))
    return float(sure[order[allowed[-1]]]) if len(allowed) else 0.99


def _point(threshold: float, sure: Array, hit: Array, open_: Array) -> dict[str, float]:
    """What a threshold would give."""
    accepted = sure >= threshold
    told = accepted & ~open_
    return {
        "verdict_threshold": round(float(threshold), 3),
        "decided": round(float(told.sum() / max((~open_).sum(), 1)), 4),
        "right": round(float(hit[told].sum() / max(told.sum(), 1)), 4),
        "wrong": round(float((~hit & accepted).mean()), 4),
    }
