"""Stage 1: a text, a file or answers -> Scenario, the user's own words kept.

Everything read here is untrusted: sizes are bounded, YAML tags and aliases are refused, nothing is executed.
"""

import json
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import BadScenario, ContradictingFacts, EmptyScenario, MissingFile, TooLarge, nearest, quoted

LARGEST_FILE = 2_000_000  # bytes
LONGEST_TEXT = 200_000  # characters; a description is a paragraph, a long report a few pages
_DATA = {".yaml", ".yml", ".json", ".toml"}
_PROSE = {".md", ".txt", ".markdown"}
SCENARIO_SUFFIXES = _DATA | _PROSE


@dataclass(frozen=True)
class Scenario:
    """One scenario: `text` in the user's words, `facts` as the user stated them (fact -> value, both unchecked strings;
    the value `unknown` takes back what would be read from the text or assumed).

    `where` is the file or row it came from, and `source` the content of a file of data, in which a fact's line is looked up.
    """

    id: str
    text: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    where: str = ""
    source: str = field(default="", repr=False, compare=False)

    def place(self, fact: str) -> str:
        """Where a fact was stated, for messages."""
        line = _line_of(fact, self.source) if self.source else None
        return f"{self.where}, line {line}" if line else self.where


def load(argument: str) -> Scenario:
    """The scenario of a command-line argument: `-` for stdin, a file, or the text itself.

    Raises MissingFile for what looks like a path and is none, BadScenario and its kin for what can't be used.
    """
    if argument == "-":
        return from_text(_bounded(sys.stdin.buffer.read(LARGEST_FILE + 1), "stdin"), "stdin")
    path = Path(argument)
    try:
        is_file, is_folder = path.is_file(), path.is_dir() and argument != ""
    except (OSError, ValueError):  # a long text is no file name
        is_file = is_folder = False
    if is_file:
        return load_file(path)
    if is_folder:
        raise BadScenario("is a folder", argument, "a folder of scenarios goes to: advisor classify")
    if path.suffix.lower() in SCENARIO_SUFFIXES and not any(c.isspace() for c in argument):
        raise MissingFile("no such file", argument, "give a file, `-` for stdin, or the description itself in quotes")
    return from_text(argument, "text")


def load_file(path: Path) -> Scenario:
    """The scenario in a YAML, JSON, Markdown or text file; its id is the file's name unless it says otherwise."""
    text = _read(path)
    if path.suffix.lower() not in _DATA:
        return from_text(text, path.stem, str(path))
    told = from_mapping(_parse(text, path), path.stem, str(path))
    return replace(told, source=text) if told.facts else told


