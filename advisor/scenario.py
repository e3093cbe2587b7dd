"""Stage 1: a text, a file or answers -> Scenario, the user's own words kept.

Everything read here is untrusted: sizes are bounded, YAML tags and aliases are refused, nothing is executed.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import BadScenario, EmptyScenario, MissingFile, TooLarge

LARGEST_FILE = 2_000_000  # bytes
LONGEST_TEXT = 200_000  # characters; a description is a paragraph, a long report a few pages
_DATA = {".yaml", ".yml", ".json"}
_PROSE = {".md", ".txt", ".markdown"}
SCENARIO_SUFFIXES = _DATA | _PROSE


@dataclass(frozen=True)
class Scenario:
    """One scenario: `text` in the user's words, `facts` as the user stated them (fact -> value, both unchecked strings)."""

    id: str
    text: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    where: str = ""


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
    return from_mapping(_parse(text, path), path.stem, str(path))


def load_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises BadScenario and its kin."""
    data = _parse(_read(path), path)
    if not isinstance(data, dict):
        raise BadScenario("must hold a mapping", str(path))
    return data


def _parse(text: str, path: Path) -> Any:
    return parse_json(text, str(path)) if path.suffix.lower() == ".json" else parse_yaml(text, str(path))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return _bounded(stream.read(LARGEST_FILE + 1), str(path))
    except OSError as fault:
        raise BadScenario(f"can't be read ({fault.strerror})", str(path)) from fault


def from_text(text: str, scenario_id: str, where: str = "") -> Scenario:
    """A scenario that is described in prose. Raises EmptyScenario and TooLarge."""
    _length(text, where)
    if not text.strip():
        raise EmptyScenario("there is no text", where, "describe the scenario, or run: advisor ask")
    return Scenario(scenario_id, text, {}, where)


def from_mapping(data: Any, scenario_id: str, where: str) -> Scenario:
    """A scenario from the parsed content of a file: `id`, `description` (or `text`), `facts`."""
    if not isinstance(data, dict):
        raise BadScenario("a scenario is a mapping with `description` and `facts`", where)
    unknown = sorted(str(k) for k in data if k not in ("id", "description", "text", "facts"))
    if unknown:
        raise BadScenario(f"unknown field `{unknown[0][:80]}`", where, "fields: id, description, facts")
    text = data.get("description", data.get("text")) or ""
    facts = data.get("facts") or {}
    if not isinstance(text, str) or not isinstance(facts, dict):
        raise BadScenario("`description` is text and `facts` a mapping from fact to value", where)
    _length(text, where)
    if not text.strip() and not facts:
        raise EmptyScenario("there is neither a description nor a fact", where, "give one of them")
    return Scenario(str(data.get("id") or scenario_id)[:200], text, plain_facts(facts, where), where)


def plain_facts(facts: dict[Any, Any], where: str) -> dict[str, str]:
    """Facts as strings; a value that is no word and no number is refused, `unknown` and nothing are left out."""
    plain = {}
    for name, value in facts.items():
        if value is None or value == "" or value == "unknown":
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise BadScenario(f"the value of `{str(name)[:80]}` is no word and no whole number", where)
        plain[str(name)] = str(value)
    return plain


def parse_json(text: str, where: str) -> Any:
    """JSON with one message on a fault, and repeated keys refused."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [k for k, _ in pairs]
        twice = next((k for k in keys if keys.count(k) > 1), None) if len(set(keys)) < len(keys) else None
        if twice is not None:
            raise BadScenario(f"`{twice[:80]}` stands twice", where)
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as fault:
        raise BadScenario(f"is no valid JSON: {fault.msg}", f"{where}, line {fault.lineno}") from fault
    except (RecursionError, ValueError) as fault:
        raise BadScenario("is nested too deeply or holds a number that is too long", where) from fault


def parse_yaml(text: str, where: str) -> Any:
    """YAML 1.2 without tags, anchors and aliases, with the line on a fault."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.events import AliasEvent

    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
                line = event.start_mark.line + 1
                raise BadScenario("YAML tags, anchors and aliases are not allowed", f"{where}, line {line}")
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        place = f"{where}, line {mark.line + 1}" if mark else where
        problem = (fault.problem or "can't be parsed").splitlines()[0]
        raise BadScenario(f"is no valid YAML: {problem}", place) from fault
    except (YAMLError, RecursionError, ValueError) as fault:
        raise BadScenario("is no valid YAML", where) from fault


def _bounded(raw: bytes, where: str) -> str:
    if len(raw) > LARGEST_FILE:
        raise TooLarge(f"is larger than {LARGEST_FILE} bytes", where, "a description is a few paragraphs")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as fault:
        raise BadScenario(f"is not UTF-8 (byte {fault.start})", where, "save it as UTF-8") from fault


def _length(text: str, where: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise TooLarge(
            f"has {len(text)} characters, more than {LONGEST_TEXT}", where, "describe it in a few paragraphs"
        )
