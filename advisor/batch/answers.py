"""Rows -> lines of output, fast: what depends on the facts' values alone is worked out once for each combination and kept.

`record.record` and the engine say what an answer is; here its constant parts are cut from that record and joined again with the id, the
confidence and the words of the text. Tests hold the lines equal to the record's own.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..engine import confidence as verdict_confidence
from ..engine import recommend
from ..errors import AdvisorError, NotRead
from ..executors import Version, same_version, version
from ..facts import Known, check, establish
from ..reader import Proposal, read_many
from ..record import Record, failed, record
from ..rulebook import Rulebook, load
from ..scenario import Scenario, plain_facts
from .inputs import Chunk
from .rows import Row, from_columns, from_file, parsed

CSV_HEADER = ["id", "recommendation", "possible", "framing", "confidence", "rule", "next_question", "error"]
_KEPT = 8192  # combinations; the decisive facts alone have 144, counts make more
_quote = json.encoder.encode_basestring
_to_json = json.JSONEncoder(ensure_ascii=False).encode  # made once: json.dumps makes one for each call
_to_quote = re.compile('[,"\r\n]')


@dataclass(frozen=True)
class Job:
    """What a worker must know beside the chunk: the rules (None: the shipped ones), the kind of lines to write, the version of this run, and who
    reads the texts (quick, careful or llm)."""

    rules: Path | None
    lines: str
    version: Version
    reader: str = "quick"


@dataclass(frozen=True)
class Done:
    """A chunk's outcome: of each row the id and all of its line that follows the id, and how many rows ended how.

    `placed` holds the rows, by number in the chunk, whose id is their file and line, for they have none of their own. A tally's key is a
    verdict, `undecided:` with the known decisive facts, or `error:` with the code.

    Rows of stated facts share few tails, each one object: pickled once, it comes to the parent of a pool once and not once a row.
    """

    ids: list[str]
    tails: list[str]
    placed: frozenset[int]
    tally: Counter[str]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.ids)

    def own_ids(self) -> list[str]:
        """The ids without those that are a file and line."""
        return [row_id for i, row_id in enumerate(self.ids) if i not in self.placed] if self.placed else self.ids

    def data(self, lines: str) -> bytes:
        """The lines of a kind, the one that the chunk was worked out for."""
        kind = LINES[lines]
        if kind.id is None:
            return b""
        pieces = [kind.before] * (3 * self.rows)
        pieces[1::3] = map(kind.id, self.ids)
        pieces[2::3] = self.tails
        # Half a surrogate pair is written as JSON writes it.
        return "".join(pieces).encode("utf-8", "backslashreplace")


def classify_chunk(chunk: Chunk, job: Job) -> Done:
    """Stages 1 to 4 for a chunk, on any machine. Raises OtherVersion where the answers would not be those of this run."""
    return _classifier(job).chunk(chunk)


@lru_cache(maxsize=8)
def _classifier(job: Job) -> "Classifier":
    book = load(job.rules)
    same_version(job.version, version(book), "this worker")
    return Classifier(book, job.lines, job.reader)


def to_jsonl(result: Record) -> str:
    """One line of JSON, without its end."""
    return _to_json(result.as_dict())


def to_csv_row(result: Record) -> list[str]:
    """The record's main columns: those of CSV_HEADER."""
    question = result.next_question.fact if result.next_question else ""
    error = f"{result.error.code}: {result.error.message}" if result.error else ""
    confidence = "" if result.confidence is None else f"{result.confidence:.4f}"
    possible = " ".join(result.possible)
    return [
        result.id,
        result.recommendation or "",
        possible,
        result.framing,
        confidence,
        result.rule or "",
        question,
        error,
    ]


def _jsonl_tail(result: Record) -> str:
    return to_jsonl(result)[len('{"id": ""') :] + "\n"


def _csv_tail(result: Record) -> str:
    return "".join("," + _csv_cell(cell) for cell in to_csv_row(result)[1:]) + "\n"


def _cells_tail(result: Record) -> str:
    return _to_json(to_csv_row(result))[len('[""') :] + "\n"


