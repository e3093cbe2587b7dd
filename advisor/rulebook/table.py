"""Faults of a decision table, each with the smallest counterexample and the rows that would close it. No point is enumerated: boxes
of cells are intersected, so that a fault is found and worded in terms of the fewest facts."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

from .model import Condition, Fact, Rulebook, Setting, holds

_MOST_GAPS = 20


@dataclass(frozen=True)
class Fault:
    """Something that does not hold.

    `kind` names what was found (gap, overlap, dead_row, ...), `where` file and entry, `facts` the smallest counterexample, `points` how many
    full points it covers, and `rows` the conditions that would close it; where no row can, `advice` says what to do.
    """

    kind: str
    where: str
    message: str
    facts: Mapping[str, str]
    points: int = 0
    rows: tuple[Condition, ...] = ()
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.headline}: {words(self.facts)}" if self.facts else self.headline

    @property
    def headline(self) -> str:
        """What was found, without the counterexample."""
        return f"{self.kind.replace('_', ' ')}: {self.message}"


def table_faults(settings: tuple[Setting, ...], facts: tuple[Fact, ...]) -> list[Fault]:
    """Gaps, overlaps, dead rows and ties of priority of a table over the deciding facts; empty when it is complete and disjoint."""
    values = {fact.id: fact.values for fact in facts}
    return [*_gaps(settings, values), *_overlaps(settings, values), *_ties(settings)]


def is_sound(settings: tuple[Setting, ...], facts: tuple[Fact, ...]) -> bool:
    """Whether a table has neither gap nor overlap: its boxes are disjoint, and their sizes add up to the space."""
    values = {fact.id: fact.values for fact in facts}
    if sum(_size(row.when, values) for row in settings) != prod(len(v) for v in values.values()):
        return False
    return all(_meet(a.when, b.when) is None for a, b in combinations(settings, 2))


def _size(when: Mapping[str, tuple[str, ...]], values: Mapping[str, tuple[str, ...]]) -> int:
    """Points in a box."""
    return prod(len(set(when[name])) if name in when else len(all_) for name, all_ in values.items())


def _meet(a: Condition, b: Condition) -> dict[str, tuple[str, ...]] | None:
    """The cells that both boxes share, or None where they are disjoint."""
    both = {}
    for name in (*a, *(n for n in b if n not in a)):
        cell = tuple(v for v in a.get(name, b.get(name, ())) if name not in b or v in b[name])
        if not cell:
            return None
        both[name] = cell
    return both


def _gaps(settings: tuple[Setting, ...], values: Mapping[str, tuple[str, ...]]) -> Iterator[Fault]:
    boxes = [row.when for row in settings]
    for _ in range(_MOST_GAPS):
        point = _smallest_uncovered(boxes, values)
        if point is None:
            return
        row: dict[str, tuple[str, ...]] = {name: (value,) for name, value in point.items()}
        for name in point:  # grown as far as no setting is met, so that one row closes as much as it can
            for value in values[name]:
                wider = {**row, name: tuple(v for v in values[name] if v in row[name] or v == value)}
                if all(_meet(wider, box) is None for box in boxes):
                    row = wider
        boxes.append(row)
        yield Fault("gap", "settings", "no setting covers these facts", point, _size(row, values), (row,))


def _smallest_uncovered(boxes: list[Condition], values: Mapping[str, tuple[str, ...]]) -> dict[str, str] | None:
    """The fewest facts that are met by no box, whatever the others are."""
    for size in range(len(values) + 1):
        for names in combinations(values, size):
            for chosen in product(*(values[n] for n in names)):
                point = dict(zip(names, chosen, strict=True))
                if all(any(n in point and point[n] not in cell for n, cell in box.items()) for box in boxes):
                    return point
    return None


def _overlaps(settings: tuple[Setting, ...], values: Mapping[str, tuple[str, ...]]) -> Iterator[Fault]:
    dead = set()
    for i, row in enumerate(settings):
        left: list[dict[str, tuple[str, ...]]] = [dict(row.when)]
        for before in settings[:i]:
            left = [rest for box in left for rest in _minus(box, before.when, values)]
        if not left:
            dead.add(row.id)
            hiding = [s.id for s in settings[:i] if _meet(s.when, row.when) is not None]
            yield Fault(
                "dead_row",
                f"settings, {row.id}",
                f"`{row.id}` covers nothing that {_list(hiding)} of higher priority does not cover already",
                _corner(row.when, values),
                _size(row.when, values),
                advice=f"remove `{row.id}`, or narrow {_list(hiding)}",
            )
    for first, second in combinations(settings, 2):
        both = _meet(first.when, second.when)
        if both is None or second.id in dead:
            continue
        corner = _corner(both, values)
        message = f"`{first.id}` and `{second.id}` cover the same facts"
        rows = tuple(_minus(dict(second.when), first.when, values))
        yield Fault(
            "overlap",
            f"settings, {second.id}",
            message,
            corner,
            _size(both, values),
            rows,
            f"narrow `{second.id}` to",
        )


def _corner(box: Condition, values: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The fewest facts that lie in a box for certain."""
    return {name: cell[0] for name, cell in box.items() if set(cell) != set(values[name])}


