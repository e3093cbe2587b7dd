"""Stage 0: the folder of rules -> Rulebook, fully checked while loading.

Read with the standard library alone, so that the light commands stay light. A fault names the file and the entry.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from .errors import RulesError, UnknownEntry, nearest
from .resources import rules_folder

Condition = Mapping[str, tuple[str, ...]]
Entry = Mapping[str, Any]

# file -> (name of its tables, the kind as users see it, the fields an entry must have beside those of every entry)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "facts": ("fact", ("kind", "question", "why")),
    "framings": ("framing", ("label", "training_tasks", "test_tasks", "goal", "adaptation", "failure_mode")),
    "families": ("family", ("label", "kind", "adapts_by", "best_for", "mechanism")),
    "verdicts": ("verdict", ("label", "framing", "family", "headline", "next")),
    "settings": ("setting", ("label", "when", "recommend", "priority", "because", "limits")),
    "mitigations": ("concern", ("label", "when", "options", "because")),
    "pitfalls": ("pitfall", ("mistake", "truth", "when")),
    "parallels": ("parallel", ("meta_rl", "foundation_models", "when")),
    "evidence": ("evidence", ("claim", "setting", "when", "direction", "strength", "read", "limits")),
    "scenarios": ("scenario", ("text", "facts", "framing", "verdict")),
}
_EVERY_ENTRY = ("id", "source", "near_miss")
_LARGEST_FILE = 1_000_000  # bytes; rules are written by hand


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

    def accepts(self, value: str) -> bool:
        """Whether `value` is one of this fact's values."""
        if self.values:
            return value in self.values
        return value.isdecimal() and len(value) <= 12 and self.minimum <= int(value) <= self.maximum


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

    def find(self, entry_id: str) -> tuple[str, Entry]:
        """The file and entry of an id. Raises UnknownEntry with the nearest known id."""
        for kind, entries in self.entries.items():
            if entry_id in entries:
                return kind, entries[entry_id]
        known = [i for entries in self.entries.values() for i in entries]
        raise UnknownEntry(
            f"no rule is called `{entry_id}`", hint=nearest(entry_id, known) or "see: advisor rules list"
        )


def holds(when: Condition, known: Mapping[str, str]) -> bool:
    """Whether every cell of a condition is met by the known facts."""
    return all(known.get(name) in allowed for name, allowed in when.items())


def table_faults(settings: tuple[Setting, ...], points: list[dict[str, str]]) -> list[str]:
    """Gaps, overlaps and dead rows of a decision table, each with its smallest counterexample."""
    faults: list[str] = []
    fired: set[str] = set()
    for point in points:
        rows = [row for row in settings if holds(row.when, point)]
        fired.update(row.id for row in rows)
        where = ", ".join(f"{k}={v}" for k, v in point.items())
        if not rows:
            faults.append(f"gap: no setting covers {where}; a row with exactly these cells would close it")
        elif len(rows) > 1:
            faults.append(f"overlap: {' and '.join(row.id for row in rows)} both cover {where}")
    faults += [f"dead row: `{row.id}` covers no point" for row in settings if row.id not in fired]
    return faults


def load(folder: Path | None = None) -> Rulebook:
    """The checked rulebook of a folder; without one, of the shipped rules (read once).

    Raises RulesError, naming file and entry, for anything that does not check.
    """
    return _shipped() if folder is None else _load(folder)


@cache
def _shipped() -> Rulebook:
    return _load(rules_folder())


def _load(folder: Path) -> Rulebook:
    digest = hashlib.sha256()
    entries: dict[str, dict[str, Entry]] = {}
    for name in KINDS:
        path = folder / f"{name}.toml"
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise RulesError(f"larger than {_LARGEST_FILE} bytes", str(path))
            raw = path.read_bytes()
            table = tomllib.loads(raw.decode())
        except OSError as fault:
            raise RulesError("can't be read", str(path), "a folder of rules holds one file a kind") from fault
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise RulesError(f"is no valid TOML: {fault}", str(path)) from fault
        digest.update(name.encode() + b"\0" + raw.replace(b"\r\n", b"\n"))
        entries[name] = _entries(name, table, str(path))
    facts = {i: _fact(e, f"{folder / 'facts.toml'}, {i}") for i, e in entries["facts"].items()}
    verdicts = entries["verdicts"]
    settings = []
    for i, e in entries["settings"].items():
        where = f"{folder / 'settings.toml'}, {i}"
        _known(e["recommend"], verdicts, "verdict", where)
        settings.append(
            Setting(i, condition(e["when"], facts, verdicts, where), e["recommend"], e["priority"], e["because"])
        )
    settings.sort(key=lambda s: (s.priority, s.id))
    book = Rulebook(folder, digest.hexdigest()[:12], facts, tuple(settings), entries)
    faults = table_faults(book.settings, book.points())
    if faults:
        raise RulesError(faults[0], str(folder / "settings.toml"), f"{len(faults)} fault(s) in all")
    _check_rest(book)
    return book


