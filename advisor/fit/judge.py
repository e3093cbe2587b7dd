"""Scores -> verdict. NumPy alone, nothing trained here, so every rule of judgement can be tested on made-up scores.

A score is (return - random) / (oracle - random): 0 is a random policy, 1 the best that can be reached. Scores are summed up by the
interquartile mean (Agarwal et al. 2021, arXiv 2108.13264, section 4.3), which a few lucky tasks can't lift. Two things vary, the tasks
met and the luck of a training run; so an interval is the wider of two: a bootstrap over tasks within each seed (seeds are the strata) and
Student's interval over the seeds' own figures. With 3 seeds the second is wide, and that is right: three runs prove little.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]  # (seed, task)

LEVEL = 0.95  # of every interval that is shown
RESAMPLES = 2000  # of the bootstrap
NOTHING_LEARNED = 0.05  # a score surely below this is no better than random for any use
# A lead smaller than this is none to whoever trains one agent once: five seeds of one and the same reference implementation lie as far apart
# (README: RL² on bandits from 0.96 to 0.99, PEARL on the semicircle within 0.03, MAML on navigation within 0.02 of the way).
LEAST_LEAD = 0.03
MOST_SEEDS = 100  # beyond this many, "more seeds" is no advice


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, both in units of the score."""

    figure: float
    low: float
    high: float


@dataclass(frozen=True)
class Judgement:
    """`verdict` is fits, does_not_fit or not_enough_evidence; `differences` are recommended minus control, one a control."""

    verdict: str
    reason: str
    score: Interval
    differences: Mapping[str, Interval]
    more_seeds: (
        int | None
    )  # how many more would probably settle it; None where none are needed or no sensible number is enough
    better: str | None = None  # the control that is clearly better, where there is one


def normalise(returns: Scores, random: Scores, oracle: Scores, pool: int = 1) -> Scores:
    """Scores (seed, task / pool) of returns (seed, task), where random and oracle are those of the same tasks.

    `pool` tasks are averaged before they are scored: where one task's return is mostly luck, single scores say nothing.
    Raises ValueError where the oracle is not above random or `pool` does not divide the tasks.
    """
    if returns.shape[1] % pool:
        raise ValueError(f"{returns.shape[1]} tasks can't be averaged in groups of {pool}")
    pooled = [x.reshape(len(x), -1, pool).mean(2) for x in (returns, random, oracle)]
    gap = pooled[2] - pooled[1]
    if not (gap > 0).all():
        raise ValueError("the oracle must be above the random policy on every task")
    score: Scores = (pooled[0] - pooled[1]) / gap
    return score


def iqm(scores: Scores, axis: int | None = None) -> Scores:
    """The mean of the middle half along `axis`, of everything without one; a quarter is cut at each end, rounded down."""
    values = np.sort(scores.ravel() if axis is None else np.moveaxis(scores, axis, -1), axis=-1)
    cut = values.shape[-1] // 4
    return np.asarray(values[..., cut : values.shape[-1] - cut].mean(-1))


