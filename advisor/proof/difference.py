"""Two rule sets side by side: every point of facts at which their advice differs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from math import prod
from typing import Any

from ..engine import possible_rules, possible_verdicts
from ..errors import RulesError
from ..rulebook import LARGEST_SPACE, Fact, Rulebook


@dataclass(frozen=True)
class Advice:
    """What a rule set says at a point; both are None where it does not know one of the point's values."""

    verdict: str | None
    rule: str | None


@dataclass(frozen=True)
class Point:
    """A full assignment of the facts that decide in either rule set, with the advice of both."""

    facts: Mapping[str, str]
    a: Advice
    b: Advice


@dataclass(frozen=True)
class Group:
    """Differing points in which the verdicts of both are the same, as one box of cells (a fact that is left out may have any value)."""

    facts: Mapping[str, tuple[str, ...]]
    a: str | None
    b: str | None
    points: int


@dataclass(frozen=True)
class Difference:
    """`compared` points in all; `points` those with another verdict, `groups` the same in fewer lines; `entries` by file: ids added, removed
    and changed."""

    versions: tuple[str, str]
    compared: int
    points: tuple[Point, ...]
    groups: tuple[Group, ...]
    entries: Mapping[str, Mapping[str, tuple[str, ...]]]

    def as_dict(self) -> dict[str, Any]:
        """The difference as plain data."""
        return asdict(self)


def compare(a: Rulebook, b: Rulebook) -> Difference:
    """Both rule sets at every point of the facts that decide in one of them. A fact that decides in one only has no effect in the other.

    Raises RulesError where there are too many points to walk.
    """
    values = _joined(a.decisive, b.decisive)
    if (compared := prod(len(v) for v in values.values())) > LARGEST_SPACE:
        raise RulesError(
            f"together the facts have {compared} points, more than {LARGEST_SPACE}", f"{a.folder}, {b.folder}"
        )
    points = []
    for chosen in product(*values.values()):
        facts = dict(zip(values, chosen, strict=True))
        both = _advice(facts, a), _advice(facts, b)
        if both[0].verdict != both[1].verdict:
            points.append(Point(facts, *both))
    return Difference((a.version, b.version), compared, tuple(points), _grouped(points, values), _entries(a, b))


def _joined(a: tuple[Fact, ...], b: tuple[Fact, ...]) -> dict[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    for fact in sorted((*a, *b), key=lambda f: f.id):
        values[fact.id] = tuple(dict.fromkeys((*values.get(fact.id, ()), *fact.values)))
    return values


def _advice(facts: Mapping[str, str], book: Rulebook) -> Advice:
    known = {fact.id: facts[fact.id] for fact in book.decisive}
    if not all(fact.accepts(known[fact.id]) for fact in book.decisive):
        return Advice(None, None)
    return Advice(possible_verdicts(known, book)[0], possible_rules(known, book)[0])


def _grouped(points: list[Point], values: Mapping[str, tuple[str, ...]]) -> tuple[Group, ...]:
    """Boxes that cover the points: two that differ in the cell of one fact alone are joined, until none can be."""
    boxes: dict[tuple[str | None, str | None], list[dict[str, tuple[str, ...]]]] = {}
    for point in points:
        box: dict[str, tuple[str, ...]] = {name: (value,) for name, value in point.facts.items()}
        boxes.setdefault((point.a.verdict, point.b.verdict), []).append(box)
    groups = []
    for (was, now), rest in boxes.items():
        for name in values:  # one fact after the other: boxes with equal cells elsewhere become one
            joined: dict[tuple[Any, ...], dict[str, tuple[str, ...]]] = {}
            for box in rest:
                others = tuple(cell for n, cell in box.items() if n != name)
                seen = joined.setdefault(others, {**box, name: ()})
                seen[name] = tuple(v for v in values[name] if v in seen[name] or v in box[name])
            rest = list(joined.values())
        for box in rest:
            told = {name: cell for name, cell in box.items() if len(cell) < len(values[name])}
            groups.append(Group(told, was, now, prod(len(cell) for cell in box.values())))
    return tuple(groups)


def _entries(a: Rulebook, b: Rulebook) -> dict[str, dict[str, tuple[str, ...]]]:
    changes = {}
    for name in a.entries:
        mine, other = a.entries[name], b.entries[name]
        found = {
            "added": tuple(i for i in other if i not in mine),
            "removed": tuple(i for i in mine if i not in other),
            "changed": tuple(i for i in mine if i in other and mine[i] != other[i]),
        }
        if any(found.values()):
            changes[name] = found
    return changes
