"""Folders of rules -> entries as written, each field of the right shape; an own folder laid over the shipped one.

Read with the standard library alone, so that the light commands stay light. A fault names the file and the entry.
"""

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import RulesError, nearest, quoted
from ..resources import rules_folder
from .model import Entry

_LARGEST_FILE = 1_000_000  # bytes; rules are written by hand
_SETTINGS_FILE = "rules"  # rules.toml says how a folder relates to the shipped one
_ID = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")

Shape = tuple[str, Callable[[Any], bool]]  # what it is in words, and whether a value is one


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**12


def _list_of(check: Callable[[Any], bool], shortest: int = 1) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= shortest and all(check(v) for v in value)


def _table_of(**shapes: Shape) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict) and all(name in value and is_one(value[name]) for name, (_, is_one) in shapes.items())
    )


def _one_of(*words: str) -> Shape:
    return " or ".join(words), lambda value: isinstance(value, str) and value in words


TEXT: Shape = ("a text", _is_text)
MAYBE: Shape = ("a text, which may be empty", lambda value: isinstance(value, str))
TEXTS: Shape = ("a list of texts", _list_of(_is_text))
TABLE: Shape = ("a table", _is_table)
TABLES: Shape = ("a list of tables", _list_of(_is_table))
COUNT: Shape = ("a whole number", _is_count)
NUMBER: Shape = (
    "a number that is not negative",
    lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9,
)
SHARE: Shape = ("a number from 0 to 99", lambda value: NUMBER[1](value) and value <= 99)
OPTIONS: Shape = ("a list of tables with `id` and `label`", _list_of(_table_of(id=TEXT, label=TEXT)))
NUMBERS: Shape = (
    "a table of numbers",
    lambda value: isinstance(value, dict) and all(NUMBER[1](v) for v in value.values()),
)
ADAPT: Shape = (
    "a table of whole numbers, `default`, `most` and maybe `a_step`",
    lambda value: _table_of(default=COUNT, most=COUNT)(value) and all(_is_count(v) for v in value.values()),
)
COUNTS: Shape = (
    "a list of tables with `parameter`, `fact`, `minimum` and `maximum`",
    _list_of(_table_of(parameter=TEXT, fact=TEXT, minimum=COUNT, maximum=COUNT)),
)
WHEN: Shape = ("a table of facts and lists of values", _is_table)
WHENS: Shape = (
    "a table of facts and lists of values, or a list of such tables",
    lambda v: _is_table(v) or _list_of(_is_table)(v),
)


@dataclass(frozen=True)
class Kind:
    """A file of the rules: the name of its tables, and the shape of each field beside `id` and `source`.

    Fields that are not listed are a team's own notes and stay as they are.
    """

    key: str
    required: Mapping[str, Shape]
    optional: Mapping[str, Shape] = field(default_factory=dict)
    needed: bool = False  # whether a folder that stands alone must hold it


