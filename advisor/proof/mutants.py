"""Mutants of the decision table: does anything notice when a row is wrong in form, or an outcome is wrong in substance?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..rulebook import Rulebook, Setting, holds


@dataclass(frozen=True)
class Golden:
    """An expectation that was not written from the table; `points` are the indices of the full points within its facts."""

    id: str
    facts: dict[str, str]
    verdict: str
    points: tuple[int, ...]


@dataclass(frozen=True)
class Swap:
    """A mutant with another outcome: the rule, the facts within which it says `verdict`, whether that is the `whole` row or one point of
    it, and whether a golden scenario notices."""

    rule: str
    whole: bool
    facts: dict[str, str]
    verdict: str
    killed: bool


def judge(golden: Golden, verdicts: list[str]) -> str:
    """`agrees`, `left_open` (the verdict is one of several, since a fact that the scenario does not state decides) or `contradicts`."""
    reached = {verdicts[k] for k in golden.points}
    if reached == {golden.verdict} or (golden.verdict == "undecided" and len(reached) > 1):
        return "agrees"
    return "left_open" if golden.verdict in reached else "contradicts"


def structural(book: Rulebook) -> Iterator[tuple[str, tuple[Setting, ...]]]:
    """Tables with a row dropped, or one cell widened to any value or by one, narrowed by one, or with one value moved to another."""
    rows = book.settings
    for i, row in enumerate(rows):
        yield f"`{row.id}` dropped", rows[:i] + rows[i + 1 :]
        for name, allowed in row.when.items():
            values = book.facts[name].values
            others = [v for v in values if v not in allowed]
            cells = [values] * bool(others) + [(*allowed, added) for added in others if len(others) > 1]
            cells += [(*(v for v in allowed if v != lost), added) for lost in allowed for added in others]
            cells += [tuple(v for v in allowed if v != lost) for lost in allowed if len(allowed) > 1]
            for cell in cells:
                changed = replace(row, when={**row.when, name: cell})
                yield f"`{row.id}` with {name} = {', '.join(cell)}", (*rows[:i], changed, *rows[i + 1 :])


def outcome_swaps(
    book: Rulebook, points: list[dict[str, str]], verdicts: list[str], golden: list[Golden]
) -> Iterator[Swap]:
    """Each row, and each single point of a row that has more than one, with each other verdict that the table knows.

    Killed by a golden scenario that agrees with the table and no longer does with the mutant.
    """
    known = sorted(set(verdicts))
    covering: list[list[Golden]] = [[] for _ in points]
    for case in golden:
        if judge(case, verdicts) == "agrees":
            for k in case.points:
                covering[k].append(case)
    for row in book.settings:
        inside = [k for k, point in enumerate(points) if holds(row.when, point)]
        cell = {name: allowed[0] for name, allowed in row.when.items()}
        mutants = [(True, inside, cell), *((False, [k], points[k]) for k in inside if len(inside) > 1)]
        for whole, changed, facts in mutants:
            cases = {case.id: case for k in changed for case in covering[k]}.values()
            for other in known:
                if other == row.recommend:
                    continue
                mutant = list(verdicts)
                for k in changed:
                    mutant[k] = other
                killed = any(judge(case, mutant) != "agrees" for case in cases)
                yield Swap(row.id, whole, facts, other, killed)