def load_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises BadScenario and its kin."""
    data = _parse(_read(path), path)
    if not isinstance(data, dict):
        raise BadScenario("must hold a mapping", str(path), "one line a fact, such as: test_tasks: shifted")
    return data


def _parse(text: str, path: Path) -> Any:
    form = {".json": parse_json, ".toml": parse_toml}.get(path.suffix.lower(), parse_yaml)
    return form(text, str(path))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return _bounded(stream.read(LARGEST_FILE + 1), str(path))
    except OSError as fault:
        raise BadScenario(f"can't be read ({fault.strerror})", str(path), "check the name and its rights") from fault


def from_text(text: str, scenario_id: str, where: str = "") -> Scenario:
    """A scenario that is described in prose. Raises EmptyScenario, TooLarge, and BadScenario for what is no text."""
    check_text(text, where)
    if not text.strip():
        raise EmptyScenario("there is no text", where, "describe the scenario, or run: advisor ask")
    return Scenario(scenario_id, text, {}, where)


def from_mapping(data: Any, scenario_id: str, where: str) -> Scenario:
    """A scenario from the parsed content of a file: `id`, `description` (or `text`), `facts`."""
    if data is None:
        raise EmptyScenario("there is nothing in it", where, "give a description or facts, or run: advisor ask")
    if not isinstance(data, dict):
        raise BadScenario(
            "a scenario is a mapping with `description` and `facts`",
            where,
            "its schema: advisor rules export --format json-schema",
        )
    fields = ("id", "description", "text", "facts")
    unknown = sorted(str(k) for k in data if k not in fields)
    if unknown:
        hint = f"{nearest(unknown[0], fields)} fields: id, description, facts; a fact stands under `facts`".strip()
        raise BadScenario(f"unknown field `{quoted(unknown[0])}`", where, hint)
    if data.get("description") and data.get("text"):
        raise ContradictingFacts(
            "has both `description` and `text`", where, "they are two names of one field: keep one"
        )
    text = data.get("description") or data.get("text") or ""
    facts = data.get("facts") or {}
    if not isinstance(text, str) or not isinstance(facts, dict):
        hint = "description: text in quotes or after `|`; facts: one line a fact"
        raise BadScenario("`description` is text and `facts` a mapping from fact to value", where, hint)
    check_text(text, where)
    plain = plain_facts(facts, where, keep_unknown=True)
    if not text.strip() and not facts:
        raise EmptyScenario("there is neither a description nor a fact", where, "give one of them, or run: advisor ask")
    return Scenario(str(data.get("id") or scenario_id)[:200], text, plain, where)


def plain_facts(facts: dict[Any, Any], where: str, keep_unknown: bool = False) -> dict[str, str]:
    """Facts as strings; a value that is no word and no number is refused, nothing is left out, and so is `unknown` unless it is kept."""
    plain = {}
    for name, value in facts.items():
        if value is None or value == "" or (value == "unknown" and not keep_unknown):
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            hint = f"write `{quoted(str(name))}: unknown` for what is not known; values: advisor rules list facts"
            raise BadScenario(f"the value of `{quoted(str(name))}` is no word and no whole number", where, hint)
        plain[str(name)] = value if isinstance(value, str) else _digits(value, name, where)
    return plain


def _digits(value: int, name: Any, where: str) -> str:
    try:
        return str(value)
    except ValueError as fault:  # Python refuses to print an integer of thousands of digits
        raise BadScenario(
            f"the value of `{quoted(str(name))}` has too many digits", where, "give a smaller number"
        ) from fault


def joined_facts(columns: dict[str, Any], nested: dict[str, Any], where: str) -> dict[str, str]:
    """The facts of a row that states some as columns and some under `facts`. Raises ContradictingFacts where they disagree.

    `unknown` in a column is an empty cell, for a column has one in every row; under `facts` it was put there for a reason, and is kept.
    """
    one, other = plain_facts(columns, where), plain_facts(nested, where, keep_unknown=True)
    for name in one:
        if name in other and other[name] not in (one[name], "unknown"):
            said = f"`{quoted(name)}` is {quoted(one[name])} as a column and {quoted(other[name])} under `facts`"
            raise ContradictingFacts(said, where, "state each fact once")
    return {**other, **one}


def parse_json(text: str, where: str) -> Any:
    """JSON with one message on a fault, and repeated keys refused."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
            raise BadScenario(f"`{quoted(twice)}` stands twice", where, "state each name once")
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as fault:
        place = f"{where}, line {fault.lineno}" if ", line " not in where else f"{where}, column {fault.colno}"
        raise BadScenario(f"is no valid JSON: {fault.msg}", place, "compare it with the README's example") from fault
    except (RecursionError, ValueError) as fault:
        raise BadScenario("is nested too deeply or holds a number that is too long", where, "keep it flat") from fault


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """TOML with one message on a fault."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as fault:
        raise BadScenario(f"is no valid TOML: {fault}", where, "compare it with the README's example") from fault


def parse_yaml(text: str, where: str) -> Any:
    """YAML 1.2 without tags, anchors and aliases, with the line on a fault."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.events import AliasEvent

    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
                line = event.start_mark.line + 1
                hint = "write the value out; put words that begin with & * or ! in quotes"
                raise BadScenario("YAML tags, anchors and aliases are not allowed", f"{where}, line {line}", hint)
        return YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as fault:
        line = fault.problem_mark.line + 1
        name = text.splitlines()[line - 1].strip().partition(":")[0]
        raise BadScenario(f"`{quoted(name)}` stands twice", f"{where}, line {line}", "state each name once") from fault
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        place = f"{where}, line {mark.line + 1}" if mark else where
        problem = (fault.problem or "can't be parsed").splitlines()[0]
        hint = "put texts with a colon or a hash in quotes; compare it with the README's example"
        raise BadScenario(f"is no valid YAML: {quoted(problem)}", place, hint) from fault
    except (YAMLError, RecursionError, ValueError, TypeError, AttributeError, KeyError, IndexError) as fault:
        # the last four: what ruamel.yaml raises on some malformed input instead of an error of its own
        raise BadScenario("is no valid YAML", where, "compare it with the README's example") from fault


def _line_of(fact: str, source: str) -> int | None:
    """The line on which a YAML or JSON file (JSON is YAML) states a fact."""
    from ruamel.yaml import YAML

    try:
        for key, value in YAML(typ="safe", pure=True).compose(source).value:
            for name, _ in value.value if key.value == "facts" else ():
                if name.value == fact:
                    return int(name.start_mark.line) + 1
    except Exception:  # JSON that YAML reads otherwise, tabs for instance: the message does without the line
        pass
    return None


def _bounded(raw: bytes, where: str) -> str:
    if len(raw) > LARGEST_FILE:
        raise TooLarge(f"is larger than {LARGEST_FILE} bytes", where, "a description is a few paragraphs")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as fault:
        raise BadScenario(f"is not UTF-8 (byte {fault.start})", where, "save it as UTF-8") from fault


def check_text(text: str, where: str) -> None:
    """Raises TooLarge for a text of book length, and BadScenario for what is no text at all."""
    if len(text) > LONGEST_TEXT:
        hint = "describe it in a few paragraphs; rows of many scenarios go to: advisor classify FILE.jsonl"
        raise TooLarge(f"has {len(text)} characters, more than {LONGEST_TEXT}", where, hint)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadScenario("holds a NUL character, so it is no text", f"{where}, line {line}", "save it as plain text")
