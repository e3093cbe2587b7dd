"""Off the training distribution: how the score falls with distance, and whether the adaptation data alone would have given it away.

`measure` runs in the worker, right after a training, with what was trained; `references` beside it says what random and the best reach in
the same tasks; `report` runs where the jobs were given out, on plain arrays. A family offers `moves`, a mapping of names to words, and
`moved(distance, name)`, a copy whose `sample` (and `catalogue`) draws tasks that were moved by `distance`: 0 is the training distribution,
1 the farthest that a report shows. The first of `moves` is shown against distance, the others at distance 1. A family that can be moved
to some distances only names them by `distances`. Actions turned round are a shift that any family can have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detector import GROUPS, Around, Detector, Shifted, Turned, watch
from .judge import NOTHING_LEARNED, Interval, interval, iqm, normalise

Array = NDArray[np.float64]
Measured = dict[str, Array]  # "what/place" -> what was measured there; plain arrays, fit for the run folder
Play = Callable[[Any, Any, int], Any]  # family, tasks (task, parameter), seed -> returns (task, stage), undiscounted

DISTANCES = (0.0, 0.25, 0.5, 0.75, 1.0)
SEED = 40_000  # added to the seed: tasks of their own
LEARNED, CALIBRATION = 150, 250  # training tasks whose adaptation data the detector learns from, and is calibrated on
WATCHED = 120  # tasks of each place that it is tried on
LONG = 50  # steps of an episode from which on half as many have to do
STRATA = 8  # distances that a widened distribution is made of
ENOUGH = 0.9  # share of alarms that counts as noticed
COVERED = 0.8  # share of the score at distance 0 that a widened training has to bring at distance 1


@dataclass(frozen=True)
class Point:
    """The score at one distance, and that of the best control where there is one."""

    distance: float
    score: Interval
    control: Interval | None
    noticed: float | None  # share of tasks at this distance for which the detector gives alarm


@dataclass(frozen=True)
class Noticed:
    """One kind of shift at its farthest: what it costs and what the detector makes of it."""

    name: str
    says: str  # what was moved, in words
    score: Interval
    share: float  # of single tasks that give alarm, from the adaptation data of that task alone
    tasks: int | None  # how many tasks must be seen together for 90 %; None: more than were tried


@dataclass(frozen=True)
class Width:
    """A training distribution widened to so much of the distance, and the score of what was trained on it."""

    width: float
    inside: Interval  # on the old training distribution
    shifted: Interval  # at distance 1
    covers: bool


@dataclass(frozen=True)
class Shift:
    """The shift report. `points` go from distance 0 to 1; `says` is the whole in a few sentences."""

    moves: str  # what distance means; empty where nothing draws tasks at one
    points: tuple[Point, ...]
    control: str | None  # which control the points show: the one with the best score at distance 0
    overtaken_at: float | None  # distance from which on that control is ahead to the end; None: it isn't
    halves_at: float | None  # distance at which half of the score at distance 0 is lost; None: nowhere up to 1
    false_alarms: float | None  # share of single tasks of the training distribution that give alarm
    noticed: tuple[Noticed, ...]
    widths: tuple[Width, ...]  # for none_reliable
    covered_by: float | None  # the first width that covers the case
    says: str


def places(family: Any) -> dict[str, tuple[str, Any]]:
    """Where agents are tested: label -> words and the family there. Distances have their number for a label, other kinds their name.

    A family without `moves` is tested on its `shifted` tasks alone, at distance 1; one that has none either, with actions turned round.
    """
    moves = getattr(family, "moves", None)
    found: dict[str, tuple[str, Any]] = {}
    if moves:
        first = next(iter(moves))
        found = {f"{d:g}": (moves[first], family.moved(d, first)) for d in getattr(family, "distances", DISTANCES)}
        found |= {name: (moves[name], family.moved(1.0, name)) for name in moves if name != first}
    elif moves is None and hasattr(family, "shifted"):
        found = {
            "0": ("as in training", family),
            "1": ("tasks as the family's own `shifted` draws them", Shifted(family)),
        }
    if hasattr(family, "step"):
        found = found or {"0": ("as in training", family)}
        found["actions"] = (
            "actions are turned round: left is right, the first of a number of actions the last",
            Turned(family),
        )
    return found


def measure(
    family: Any, play: Play, *, tasks: int, seed: int, scored: str = "last", control: bool = False,
    watched: Sequence[int] | None = None,
) -> Measured:  # fmt: skip
    """What a trained agent reaches on moved tasks, and what a detector makes of its adaptation data; runs in the worker, uses torch.

    `play(family, tasks, seed)` adapts to the tasks and returns (task, stage), for instance
    `lambda f, t, s: algorithm.evaluate(trained, config, f, t, s, job.test["episodes"])`. It must use the family it is given, for that
    writes down what the agent sees, and play all tasks side by side. `tasks`: how many a place, 0 for the family's catalogue (rows in
    the order of the ids). `scored`: what counts, the "last" stage or the "mean" of all. `control`: distances only, no detector.
    `watched`: how many tasks the detector learns from, is calibrated on, and is tried on in each place.
    """
    import torch

    measured: Measured = {}
    everywhere = places(family)
    for label, (_, there) in everywhere.items():
        if control and not _is_distance(label):
            continue
        with torch.no_grad():
            returns = play(there, _tasks(there, tasks, seed), SEED + seed).detach().double()
        measured[f"reached/{label}"] = np.asarray(returns.mean(1) if scored == "mean" else returns[:, -1])
    if control or not everywhere:
        return measured

    def seen(there: Any, number: int, stream: int) -> Any:
        generator = torch.Generator().manual_seed(SEED + 10 * seed + stream)
        known = tasks == 0 and hasattr(there, "sample_known")  # there `sample` draws tasks that have no id
        drawn = (there.sample_known if known else there.sample)(number, generator)
        return watch(there, play, drawn, SEED + 10 * seed + stream)

    tried = WATCHED if getattr(family, "horizon", 1) <= LONG else WATCHED // 2
    learned, calibration, tried = watched or (LEARNED, CALIBRATION, tried)
    detector = Detector(seen(family, learned, 1), seen(family, calibration, 2))
    for label, (_, there) in everywhere.items():
        adapting = seen(there, tried, 3)
        measured[f"alarms/{label}"] = np.array([detector.alarms(adapting, size).mean() for size in GROUPS])
    return measured


def references(family: Any, *, tasks: int, seed: int) -> Measured:
    """Returns of random actions and of the best there is, on the tasks that `measure` plays with the same arguments."""
    import torch

    found: Measured = {}
    for label, (says, there) in places(family).items():
        rows, generator = _tasks(there, tasks, seed), torch.Generator().manual_seed(SEED + seed)
        found[f"says/{label}/{says}"] = np.zeros(0)
        found[f"random/{label}"] = np.asarray(family.random_return(rows, generator).double())
        if hasattr(family, "pulls"):  # what can't be known has no place in the oracle: the exact optimum, a pull
            found[f"oracle/{label}"] = np.full(len(rows), there.bayes_optimum() / family.pulls)
        else:
            found[f"oracle/{label}"] = np.asarray(family.oracle_return(rows, generator).double())
    return found


def report(
    recommended: Sequence[Measured],
    references: Sequence[Measured],
    controls: Mapping[str, Sequence[Measured]] | None = None,
    *,
    pool: int = 1,
    widths: Mapping[float, Sequence[Measured]] | None = None,
) -> Shift | None:
    """The shift report from what each seed measured (two entries or more, one a seed); None where the family can't be moved.

    `controls`: candidate name -> what its trainings measured. `widths`: width -> what the recommended measured, trained on `widened`.
    `pool` tasks are averaged before they are scored, as in the judgement.
    """
    if not recommended or not recommended[0]:
        return None
    known = {key.split("/", 2)[1]: key.split("/", 2)[2] for key in references[0] if key.startswith("says/")}
    controls = controls or {}
    lead = _lead([recommended, *controls.values()], references)

    def together(returns: Array) -> int:
        return pool if returns.shape[1] % pool == 0 else 1

    def above_random(label: str) -> bool:
        gap = np.stack([m[f"oracle/{label}"] - m[f"random/{label}"] for m in references])
        return bool((gap.reshape(len(gap), -1, together(gap)).mean(2) > 0).all())

    best_known = all(above_random(label) for label in known)

    def scores(measured: Sequence[Measured], label: str) -> Array:
        reached, random, oracle = (
            np.stack([m[f"{what}/{label}"] for m in source])
            for what, source in (("reached", measured), ("random", references), ("oracle", references))
        )
        if not best_known:  # as far above random as the best candidate at distance 0
            oracle = random + lead
        return normalise(reached, random, oracle, together(reached))

    def alarms(label: str) -> Array:
        return np.asarray(np.mean([m[f"alarms/{label}"] for m in recommended], axis=0))

    distances = [label for label in known if _is_distance(label)]
    detected = any(key.startswith("alarms/") for key in recommended[0])
    best = max(controls, key=lambda name: float(iqm(scores(controls[name], "0"))), default=None)
    points = tuple(
        Point(
            float(label),
            interval(scores(recommended, label)),
            None if best is None else interval(scores(controls[best], label)),
            float(alarms(label)[0]) if detected else None,
        )
        for label in distances
    )
    noticed = tuple(
        Noticed(
            _name(label),
            known[label],
            interval(scores(recommended, label)),
            float(alarms(label)[0]),
            _tasks_needed(alarms(label)),
        )
        for label in known
        if detected and (label == "1" or not _is_distance(label))
    )
    inside = points[0].score.figure
    between = points if len(points) > 2 else ()  # of two points alone no one knows how it goes between them
    wide = tuple(
        _width(width, scores(runs, "0"), scores(runs, "1"), inside) for width, runs in sorted((widths or {}).items())
    )
    shift = Shift(
        moves=known.get("1", ""),
        points=points,
        control=best,
        overtaken_at=overtaken_at([(p.distance, p.score.figure, p.control.figure) for p in between if p.control]),
        halves_at=halves_at([(p.distance, p.score.figure) for p in between]),
        false_alarms=float(alarms("0")[0]) if detected else None,
        noticed=noticed,
        widths=wide,
        covered_by=next((w.width for w in wide if w.covers), None),
        says="",
    )
    return replace(shift, says=_says(shift))


def halves_at(points: Sequence[tuple[float, float]]) -> float | None:
    """The distance at which a straight line between points (distance, score) falls to half of the first score; None where it doesn't."""
    if not points or points[0][1] < NOTHING_LEARNED:
        return None
    half = points[0][1] / 2
    for (near, before), (far, after) in pairwise(points):
        if after <= half:
            return near + (far - near) * (before - half) / (before - after)
    return None