def bootstrap(
    scores: Scores, minus: Scores | None = None, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """Interval of the IQM of scores (seed, task), or of its lead over `minus` on the same tasks, tasks drawn anew within each seed."""
    rng = np.random.default_rng(0)  # a fixed seed: the same scores give the same verdict
    columns = rng.integers(scores.shape[1], size=(resamples, *scores.shape))  # (resample, seed, task)
    rows = np.arange(len(scores))[:, None]
    statistic, figure = iqm(scores[rows, columns].reshape(resamples, -1), 1), iqm(scores)
    if minus is not None:  # the same tasks drawn for both: a paired difference
        statistic, figure = statistic - iqm(minus[rows, columns].reshape(resamples, -1), 1), figure - iqm(minus)
    low, high = np.quantile(statistic, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(figure), float(low), float(high))


def interval(scores: Scores, minus: Scores | None = None, level: float = LEVEL, resamples: int = RESAMPLES) -> Interval:
    """The wider of the bootstrap over tasks and Student's interval over seeds. Raises ValueError for fewer than two seeds."""
    if len(scores) < 2:
        raise ValueError("an interval needs at least 2 seeds: one run says nothing about the next")
    over_tasks = bootstrap(scores, minus, level, resamples)
    own = _of_seeds(scores, minus)
    half = student_quantile((1 + level) / 2, len(own) - 1) * own.std(ddof=1) / math.sqrt(len(own))
    low, high = float(own.mean() - half), float(own.mean() + half)
    return Interval(over_tasks.figure, min(over_tasks.low, low), max(over_tasks.high, high))


def judge(recommended: Scores, controls: Mapping[str, Scores], resamples: int = RESAMPLES) -> Judgement:
    """The verdict for scores (seed, task) of the recommended and of each admitted control, on the same tasks.

    - fits: the lead over every control is at least LEAST_LEAD, and it and the score are clear of zero;
    - does_not_fit: a control is clearly ahead, by at least LEAST_LEAD, or the recommended has learned next to nothing;
    - not_enough_evidence: anything else.

    "Every" needs no correction for several controls, "a" does: there the level is raised with their number (Bonferroni), so that
    either false verdict stays below 2.5 %.
    """
    score = interval(recommended, resamples=resamples)
    leads = {name: interval(recommended, other, resamples=resamples) for name, other in controls.items()}
    strict = 1 - (1 - LEVEL) / max(1, len(controls))
    for name in sorted(leads, key=lambda n: leads[n].figure):
        ahead = leads[name].figure <= -LEAST_LEAD
        if ahead and interval(recommended, controls[name], strict, resamples).high < 0:
            reason = f"the control `{name}` is clearly better, by {-leads[name].figure:.2f} of the way from random to the oracle"
            return Judgement("does_not_fit", reason, score, leads, None, name)
    if score.high < NOTHING_LEARNED:
        reason = f"it is no better than random: its score is {score.figure:.2f} ({score.low:.2f} to {score.high:.2f})"
        return Judgement("does_not_fit", reason, score, leads, None)
    unclear = {n: lead for n, lead in leads.items() if lead.low <= 0 or lead.figure < LEAST_LEAD}
    if not unclear and score.low > 0:
        if leads:
            nearest, lead = min(leads.items(), key=lambda item: item[1].figure)
            beaten = f"each of {len(leads)} admitted controls" if len(leads) > 1 else "the one admitted control"
            closest = f"the closest, `{nearest}`, is {lead.figure:.2f} behind"
            reason = f"it beats random and {beaten}, every interval clear of zero; {closest}"
        else:
            reason = "it beats random, the interval clear of zero; no control was admitted"
        return Judgement("fits", reason, score, leads, None)
    return _open(recommended, controls, score, leads, unclear)


def _open(
    recommended: Scores,
    controls: Mapping[str, Scores],
    score: Interval,
    leads: Mapping[str, Interval],
    unclear: Mapping[str, Interval],
) -> Judgement:
    """Not enough evidence: over whom the lead is unclear, whom it is level with, and how much more would settle it."""
    level = [n for n, lead in unclear.items() if max(abs(lead.low), abs(lead.high)) < LEAST_LEAD]
    against = ", ".join(f"`{name}`" for name in unclear) or "random"
    says = f"its lead over {against} is not clear of zero, or too small to matter (less than {LEAST_LEAD:.2f})"
    if level:
        names = ", ".join(f"`{name}`" for name in level)
        reason = f"{says}; with {names} it is level for any use, and more seeds won't change that"
        return Judgement("not_enough_evidence", reason, score, leads, None)
    needed = [seeds_needed(recommended, controls[name]) for name in unclear]
    if score.low <= 0:
        needed.append(seeds_needed(recommended, None))
    if None in needed:
        reason = f"{says}; at this budget not even {MOST_SEEDS} seeds would settle it: train longer"
        return Judgement("not_enough_evidence", reason, score, leads, None)
    more = max(1, max(n for n in needed if n is not None) - len(recommended))
    reason = f"{says}; about {more} more seed{'s' if more > 1 else ''} would settle it"
    return Judgement("not_enough_evidence", reason, score, leads, more)


def seeds_needed(scores: Scores, minus: Scores | None) -> int | None:
    """The number of seeds at which a difference of this size and spread would be clear of zero.

    None above MOST_SEEDS, and for a difference below LEAST_LEAD: it would be clear some day, and still too small to matter.
    """
    own = _of_seeds(scores, minus)
    if abs(own.mean()) < LEAST_LEAD:
        return None
    for n in range(len(own), MOST_SEEDS + 1):
        if abs(own.mean()) > student_quantile((1 + LEVEL) / 2, n - 1) * own.std(ddof=1) / math.sqrt(n):
            return n
    return None


def _of_seeds(scores: Scores, minus: Scores | None) -> Scores:
    """Each seed's own figure, (seed,)."""
    return iqm(scores, 1) if minus is None else iqm(scores, 1) - iqm(minus, 1)


def student_quantile(p: float, freedom: int) -> float:
    """The p-quantile (0.5 <= p < 1) of Student's t with a whole number of degrees of freedom, by bisection."""
    low, high = 0.0, 1.0
    while _student_mass(high, freedom) < 2 * p - 1:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_mass(middle, freedom) < 2 * p - 1 else (low, middle)
    return (low + high) / 2


def _student_mass(t: float, freedom: int) -> float:
    """P(|T| < t), Abramowitz and Stegun 1964, 26.7.3 (odd) and 26.7.4 (even)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for k in range(3 if odd else 2, freedom, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    if not odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))