def _csv_cell(value: str) -> str:
    """A cell of CSV; unlike Python's writer this quotes a lone carriage return, which readers would take for the end of the row."""
    return '"' + value.replace('"', '""') + '"' if _to_quote.search(value) else value


@dataclass(frozen=True)
class _Lines:
    """A kind of lines: what stands before the id, how the id is written (None: there are no lines), and all that follows it, for a
    record without id."""

    before: str
    id: Callable[[str], str] | None
    tail: Callable[[Record], str]


LINES = {
    "jsonl": _Lines('{"id": ', _quote, _jsonl_tail),
    "csv": _Lines("", _csv_cell, _csv_tail),
    "cells": _Lines("[", _quote, _cells_tail),
    "none": _Lines("", None, lambda result: ""),
}

_CONFIDENCE = -0.25  # no probability: it marks the place where one belongs


class Classifier:
    """The answers of one rulebook as lines of one kind."""

    def __init__(self, book: Rulebook, lines: str, reader: str = "quick") -> None:
        self.book, self.lines, self.kind, self.reader = book, LINES[lines], lines, reader
        self._fault = lru_cache(maxsize=_KEPT)(self._look_for_fault)
        self._stated = lru_cache(maxsize=_KEPT)(self._work_out_stated)
        self._parts = lru_cache(maxsize=_KEPT)(self._work_out_parts)

    def chunk(self, chunk: Chunk) -> Done:
        """One line a row, in order."""
        ids: list[str] = []
        tails: list[str] = []
        placed: list[int] = []
        tally: Counter[str] = Counter()
        told: list[tuple[int, Scenario]] = []  # texts and the numbers of their rows; they are read together in the end
        stated = self._stated

        def add(row: Row, place: str | None) -> None:
            row_id = row.id if isinstance(row, Scenario) else row[0]
            if row_id == place:
                placed.append(len(ids))
            ids.append(row_id)
            answered = self._without_reading(row)
            if answered is None:
                assert isinstance(row, Scenario)
                told.append((len(tails), row))
                tails.append("")
            else:
                tails.append(answered[0])
                tally[answered[1]] += 1

        for path, raw in chunk.files:
            add(from_file(path, raw), None)
        for number, data in parsed(chunk):
            if type(data) is dict:
                given = data.pop("id", None)
                row_id = str(given) if type(given) is int else given
                if type(row_id) is str and 0 < len(row_id) <= 200:
                    try:
                        tail, key = stated(_facts_alone(data))
                        tails.append(tail)
                        ids.append(row_id)
                        tally[key] += 1
                        continue
                    except (_NotPlain, AdvisorError, AttributeError):
                        pass  # it holds a text, a value that is no word, or a fault
                data["id"] = given
            place = chunk.place(number)
            add((place, data) if isinstance(data, AdvisorError) else from_columns(data, place), place)
        for (i, row), proposals in zip(told, self._read([row.text for _, row in told]) if told else (), strict=True):
            tails[i], key = self._answer(row, proposals)
            tally[key] += 1
        return Done(ids, tails, frozenset(placed), tally)

    def _without_reading(self, row: Row) -> tuple[str, str] | None:
        """(rest of the line, key of the tally) of a row without a text or with a fault; None for one whose text is to be read."""
        try:
            if not isinstance(row, Scenario):
                raise row[1]
            for name, value in row.facts.items():
                if value == "unknown" and name in self.book.facts:
                    continue
                if fault := self._fault(name, value if name in self.book.facts else ""):
                    raise type(fault)(fault.message, row.where, fault.hint)
        except AdvisorError as error:
            return self._failure(error)
        return None if row.text.strip() else self._answer(row, ())

    def _read(self, texts: list[str]) -> Sequence[tuple[Proposal, ...] | NotRead]:
        if self.reader == "llm":
            from ..reader.llm import read_each

            return read_each(texts)
        return read_many(texts, careful=self.reader == "careful")

    def _answer(self, row: Scenario, proposals: tuple[Proposal, ...] | NotRead) -> tuple[str, str]:
        if isinstance(proposals, NotRead):
            return self._failure(proposals)
        try:
            return self._known(establish(row, self.book, proposals))
        except AdvisorError as error:
            return self._failure(error)

    def _failure(self, error: AdvisorError) -> tuple[str, str]:
        return self.lines.tail(failed("", error)), f"error:{error.code}"

    def _look_for_fault(self, name: str, value: str) -> AdvisorError | None:
        try:
            check(name, value, self.book)
        except AdvisorError as error:
            return error
        return None

    def _work_out_stated(self, items: tuple[tuple[str, str], ...]) -> tuple[str, str]:
        """(rest of the line, key) for facts that the user stated. Raises AdvisorError, without a place, for what is no fact."""
        facts = plain_facts(dict(items), "")
        if not facts:
            raise _NotPlain
        answer = recommend(establish(Scenario("", "", facts), self.book), self.book)
        return self.lines.tail(record("", answer, self.book)), self._key(answer.verdict, answer.values)

    def _known(self, known: dict[str, Known]) -> tuple[str, str]:
        """(rest of the line, key) for facts with their own confidence and words."""
        was_read = any(k.source in ("text", "assumed") for k in known.values())
        parts = self._parts(tuple((name, k.value) for name, k in known.items()), was_read)
        confidence = round(verdict_confidence(known, parts.possible, self.book), 4)
        if self.kind == "jsonl":
            facts = ", ".join([_fact(name, k) for name, k in known.items()])
            return f"{parts.before}{confidence!r}{parts.between}{{{facts}}}{parts.after}", parts.key
        return f"{parts.before}{confidence:.4f}{parts.after}" if parts.before else "", parts.key

    def _work_out_parts(self, items: tuple[tuple[str, str], ...], was_read: bool) -> "_Parts":
        known = {name: Known(value, 1.0, "text" if was_read else "file") for name, value in items}
        answer = recommend(known, self.book)
        whole = record("", answer, self.book)
        tail = self.lines.tail(whole.model_copy(update={"confidence": _CONFIDENCE, "facts": {}}))
        key = self._key(answer.verdict, answer.values)
        if self.kind == "none":
            return _Parts(answer.possible, "", "", "", key)
        before, _, rest = tail.partition(f"{_CONFIDENCE}" if self.kind == "jsonl" else f"{_CONFIDENCE:.4f}")
        between, after = "", rest
        if self.kind == "jsonl":
            between, _, after = rest.partition("{}")
        return _Parts(answer.possible, before, between, after, key)

    def _key(self, verdict: str, values: dict[str, str]) -> str:
        if verdict != "undecided":
            return verdict
        known = (f"{fact.id}={values[fact.id]}" for fact in self.book.decisive if fact.id in values)
        return f"undecided:{','.join(known)}"


