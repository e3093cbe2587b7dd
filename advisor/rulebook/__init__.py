"""Stage 0: the folder of rules -> Rulebook, fully checked while loading.

An own folder is laid over the shipped one entry by entry, or replaces it: read.py. What the table must fulfil: table.py.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from ..errors import RulesError, nearest, quoted
from ..resources import rules_folder
from .model import Bound, Condition, Entry, Fact, Rulebook, Setting, alternatives, holds
from .read import KINDS, entries_of
from .table import Fault, as_row, is_sound, rule_faults, table_faults, words

__all__ = [
    "KINDS",
    "LARGEST_SPACE",
    "Bound",
    "Condition",
    "Entry",
    "Fact",
    "Fault",
    "Rulebook",
    "Setting",
    "alternatives",
    "as_row",
    "holds",
    "is_sound",
    "load",
    "parse",
    "rule_faults",
    "table_faults",
    "words",
]

LARGEST_SPACE = 20_000  # partial fact sets; all of them are walked by the proof and by the questions
_RESERVED_VALUES = {"unknown", "back", "true", "false", "null"}  # what files and answers mean by them
_RESERVED_FACTS = {"id", "text", "description", "facts", "verdict"}  # columns of a scenario file


def load(folder: Path | None = None) -> Rulebook:
    """The checked rulebook of a folder; without one, of the shipped rules (read once).

    Raises RulesError, naming file and entry, for anything that does not check.
    """
    return _shipped() if folder is None else _sound(parse(folder))


@cache
def _shipped() -> Rulebook:
    return _sound(parse(rules_folder()))


def _sound(book: Rulebook) -> Rulebook:
    faults = rule_faults(book)
    if faults:
        name, _, entry = faults[0].where.partition(", ")
        where = f"{book.folder / name}.toml{', ' if entry else ''}{entry}"
        raise RulesError(
            str(faults[0]), where, f"{len(faults)} fault(s) in all; see: advisor rules check --rules {book.folder}"
        )
    return book


def parse(folder: Path) -> Rulebook:
    """The rulebook of a folder with every name and value known, but its table not yet proven. Raises RulesError."""
    entries = dict(entries_of(folder))
    order = sorted(entries["facts"].items(), key=lambda item: (item[1]["kind"] != "decisive", item[0]))
    entries["facts"] = dict(order)
    facts = {i: _fact(i, e, f"{folder / 'facts.toml'}, {i}") for i, e in order}
    facts = {
        i: _bounded(fact, entries["facts"][i], facts, f"{folder / 'facts.toml'}, {i}") for i, fact in facts.items()
    }
    deciding = [fact for fact in facts.values() if fact.decisive]
    if not deciding or not entries["settings"]:
        raise RulesError("there is nothing to decide", str(folder), "rules need a decisive fact and a setting")
    if (space := prod(len(fact.values) + 1 for fact in deciding)) > LARGEST_SPACE:
        raise RulesError(
            f"the decisive facts have {space} partial sets, more than the {LARGEST_SPACE} that are proven",
            f"{folder / 'facts.toml'}",
            "make a fact refining, or give it fewer values",
        )
    if "undecided" not in entries["verdicts"]:
        raise RulesError(
            "`undecided` is missing", f"{folder / 'verdicts.toml'}", "it is the verdict while facts are open"
        )
    settings = []
    for i, e in entries["settings"].items():
        where = f"{folder / 'settings.toml'}, {i}"
        _known(e["recommend"], [v for v in entries["verdicts"] if v != "undecided"], "verdict", where)
        when = _condition(e["when"], facts, entries["verdicts"], where)
        if refining := [n for n in when if n == "verdict" or not facts[n].decisive]:
            raise RulesError(f"`{refining[0]}` does not decide", where, "a setting's cells are decisive facts")
        settings.append(Setting(i, when, e["recommend"], e["priority"], e["because"]))
    settings.sort(key=lambda s: (s.priority, s.id))
    written = json.dumps(entries, ensure_ascii=False, sort_keys=True, default=str)
    book = Rulebook(folder, hashlib.sha256(written.encode()).hexdigest()[:12], facts, tuple(settings), entries)
    _check_names(book)
    return book


def _fact(fact_id: str, entry: Entry, where: str) -> Fact:
    values = entry.get("values", [])
    ids = [v["id"] for v in values]
    if fact_id in _RESERVED_FACTS:
        raise RulesError("the name is taken by a column of scenario files", where, "choose another id")
    if not values and "maximum" not in entry:
        raise RulesError("a fact has `values`, or `minimum` and `maximum`", where)
    if entry["kind"] == "decisive" and len(values) < 2:
        raise RulesError("a decisive fact has two values or more", where)
    if len(set(ids)) < len(ids):
        raise RulesError("a value stands twice", where)
    for value in ids:
        if value in _RESERVED_VALUES or len(value) < 2 or not value.isidentifier() or value != value.lower():
            raise RulesError(f"`{quoted(value)}` is no name for a value", where, "lower-case words joined by `_`")
    priors = {v["id"]: v.get("prior", 1) for v in values}
    if not all(isinstance(p, int | float) and not isinstance(p, bool) and 0 < p < 1e9 for p in priors.values()):
        raise RulesError("`prior` must be a number above 0", where)
    if entry.get("minimum", 0) > entry.get("maximum", 0):
        raise RulesError("`minimum` is above `maximum`", where)
    return Fact(
        id=fact_id,
        decisive=entry["kind"] == "decisive",
        question=entry["question"],
        why=entry["why"],
        values=tuple(ids),
        labels={v["id"]: v["label"] for v in values},
        priors={name: float(p) for name, p in priors.items()},
        cost=float(entry.get("cost", 1.0)),
        dont_know=float(entry.get("dont_know", 10)),
        minimum=entry.get("minimum", 0),
        maximum=entry.get("maximum", 0),
    )


def _bounded(fact: Fact, entry: Entry, facts: Mapping[str, Fact], where: str) -> Fact:
    """The fact with what contradicts it: `bounds` of a count, each under a condition on other facts."""
    bounds = []
    for row in entry.get("bounds", []):
        odd = [name for name in row if name not in ("when", "minimum", "maximum")]
        ends = [row.get("minimum", fact.minimum), row.get("maximum", fact.maximum)]
        if odd or fact.values or not all(isinstance(e, int) and not isinstance(e, bool) for e in ends):
            raise RulesError("a bound of a count has `when`, and `minimum` or `maximum` as whole numbers", where)
        bounds.append(Bound(_condition(row.get("when"), facts, {}, where), *ends))
    return Fact(**{**vars(fact), "bounds": tuple(bounds)})


def _known(name: Any, known: Iterable[str], what: str, where: str) -> None:
    names = list(known)
    if name not in names:
        raise RulesError(
            f"no {what} is called `{quoted(str(name))}`", where, nearest(str(name), names) or ", ".join(names)
        )


def _condition(raw: Any, facts: Mapping[str, Fact], verdicts: Mapping[str, Any], where: str) -> Condition:
    """A condition with every name and value checked. Raises RulesError."""
    if not isinstance(raw, dict):
        raise RulesError("`when` is a table of facts and lists of values", where)
    for name, allowed in raw.items():
        if not isinstance(allowed, list) or not allowed or not all(isinstance(v, str) for v in allowed):
            raise RulesError(f"`when.{quoted(name)}` is a list of values", where)
        if len(set(allowed)) < len(allowed):
            raise RulesError(f"`when.{quoted(name)}` names a value twice", where)
        if name == "verdict" and verdicts:
            for value in allowed:
                _known(value, verdicts, "verdict", where)
        else:
            for value in allowed:
                _values({name: value}, facts, where)
    return {name: tuple(allowed) for name, allowed in raw.items()}


def _values(stated: Mapping[str, Any], facts: Mapping[str, Fact], where: str) -> None:
    """Checks facts with one value each, as examples state them."""
    for name, value in stated.items():
        _known(name, facts, "fact", where)
        if not isinstance(value, str | int) or isinstance(value, bool) or not facts[name].accepts(str(value)):
            raise RulesError(
                f"`{quoted(str(value))}` is no value of {name}", where, nearest(str(value), facts[name].values)
            )


def _check_names(book: Rulebook) -> None:
    """Every name that one entry uses of another is known."""
    entries, verdicts = book.entries, book.entries["verdicts"]
    for name in ("mitigations", "pitfalls", "parallels", "evidence", "stand_ins"):
        for i, entry in entries[name].items():
            for when in alternatives(entry):
                _condition(when, book.facts, verdicts, f"{book.folder / name}.toml, {i}")
    for i, entry in entries["stand_ins"].items():
        for count in entry.get("counts", []):
            where = f"{book.folder / 'stand_ins.toml'}, {i}"
            _known(count["fact"], [f.id for f in book.facts.values() if not f.values], "count", where)
    for name in ("scenarios", "golden"):
        for i, entry in entries[name].items():
            where = f"{book.folder / name}.toml, {i}"
            _values(entry["facts"], book.facts, where)
            _known(entry["verdict"], verdicts, "verdict", where)
    for i, entry in entries["settings"].items():
        where = f"{book.folder / 'settings.toml'}, {i}"
        _values(entry["example"]["facts"], book.facts, where)
        _values(entry["near_miss"]["change"], book.facts, where)
        _known(entry["near_miss"]["verdict"], verdicts, "verdict", where)
    for i, entry in verdicts.items():
        where = f"{book.folder / 'verdicts.toml'}, {i}"
        _known(entry["framing"], [*entries["framings"], "none", "undecided"], "framing", where)
        if entry["family"]:
            _known(entry["family"], [*entries["families"], *entries["framings"]], "family", where)