def _entries(name: str, table: dict[str, Any], where: str) -> dict[str, Entry]:
    key, required = KINDS[name]
    rows = table.get(key)
    if set(table) != {key} or not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise RulesError(f"must hold only [[{key}]] entries", where)
    found: dict[str, Entry] = {}
    for row in rows:
        place = f"{where}, {row.get('id', '(entry without id)')}"
        for field in (*_EVERY_ENTRY, *required):
            if field not in row or row[field] in ("", []) and field != "family":
                raise RulesError(f"`{field}` is missing or empty", place)
        if "example" not in row and name != "scenarios":
            raise RulesError("`example` is missing", place)
        if not isinstance(row["id"], str) or not row["id"].replace("_", "").isalnum() or row["id"] != row["id"].lower():
            raise RulesError("an id is lower-case words joined by `_`", place)
        if row["id"] in found:
            raise RulesError("the id stands twice", place)
        found[row["id"]] = row
    if list(found) != sorted(found) and name != "facts":
        raise RulesError("entries must be sorted by id", where)
    return found


def _fact(entry: Entry, where: str) -> Fact:
    if entry["kind"] not in ("decisive", "refining"):
        raise RulesError("`kind` is decisive or refining", where)
    values = entry.get("values", [])
    if not values and "maximum" not in entry:
        raise RulesError("a fact has `values`, or `minimum` and `maximum`", where)
    if entry["kind"] == "decisive" and len(values) < 2:
        raise RulesError("a decisive fact has two values or more", where)
    return Fact(
        id=entry["id"],
        decisive=entry["kind"] == "decisive",
        question=entry["question"],
        why=entry["why"],
        values=tuple(v["id"] for v in values),
        labels={v["id"]: v["label"] for v in values},
        priors={v["id"]: float(v.get("prior", 1)) for v in values},
        cost=float(entry.get("cost", 1.0)),
        dont_know=float(entry.get("dont_know", 10)),
        minimum=int(entry.get("minimum", 0)),
        maximum=int(entry.get("maximum", 0)),
    )


def _known(name: str, known: Mapping[str, Any], what: str, where: str) -> None:
    if name not in known:
        raise RulesError(f"no {what} is called `{name}`", where, nearest(name, known))


def condition(raw: Any, facts: Mapping[str, Fact], verdicts: Mapping[str, Any], where: str) -> Condition:
    """A condition with every name and value checked. Raises RulesError."""
    if not isinstance(raw, dict):
        raise RulesError("`when` is a table of facts and lists of values", where)
    for name, allowed in raw.items():
        if not isinstance(allowed, list) or not allowed:
            raise RulesError(f"`when.{name}` is a list of values", where)
        if name == "verdict":
            for value in allowed:
                _known(value, verdicts, "verdict", where)
        else:
            _known(name, facts, "fact", where)
            for value in allowed:
                if not facts[name].accepts(value):
                    raise RulesError(f"`{value}` is no value of {name}", where, nearest(value, facts[name].values))
    return {name: tuple(allowed) for name, allowed in raw.items()}


def _check_rest(book: Rulebook) -> None:
    verdicts = book.entries["verdicts"]
    for name in ("mitigations", "pitfalls", "parallels", "evidence"):
        for i, entry in book.entries[name].items():
            where = f"{book.folder / name}.toml, {i}"
            for when in alternatives(entry):
                condition(when, book.facts, verdicts, where)
    for i, entry in book.entries["scenarios"].items():
        where = f"{book.folder / 'scenarios'}.toml, {i}"
        condition({k: [str(v)] for k, v in entry["facts"].items()}, book.facts, verdicts, where)
        _known(entry["verdict"], verdicts, "verdict", where)
    for setting in book.settings:
        entry = book.entries["settings"][setting.id]
        where = f"{book.folder / 'settings'}.toml, {setting.id}"
        example, miss = entry["example"], entry["near_miss"]
        if not holds(setting.when, example["facts"]):
            raise RulesError("its own example does not fire it", where)
        if len(miss["change"]) != 1:
            raise RulesError("a near miss differs from the example in one fact", where)
        point = {**example["facts"], **miss["change"]}
        reached = [s.recommend for s in book.settings if holds(s.when, point)]
        if holds(setting.when, point) or reached != [miss["verdict"]]:
            raise RulesError(f"its near miss leads to {reached}, not to {miss['verdict']}", where)
    reachable = {s.recommend for s in book.settings} | {"undecided"}
    for verdict in verdicts:
        if verdict not in reachable:
            raise RulesError("no setting recommends this verdict", f"{book.folder / 'verdicts'}.toml, {verdict}")


def alternatives(entry: Entry) -> list[Any]:
    """The conditions of an entry: a pitfall has a list of them, any other entry has one."""
    when = entry["when"]
    return when if isinstance(when, list) else [when]