@dataclass(frozen=True)
class _Parts:
    """What surrounds the confidence and the facts in a line."""

    possible: tuple[str, ...]
    before: str
    between: str
    after: str
    key: str


class _NotPlain(Exception):
    """A row that is more than an id and facts in strings."""


def _facts_alone(data: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The facts of a row of nothing else (its id taken away), flat or nested. Raises _NotPlain for any other row, AttributeError for `facts`
    that are no mapping."""
    if "facts" in data or "text" in data or "description" in data:
        if data.get("text") or data.get("description"):
            raise _NotPlain
        nested = data.get("facts")
        flat = {name: value for name, value in data.items() if name not in ("facts", "text", "description")}
        if flat and nested:
            raise _NotPlain
        data = nested or flat
    try:
        "".join(data.values())
        return tuple(data.items())
    except TypeError:  # words in place of counts, and never True in place of 1, with which it would share a key
        return tuple([(name, value if type(value) is str else _word(value)) for name, value in data.items()])


def _word(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if value is None:
        return ""
    raise _NotPlain


def _fact(name: str, known: Known) -> str:
    """A fact as JSON, written out here because building it for an encoder takes twice as long."""
    evidence = [f'{{"start": {s.start}, "end": {s.end}, "text": {_quote(s.text)}}}' for s in known.evidence]
    return (
        f'{_quote(name)}: {{"value": {_quote(known.value)}, "confidence": {round(known.confidence, 4)!r}, '
        f'"source": {_quote(known.source)}, "evidence": [{", ".join(evidence)}]}}'
    )