_SHOWN: dict[str, Shape] = {"example": TEXT, "near_miss": TEXT}
KINDS: dict[str, Kind] = {
    "facts": Kind(
        "fact",
        {"kind": _one_of("decisive", "refining"), "question": TEXT, "why": TEXT, **_SHOWN},
        {"values": OPTIONS, "cost": NUMBER, "dont_know": SHARE, "minimum": COUNT, "maximum": COUNT, "bounds": TABLES},
        needed=True,
    ),
    "framings": Kind("framing", {n: TEXT for n in ("label", "training_tasks", "test_tasks", "goal", "adaptation", "failure_mode")} | _SHOWN),
    "families": Kind("family", {n: TEXT for n in ("label", "kind", "adapts_by", "best_for", "mechanism")} | _SHOWN),
    "verdicts": Kind("verdict", {"label": TEXT, "framing": TEXT, "family": MAYBE, "headline": TEXT, "next": TEXT, **_SHOWN}, needed=True),
    "settings": Kind(
        "setting",
        {
            "label": TEXT, "when": WHEN, "recommend": TEXT, "priority": COUNT, "because": TEXT, "limits": TEXT,
            "example": ("a table with `text` and `facts`", _table_of(text=TEXT, facts=TABLE)),
            "near_miss": ("a table with `text`, `change` and `verdict`", _table_of(text=TEXT, change=TABLE, verdict=TEXT)),
        },
        needed=True,
    ),
    "mitigations": Kind("concern", {"label": TEXT, "when": WHENS, "options": OPTIONS, "because": TEXT, **_SHOWN}),
    "pitfalls": Kind("pitfall", {"mistake": TEXT, "truth": TEXT, "when": WHENS, **_SHOWN}),
    "parallels": Kind("parallel", {"meta_rl": TEXT, "foundation_models": TEXT, "when": WHENS, **_SHOWN}),
    "evidence": Kind(
        "evidence",
        {
            "claim": TEXT, "setting": TEXT, "when": WHENS, "direction": TEXT, "strength": _one_of("strong", "mixed", "opinion"),
            "read": TEXT, "limits": TEXT, **_SHOWN,
        },
    ),
    "scenarios": Kind("scenario", {"text": TEXT, "facts": TABLE, "framing": TEXT, "verdict": TEXT, "near_miss": TEXT}),
    "stand_ins": Kind(
        "stand_in",
        {"family": TEXT, "when": WHEN, "priority": COUNT, "says": TEXT, "adapt": ADAPT, "because": TEXT, "left_out": TEXTS, **_SHOWN},
        {"parameters": NUMBERS, "counts": COUNTS},
    ),
    "golden": Kind("golden", {"text": TEXT, "facts": TABLE, "verdict": TEXT}),
}  # fmt: skip


def entries_of(folder: Path) -> dict[str, dict[str, Entry]]:
    """The entries of a folder, file by file and sorted by id; laid over the shipped ones unless its rules.toml says `extends = false`.

    Raises RulesError, naming file and entry.
    """
    if folder == rules_folder():
        return _shipped()
    if not folder.is_dir():
        raise RulesError("is no folder", str(folder), "a folder of rules holds files such as settings.toml")
    known = [*KINDS, _SETTINGS_FILE]
    found = sorted(path.stem for path in folder.glob("*.toml"))
    for name in found:
        if name not in known:
            hint = nearest(name, known) or f"files: {', '.join(f'{n}.toml' for n in known)}"
            raise RulesError("is no file of the rules", str(folder / f"{quoted(name)}.toml"), hint)
    if not found:
        raise RulesError("holds no rules", str(folder), f"files: {', '.join(f'{n}.toml' for n in known)}")
    own = {name: _own(name, folder / f"{name}.toml") for name in KINDS if name in found}
    if _extends(folder):
        merged = {name: _overlaid(_shipped()[name], own.get(name, {})) for name in KINDS}
    else:
        for name, kind in KINDS.items():
            if kind.needed and name not in own:
                raise RulesError(f"{name}.toml is missing", str(folder), "rules that extend nothing must be whole")
        merged = {name: _overlaid({}, own.get(name, {})) for name in KINDS}
    for name, entries in merged.items():
        for i, entry in entries.items():
            _check_shape(KINDS[name], entry, f"{folder / name}.toml, {i}")
    return merged


@cache
def _shipped() -> dict[str, dict[str, Entry]]:
    folder = rules_folder()
    shipped = {name: _own(name, folder / f"{name}.toml") for name in KINDS}
    for name, entries in shipped.items():
        for i, entry in entries.items():
            _check_shape(KINDS[name], entry, f"{folder / name}.toml, {i}")
    return shipped


def _extends(folder: Path) -> bool:
    path = folder / f"{_SETTINGS_FILE}.toml"
    table = _parse(path) if path.exists() else {}
    for name in table:
        if name != "extends":
            raise RulesError(
                f"`{quoted(name)}` is no setting", str(path), nearest(name, ["extends"]) or "it may say `extends`"
            )
    extends = table.get("extends", True)
    if not isinstance(extends, bool):
        raise RulesError("`extends` is true or false", str(path))
    return extends