def overtaken_at(points: Sequence[tuple[float, float, float]]) -> float | None:
    """From points (distance, first, second) the distance from which on the second score is ahead to the end; None where it isn't.

    Between points both go straight.
    """
    if not points or points[-1][2] <= points[-1][1]:
        return None
    crossing = points[0][0]
    for (near, first, second), (far, first_far, second_far) in pairwise(points):
        lead, lead_far = first - second, first_far - second_far
        if lead_far < 0 <= lead:
            crossing = near + (far - near) * lead / (lead - lead_far)
    return crossing


def widened(family: Any, width: float) -> Any:
    """The family with a wider training distribution: each task moved by a distance drawn from [0, width], all of STRATA alike."""

    class Widened(Around):
        def sample(self, n: int, generator: Any) -> Any:
            import torch

            drawn = torch.stack([family.moved(width * (k + 0.5) / STRATA).sample(n, generator) for k in range(STRATA)])
            return drawn[torch.randint(STRATA, (n,), generator=generator), torch.arange(n)]

    return Widened(family)


def _is_distance(label: str) -> bool:
    return label[0].isdigit()


def _name(label: str) -> str:
    return "farthest" if _is_distance(label) else label


def _tasks(family: Any, tasks: int, seed: int) -> Any:
    """The same for all candidates of a seed, and at each distance drawn with the same numbers."""
    import torch

    return family.catalogue() if tasks == 0 else family.sample(tasks, torch.Generator().manual_seed(SEED + seed))


