"""Stage 4b: many scenarios through stages 1 to 4, in the order of the input, on any concurrent.futures.Executor."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from . import scenario as scenarios
from .engine import recommend
from .errors import AdvisorError, BadScenario, EmptyScenario, MissingFile, TooLarge
from .facts import establish
from .reader import read
from .record import Record, failed, record
from .rulebook import Rulebook, load
from .scenario import Scenario

_ROWS_PER_JOB = 256
_LONGEST_LINE = 1_000_000  # characters
Row = Scenario | tuple[str, AdvisorError]


def classify(rows: Iterable[Row], book: Rulebook, executor: Executor | None = None, ahead: int = 8) -> Iterator[Record]:
    """One record a row, in order. With an executor, at most `ahead` chunks of 256 rows are under way, so memory stays bounded."""
    if executor is None:
        for row in rows:
            yield _classify(row, book)
        return
    chunks = iter(lambda source=iter(rows): list(islice(source, _ROWS_PER_JOB)), [])  # type: ignore[misc]
    waiting = []
    for chunk in chunks:
        waiting.append(executor.submit(_classify_chunk, chunk, book.folder))
        if len(waiting) >= ahead:
            yield from waiting.pop(0).result()
    for job in waiting:
        yield from job.result()


def _classify_chunk(rows: list[Row], folder: Path) -> list[Record]:
    book = load(folder)
    return [_classify(row, book) for row in rows]


def _classify(row: Row, book: Rulebook) -> Record:
    if not isinstance(row, Scenario):
        return failed(*row)
    try:
        proposals = read(row.text) if row.text.strip() else ()
        return record(row.id, recommend(establish(row, book, proposals), book), book)
    except AdvisorError as error:
        return failed(row.id, error)


def rows(paths: Iterable[str]) -> Iterator[Row]:
    """The scenarios of files, folders (every scenario file in them, recursively, sorted) and `-` (JSONL on stdin).

    A row that can't be read comes as its id, or its file and line, with the error. Raises MissingFile for a path that is not there.
    """
    for argument in paths:
        if argument == "-":
            yield from _jsonl(sys.stdin, "stdin")
            continue
        path = Path(argument)
        if path.is_dir():
            known = scenarios.SCENARIO_SUFFIXES | {".jsonl", ".csv"}
            for file in sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in known):
                yield from _file(file)
        elif path.is_file():
            yield from _file(path)
        else:
            raise MissingFile("no such file or folder", argument)


def _file(path: Path) -> Iterator[Row]:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".csv"):
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield from (_jsonl if suffix == ".jsonl" else _csv)(stream, str(path))
        return
    try:
        yield scenarios.load_file(path)
    except AdvisorError as error:
        yield path.stem, error


def _jsonl(stream: TextIO, where: str) -> Iterator[Row]:
    number = 0
    while line := stream.readline(_LONGEST_LINE + 1):
        number += 1
        place = f"{where}, line {number}"
        whole = len(line) <= _LONGEST_LINE
        while not whole and line and not line.endswith("\n"):
            line = stream.readline(_LONGEST_LINE)
        if not whole:
            yield place, BadScenario(f"the line has more than {_LONGEST_LINE} characters", place)
        elif line.strip():
            yield _row(line, place)


def _row(line: str, place: str) -> Row:
    try:
        _is_text(line, place)
        data = scenarios.parse_json(line, place)
        if not isinstance(data, dict):
            raise BadScenario("a row is a JSON object", place)
        return _from_columns(data, place)
    except AdvisorError as error:
        return place, error


def _csv(stream: TextIO, where: str) -> Iterator[Row]:
    reader = csv.reader(stream)
    try:
        header = next(reader, [])
        if not header:
            return
        for values in reader:
            place = f"{where}, line {reader.line_num}"
            if not any(values):
                continue
            try:
                if len(values) != len(header):
                    raise BadScenario(f"has {len(values)} columns and the header has {len(header)}", place)
                for value in values:
                    _is_text(value, place)
                yield _from_columns(dict(zip(header, values, strict=True)), place)
            except AdvisorError as error:
                yield place, error
    except csv.Error as fault:
        place = f"{where}, line {reader.line_num}"
        yield place, BadScenario(f"is no valid CSV: {fault}", place)


def _from_columns(data: dict[str, Any], place: str) -> Row:
    """A row whose columns are `id`, `text` or `description`, `facts`, and any fact by name."""
    given = data.pop("id", None)
    row_id = place if given in (None, "") else str(given)[:200]
    try:
        text = data.pop("text", None) or data.pop("description", None) or ""
        nested = data.pop("facts", None) or {}
        if not isinstance(text, str) or not isinstance(nested, dict):
            raise BadScenario("`text` is text and `facts` a mapping", place)
        facts = scenarios.plain_facts({**data, **nested}, place)
        if not text.strip() and not facts:
            raise EmptyScenario("there is neither a description nor a fact", place)
        if len(text) > scenarios.LONGEST_TEXT:
            raise TooLarge(f"the text has {len(text)} characters", place)
        return Scenario(row_id, text, facts, place)
    except AdvisorError as error:
        return row_id, error


def _is_text(value: str, place: str) -> None:
    if any("\udc80" <= c <= "\udcff" for c in value):
        raise BadScenario("is not UTF-8", place, "save the file as UTF-8")


def to_jsonl(result: Record) -> str:
    """One line of JSON."""
    return json.dumps(result.as_dict(), ensure_ascii=False)


def to_csv_row(result: Record) -> list[str]:
    """The record's main columns: those of CSV_HEADER."""
    question = result.next_question.fact if result.next_question else ""
    error = f"{result.error.code}: {result.error.message}" if result.error else ""
    confidence = "" if result.confidence is None else f"{result.confidence:.4f}"
    return [
        result.id,
        result.recommendation or "",
        " ".join(result.possible),
        result.framing,
        confidence,
        result.rule or "",
        question,
        error,
    ]


CSV_HEADER = ["id", "recommendation", "possible", "framing", "confidence", "rule", "next_question", "error"]
