"""Chunk -> rows: JSON parsed, columns told apart, each row a Scenario or the error that took its place."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .. import scenario as scenarios
from ..errors import AdvisorError, BadScenario, EmptyScenario
from ..scenario import Scenario
from .inputs import LONGEST_LINE, Cells, Chunk, chunks, resolve

Row = Scenario | tuple[str, AdvisorError]
_decode = json.JSONDecoder().raw_decode


def rows(paths: Iterable[str]) -> Iterator[Row]:
    """The scenarios of files, folders (every scenario file in them, recursively, sorted), globs and `-` (JSONL on stdin).

    A row that can't be read comes as its id, or its file and line, with the error. Raises MissingFile for a path that is not there.
    """
    for chunk in chunks(resolve(paths)):
        yield from chunk_rows(chunk)


def chunk_rows(chunk: Chunk) -> Iterator[Row]:
    """The rows of one chunk."""
    for path, raw in chunk.files:
        yield from_file(path, raw)
    for number, data in parsed(chunk):
        place = chunk.place(number)
        yield (place, data) if isinstance(data, AdvisorError) else from_columns(data, place)


def parsed(chunk: Chunk) -> Iterator[tuple[int, Cells | AdvisorError]]:
    """The rows of a chunk of lines or columns as (number, columns or error); empty lines are left out."""
    for number, data in chunk.rows:
        yield number, data if isinstance(data, AdvisorError) else dict(data)  # whoever takes it may take it apart
    content, number = chunk.lines.replace(b"\r\n", b"\n"), chunk.first - 1
    try:
        lines: list[Any] = content.decode().split("\n")
    except UnicodeDecodeError:
        lines = content.split(b"\n")
    bounded = len(content) <= LONGEST_LINE  # then no line of it is too long
    for line in lines:
        number += 1
        if not line:
            continue
        try:
            data, end = _decode(line)
            # Every key has its colon: as many colons as keys means that no key stands twice.
            nested = data.get("facts")
            keys = len(data) + len(nested) if type(nested) is dict else len(data)
            if end == len(line) and line.count(":") == keys and bounded:
                yield number, data
                continue
        except (ValueError, RecursionError, AttributeError, TypeError):
            pass
        if line.strip():
            yield number, _carefully(line, chunk.place(number))


def _carefully(line: str | bytes, place: str) -> Cells | AdvisorError:
    """A line that is not plainly right, with every check and the message for what is wrong."""
    try:
        if len(line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")) > LONGEST_LINE:
            return BadScenario(f"the line has more than {LONGEST_LINE} bytes", place)
        data = scenarios.parse_json(line.decode() if isinstance(line, bytes) else line, place)
    except UnicodeDecodeError:
        return BadScenario("is not UTF-8", place, "save the file as UTF-8")
    except AdvisorError as error:
        error.where = place  # a row is one line, whatever line the parser counts in it
        return error
    return data if isinstance(data, dict) else BadScenario("a row is a JSON object", place)


def from_columns(data: Cells, place: str) -> Row:
    """A row whose columns are `id`, `text` or `description`, `facts`, and any fact by name; the mapping is used up."""
    given = data.pop("id", None)
    row_id = place if given in (None, "") else str(given)[:200]
    try:
        told, described = data.pop("text", None), data.pop("description", None)
        text, nested = told or described or "", data.pop("facts", None) or {}
        if not isinstance(text, str) or not isinstance(nested, dict):
            raise BadScenario("`text` is text and `facts` a mapping", place)
        facts = scenarios.joined_facts(data, nested, place)
        if not text.strip() and not facts:
            raise EmptyScenario("there is neither a description nor a fact", place)
        scenarios.check_text(text, place)
        return Scenario(row_id, text, facts, place)
    except AdvisorError as error:
        return row_id, error


def from_file(path: str, raw: bytes | AdvisorError) -> Row:
    """The scenario of a file that holds one: YAML, JSON, TOML, or prose."""
    name = Path(path)
    try:
        if isinstance(raw, AdvisorError):
            raise raw
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        suffix = name.suffix.lower()
        if suffix == ".toml":
            return scenarios.from_mapping(scenarios.parse_toml(text, path), name.stem, path)
        if suffix == ".json":
            return scenarios.from_mapping(scenarios.parse_json(text, path), name.stem, path)
        if suffix in (".yaml", ".yml"):
            return scenarios.from_mapping(scenarios.parse_yaml(text, path), name.stem, path)
        return scenarios.from_text(text, name.stem, path)
    except UnicodeDecodeError as fault:
        return name.stem, BadScenario(f"is not UTF-8 (byte {fault.start})", path, "save it as UTF-8")
    except AdvisorError as error:
        return name.stem, error
