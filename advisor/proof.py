"""Stage 3c: Rulebook -> proof by walking the whole fact space. `advisor rules check` prints it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from .engine import possible_verdicts
from .questions import expected_cost
from .rulebook import Rulebook, Setting, holds, table_faults


@dataclass(frozen=True)
class Proof:
    """What was walked and what was found; `faults` is empty when everything holds.

    `mutants` are structural: a row dropped, a cell widened to all values, a cell moved to another value. `expected_questions` is the expected
    cost of the optimal questionnaire from nothing known.
    """

    points: int
    partial_sets: int
    entries: Mapping[str, int]
    mutants: int
    mutants_caught: int
    expected_questions: float
    faults: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The proof as plain data."""
        return asdict(self)


def partial_sets(book: Rulebook) -> list[dict[str, str]]:
    """Every set of known decisive facts, the empty and the full ones included."""
    facts = book.decisive
    rows = product(*((None, *fact.values) for fact in facts))
    return [{f.id: v for f, v in zip(facts, row, strict=True) if v is not None} for row in rows]


def prove(book: Rulebook) -> Proof:
    """Walks all points, all partial fact sets and all structural mutants of the table."""
    points = book.points()
    faults = table_faults(book.settings, points)
    verdict_at = [(p, next(s.recommend for s in book.settings if holds(s.when, p))) for p in points]
    partial = partial_sets(book)
    for known in partial:
        reached = {v for p, v in verdict_at if all(p[name] == value for name, value in known.items())}
        if set(possible_verdicts(known, book)) != reached:
            faults.append(f"wrong by omission at {known}")
    unreached = set(book.entries["verdicts"]) - {"undecided"} - {v for _, v in verdict_at}
    faults += [f"unreachable verdict: {v}" for v in sorted(unreached)]
    mutants = list(_mutants(book))
    caught = sum(bool(table_faults(mutant, points)) for mutant in mutants)
    if caught < len(mutants):
        faults.append(f"{len(mutants) - caught} structural mutants pass unnoticed")
    return Proof(
        points=len(points),
        partial_sets=len(partial),
        entries={name: len(entries) for name, entries in book.entries.items()},
        mutants=len(mutants),
        mutants_caught=caught,
        expected_questions=round(expected_cost({}, book), 4),
        faults=tuple(faults),
    )


def _mutants(book: Rulebook) -> Iterator[tuple[Setting, ...]]:
    rows = book.settings
    for i, row in enumerate(rows):
        yield rows[:i] + rows[i + 1 :]
        for name, allowed in row.when.items():
            values = book.facts[name].values
            others = [v for v in values if v not in allowed]
            cells = [tuple(values)] * bool(others)
            cells += [tuple(v for v in allowed if v != dropped) + (added,) for dropped in allowed for added in others]
            cells += [tuple(v for v in allowed if v != dropped) for dropped in allowed if len(allowed) > 1]
            for cell in cells:
                yield (*rows[:i], replace(row, when={**row.when, name: cell}), *rows[i + 1 :])