def _minus(
    box: dict[str, tuple[str, ...]], taken: Condition, values: Mapping[str, tuple[str, ...]]
) -> list[dict[str, tuple[str, ...]]]:
    """Disjoint boxes that make up what of `box` lies outside `taken`."""
    if _meet(box, taken) is None:
        return [box]
    rest, inside = [], dict(box)
    for name, cell in taken.items():
        mine = inside.get(name, values[name])
        outside = tuple(v for v in mine if v not in cell)
        if outside:
            rest.append({**inside, name: outside})
            inside[name] = tuple(v for v in mine if v in cell)
    return rest


def _ties(settings: tuple[Setting, ...]) -> Iterator[Fault]:
    for first, second in combinations(settings, 2):
        if first.priority == second.priority:
            yield Fault(
                "priority",
                f"settings, {second.id}",
                f"`{first.id}` and `{second.id}` both have priority {first.priority}, so their order is not total",
                {},
                advice="give every setting a priority of its own",
            )


def rule_faults(book: Rulebook) -> list[Fault]:
    """What keeps the settings from being proven: the faults of the table, verdicts that nothing reaches, examples and near misses that
    do not do what they say."""
    faults = table_faults(book.settings, book.decisive)
    reached = {s.recommend for s in book.settings} | {"undecided"}
    for verdict in book.entries["verdicts"]:
        if verdict not in reached:
            advice = "let a setting recommend it, or remove it"
            faults.append(
                Fault(
                    "unreachable_verdict",
                    f"verdicts, {verdict}",
                    f"no setting recommends `{verdict}`",
                    {},
                    0,
                    (),
                    advice,
                )
            )
    return [*faults, *_examples(book)]


def _examples(book: Rulebook) -> Iterator[Fault]:
    """An example fires its setting whatever its unsaid facts are; a near miss changes one fact and leads where it says."""
    for row in book.settings:
        entry, where = book.entries["settings"][row.id], f"settings, {row.id}"
        example, miss = entry["example"]["facts"], entry["near_miss"]
        if not holds(row.when, example):
            unmet = {n: example.get(n, "not stated") for n, cell in row.when.items() if example.get(n) not in cell}
            yield Fault("example", where, "its own example does not fire it", unmet)
        if len(miss["change"]) != 1:
            yield Fault("near_miss", where, "a near miss differs from the example in one fact", dict(miss["change"]))
            continue
        point = {**example, **miss["change"]}
        fixed = {name: (value,) for name, value in point.items() if book.facts[name].decisive}
        reached = sorted({s.recommend for s in book.settings if _meet(s.when, fixed) is not None})
        if _meet(row.when, fixed) is not None or miss["verdict"] not in reached:
            said = (
                f"its near miss leads to {_list(reached) or 'nothing'}, not away from `{row.id}` to {miss['verdict']}"
            )
            yield Fault("near_miss", where, said, point)


def words(facts: Mapping[str, str]) -> str:
    """Facts as a reader sees them; `anything` where none is needed."""
    return ", ".join(f"{name} = {value}" for name, value in facts.items()) or "anything"


def as_row(when: Condition) -> str:
    """A condition as it is written in settings.toml."""
    cells = (f"{name} = {json.dumps(list(cell), ensure_ascii=False)}" for name, cell in when.items())
    return f"when = {{ {', '.join(cells)} }}"


def _list(names: list[str]) -> str:
    return " and ".join(f"`{n}`" for n in names)