def _parse(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise RulesError("is no file", str(path), "a folder of rules holds one file a kind")
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST_FILE + 1)
        if len(raw) > _LARGEST_FILE:
            raise RulesError(f"is larger than {_LARGEST_FILE} bytes", str(path), "rules are written by hand")
        return tomllib.loads(raw.decode("utf-8-sig"))
    except OSError as fault:
        raise RulesError(f"can't be read ({fault.strerror})", str(path)) from fault
    except UnicodeDecodeError as fault:
        raise RulesError(f"is not UTF-8 (byte {fault.start})", str(path), "save it as UTF-8") from fault
    except (ValueError, RecursionError) as fault:  # TOMLDecodeError is a ValueError, as is a number too long
        said = re.fullmatch(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(fault), re.S)
        last = len(raw.splitlines())
        place = f"{path}, line {said[2] or last}" if said else str(path)
        problem = said[1] if said else "nested too deeply, cut short, or a number too long"
        raise RulesError(
            f"is no valid TOML: {problem}", place, "compare it with the shipped file of that name"
        ) from fault


def _own(name: str, path: Path) -> dict[str, Entry]:
    """The entries of one file, their ids sound and sorted; whole or, in a folder that extends another, partial."""
    key, where = KINDS[name].key, str(path)
    table = _parse(path)
    rows = table.get(key, [])
    if set(table) - {key} or not _list_of(_is_table, shortest=0)(rows):
        odd = next((quoted(k) for k in table if k != key), key)
        raise RulesError(f"`{odd}` stands where only [[{key}]] entries may", where, nearest(odd, [key]))
    found: dict[str, Entry] = {}
    for number, row in enumerate(rows, 1):
        given = row.get("id")
        if not isinstance(given, str) or not _ID.fullmatch(given) or len(given) > 100:
            said = "has no id" if given is None else f"`{quoted(str(given))}` is no id"
            raise RulesError(said, f"{where}, entry {number}", "an id is lower-case words joined by `_`")
        if given in found:
            raise RulesError("the id stands twice", f"{where}, {given}", "give each entry an id of its own")
        found[given] = row
    if list(found) != sorted(found) and name != "facts":
        first = next(b for a, b in zip(found, list(found)[1:], strict=False) if b < a)
        raise RulesError("entries must be sorted by id", f"{where}, {first}", "move it up")
    return found


def _overlaid(base: Mapping[str, Entry], own: Mapping[str, Entry]) -> dict[str, Entry]:
    """`own` over `base`: fields of a known id replace those of the base, a new id is added, and `drop = true` takes an entry out."""
    merged = dict(base)
    for i, entry in own.items():
        if entry.get("drop") is True:
            merged.pop(i, None)
        else:
            merged[i] = {**merged.get(i, {}), **entry}
    return {i: merged[i] for i in sorted(merged)}


def _check_shape(kind: Kind, entry: Entry, where: str) -> None:
    shapes = {"source": TEXTS, **kind.required}
    for name, (what, is_one) in shapes.items():
        if name not in entry or entry[name] in ("", []) and not is_one(entry[name]):
            close = nearest(name, [n for n in entry if n not in shapes and n not in kind.optional])
            raise RulesError(
                f"`{name}` is missing or empty", where, close.replace("did you mean", "is it") or f"`{name}` is {what}"
            )
        if not is_one(entry[name]):
            raise RulesError(
                f"`{name}` must be {what}", where, f"compare it with another {kind.key}: advisor rules show ID"
            )
    for name, (what, is_one) in kind.optional.items():
        if name in entry and not is_one(entry[name]):
            raise RulesError(f"`{name}` must be {what}", where)
    if (odd := next(filter(_odd_character, _texts(entry)), None)) is not None:
        raise RulesError(f"holds a control character: {quoted(odd)}", where, "keep to letters, signs and line ends")
    for name in entry:
        if name in shapes or name in kind.optional:
            continue
        if close := nearest(name, [*shapes, *kind.optional], cutoff=0.8):  # else it is a note of the team's own
            raise RulesError(f"`{quoted(name)}` is no field of a {kind.key}", where, close)


def _texts(value: Any) -> Iterator[str]:
    """Every text within a value, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _odd_character(text: str) -> bool:
    """Whether a text holds anything that a terminal would obey instead of showing (categories C of Unicode)."""
    return not text.isprintable() and any(c not in "\n\t" and unicodedata.category(c).startswith("C") for c in text)
