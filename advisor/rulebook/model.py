"""What the rules are once read: facts, settings, and the rulebook that holds them with every other entry as it was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import UnknownEntry, nearest, quoted

Condition = Mapping[str, tuple[str, ...]]
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """Where `when` holds, a value outside `minimum` to `maximum` contradicts it."""

    when: Condition
    minimum: int
    maximum: int


@dataclass(frozen=True)
class Fact:
    """One fact of the vocabulary. A fact without `values` is a count between `minimum` and `maximum`."""

    id: str
    decisive: bool
    question: str
    why: str
    values: tuple[str, ...]
    labels: Mapping[str, str]
    priors: Mapping[str, float]
    cost: float
    dont_know: float
    minimum: int
    maximum: int
    bounds: tuple[Bound, ...] = ()

    def accepts(self, value: str) -> bool:
        """Whether `value` is one of this fact's values."""
        if self.values:
            return value in self.values
        return value.isascii() and value.isdecimal() and len(value) <= 12 and self.minimum <= int(value) <= self.maximum


@dataclass(frozen=True)
class Setting:
    """One row of the decision table: where `when` holds, `recommend` follows."""

    id: str
    when: Condition
    recommend: str
    priority: int
    because: str


@dataclass(frozen=True, eq=False)  # compared by identity, so that tables can be cached by rulebook
class Rulebook:
    """All rules. `entries[file][id]` is an entry as written; the typed parts are what the engine works with."""

    folder: Path
    version: str
    facts: Mapping[str, Fact]
    settings: tuple[Setting, ...]
    entries: Mapping[str, Mapping[str, Entry]]

    @property
    def decisive(self) -> tuple[Fact, ...]:
        """The facts that decide, sorted by id."""
        return tuple(fact for fact in self.facts.values() if fact.decisive)

    def points(self) -> list[dict[str, str]]:
        """Every full assignment of the decisive facts."""
        facts = self.decisive
        return [dict(zip([f.id for f in facts], values, strict=True)) for values in product(*(f.values for f in facts))]

    def find(self, entry_id: str) -> list[tuple[str, Entry]]:
        """Every (file, entry) of an id, or of `file/id`. Raises UnknownEntry with the nearest known id."""
        kind, _, bare = entry_id.rpartition("/")
        found = [(k, e[bare]) for k, e in self.entries.items() if bare in e and kind in ("", k)]
        if found:
            return found
        known = [i for entries in self.entries.values() for i in entries]
        raise UnknownEntry(
            f"no rule is called `{quoted(entry_id)}`", hint=nearest(bare, known) or "see: advisor rules list"
        )


def holds(when: Condition, known: Mapping[str, str]) -> bool:
    """Whether every cell of a condition is met by the known facts."""
    return all(known.get(name) in allowed for name, allowed in when.items())


def alternatives(entry: Entry) -> list[Any]:
    """The conditions of an entry: a pitfall has a list of them, any other entry has one."""
    when = entry["when"]
    return when if isinstance(when, list) else [when]