def _lead(candidates: Sequence[Sequence[Measured]], references: Sequence[Measured]) -> float:
    """How far the best candidate is above random at distance 0, on average."""
    random = np.mean([m["random/0"].mean() for m in references])
    lead = max(float(np.mean([m["reached/0"].mean() for m in runs]) - random) for runs in candidates)
    return max(lead, 1e-9)


def _tasks_needed(shares: Array) -> int | None:
    """The smallest number of tasks seen together that are noticed."""
    return next((size for size, share in zip(GROUPS, shares, strict=True) if share >= ENOUGH), None)


def _width(width: float, inside: Array, shifted: Array, before: float) -> Width:
    found = interval(shifted)
    return Width(width, interval(inside), found, found.figure >= COVERED * before > 0)


def _says(shift: Shift) -> str:
    near, far = shift.points[0].score.figure, shift.points[-1].score.figure
    parts = [f"Off the training distribution ({shift.moves}) the score goes from {near:.2f} to {far:.2f}"]
    if not shift.moves:
        parts = [
            "How the score falls with distance was not tested, for nothing draws tasks off the training distribution"
        ]
    if shift.halves_at is not None:
        parts[0] += f", and half of it is lost at distance {shift.halves_at:.2f}"
    if shift.moves and shift.control is not None and (control := shift.points[-1].control) is not None:
        parts.append(f"The control `{shift.control}` has {control.figure:.2f} there")
        if shift.overtaken_at is not None:
            parts[-1] += (
                f", and is ahead from distance {shift.overtaken_at:.2f} on"
                if shift.overtaken_at
                else ", and is ahead all along"
            )
    if shift.false_alarms is not None:
        parts.append(
            f"A detector that sees the adaptation data of one task, and nothing else, gives false alarm in {shift.false_alarms:.1%} of the tasks"
        )
    for kind in shift.noticed:
        after = {None: "not by ten tasks together", 1: "by one task"}.get(kind.tasks, f"by {kind.tasks} tasks together")
        parts.append(
            f"It notices `{kind.name}` in {kind.share:.0%} of single tasks, 90 % {after} (score there {kind.score.figure:.2f})"
        )
    for width in shift.widths:
        parts.append(
            f"Trained on tasks moved by up to {width.width:g} of the distance, it reaches {width.inside.figure:.2f} on the old "
            f"distribution and {width.shifted.figure:.2f} at distance 1"
        )
    if shift.widths:
        enough = (
            f"{shift.covered_by:g} of the distance is the first that covers the case"
            if shift.covered_by is not None
            else "none covers the case"
        )
        parts.append(f"To cover means {COVERED:.0%} of the score at distance 0 before widening: {enough}")
        if all(width.inside.figure < COVERED * near for width in shift.widths):
            parts.append(
                "Trained on wider tasks it lost the old ones, too: a longer training may cover what this one doesn't"
            )
    return ". ".join(parts) + "."
