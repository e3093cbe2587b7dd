"""Paths -> chunks: what is to be read, cut into pieces of bounded size without being understood yet.

A chunk is picklable and stands for itself, so that a worker on any machine can go on with it. The cuts depend on the input alone.
"""

import csv
import glob
import gzip
import json
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from ..errors import AdvisorError, BadScenario, MissingFile, TooLarge
from ..executors import MissingExtra
from ..scenario import LARGEST_FILE, SCENARIO_SUFFIXES

CHUNK_BYTES = 1 << 18  # about 1,500 rows of facts or 700 of text: long enough to send, short enough to hold many
LONGEST_LINE = 2_000_000  # bytes of a row, as many as a scenario file may have
_CHUNK_ROWS = 512
_FILE_SUFFIXES = SCENARIO_SUFFIXES
_LINES = {".jsonl", ".csv"}
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FAULTS = (OSError, EOFError, zlib.error)  # of a damaged disk, file or gzip stream

Cells = dict[str, Any]


@dataclass(frozen=True)
class Chunk:
    """A piece of the input, of one of three sorts.

    `lines`: whole lines of JSON, the first with the number `first`; `rows`: (number, columns or error) of CSV and Parquet, numbered in
    `unit`s; `files`: (path, bytes or error) of files that hold one scenario. `size` is the number of input bytes it took, for the progress.
    """

    where: str
    size: int
    lines: bytes = b""
    first: int = 1
    rows: list[tuple[int, Cells | AdvisorError]] = field(default_factory=list)
    unit: str = "line"
    files: list[tuple[str, bytes | AdvisorError]] = field(default_factory=list)

    def place(self, number: int) -> str:
        """File and line of a row; 0 is the file as a whole."""
        return f"{self.where}, {self.unit} {number}" if number else self.where

    def fingerprint(self) -> bytes:
        """The bytes that stand for this chunk's input: the same input gives the same."""
        parts = [self.where, self.first, self.unit, self.rows, self.files]
        return json.dumps(parts, default=str).encode() + b"\0" + self.lines


def resolve(arguments: Iterable[str]) -> list[str]:
    """The files, folders and `-` that the arguments name, globs resolved and sorted. Raises MissingFile for one that names nothing."""
    found: list[str] = []
    for argument in arguments:
        if argument == "-" or os.path.exists(argument):
            found.append(argument)
        elif glob.has_magic(argument) and (matches := sorted(glob.glob(argument, recursive=True))):
            found += matches
        else:
            raise MissingFile("no such file or folder", argument[:500])
    return found


def total_size(resolved: Iterable[str]) -> int | None:
    """The bytes to be read, or None where stdin is among them."""
    total = 0
    for argument in resolved:
        if argument == "-":
            return None
        for path in _files(Path(argument)):
            try:
                total += path.stat().st_size
            except OSError:  # the run itself will say so
                continue
    return total


def chunks(resolved: Iterable[str]) -> Iterator[Chunk]:
    """The chunks of what `resolve` found, in order. What can't be read is an error in a chunk, and reading goes on after it."""
    gathered: list[tuple[str, bytes | AdvisorError]] = []
    size = 0
    for argument in resolved:
        for path in [None] if argument == "-" else _files(Path(argument)):
            if path is not None and not _is_table(path):
                raw = _whole(path)
                gathered.append((str(path), raw))
                size += len(raw) if isinstance(raw, bytes) else 0
                if size < CHUNK_BYTES and len(gathered) < _CHUNK_ROWS:
                    continue
            if gathered:
                yield Chunk("", size, files=gathered)
                gathered, size = [], 0
            if path is None:
                yield from _jsonl(sys.stdin.buffer, "stdin")
            elif _is_table(path):
                yield from _table(path)
    if gathered:
        yield Chunk("", size, files=gathered)


def cut(whole: Iterable[Chunk], rows: int) -> Iterator[Chunk]:
    """The same input in chunks of at most so many rows, for readers that take long over each."""
    for chunk in whole:
        lines = BytesIO(chunk.lines).readlines()
        count = len(lines) + len(chunk.rows) + len(chunk.files)
        for at in range(0, count, rows):
            upto = slice(at, at + rows)
            size = chunk.size * min(at + rows, count) // count - chunk.size * at // count
            some = replace(chunk, size=size, rows=chunk.rows[upto], files=chunk.files[upto])
            yield replace(some, lines=b"".join(lines[upto]), first=chunk.first + at) if lines else some


def _files(path: Path) -> Iterator[Path]:
    """A file itself; of a folder every scenario file in it, recursively, sorted by name; links to folders are not followed."""
    waiting = [str(path)]  # the next one last; plain strings, for a folder may hold a million files
    while waiting:
        here = waiting.pop()
        if here != str(path) and not here.endswith(os.sep) or not os.path.isdir(here):
            yield Path(here)
            continue
        try:
            with os.scandir(here) as entries:
                names = [e.name + os.sep if e.is_dir(follow_symlinks=False) else e.name for e in entries if _wanted(e)]
        except OSError:
            yield Path(here)  # reading it as a file gives an error record with its name
            continue
        names.sort(key=lambda name: name.rstrip(os.sep), reverse=True)
        waiting += [os.path.join(here, name) for name in names]


def _wanted(entry: "os.DirEntry[str]") -> bool:
    if entry.is_dir():
        return not entry.is_symlink()
    path = Path(entry.name)
    return entry.is_file() and (_is_table(path) or path.suffix.lower() in _FILE_SUFFIXES)


def _is_table(path: Path) -> bool:
    """Whether a file holds a row each scenario."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix in _LINES or name.endswith(".parquet")


def _whole(path: Path) -> bytes | AdvisorError:
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
    except OSError as fault:
        return BadScenario(f"can't be read ({fault.strerror})", str(path))
    if len(raw) > LARGEST_FILE:
        return TooLarge(f"is larger than {LARGEST_FILE} bytes", str(path), "a description is a few paragraphs")
    return raw


def _table(path: Path) -> Iterator[Chunk]:
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            yield from _parquet(path)
            return
        with path.open("rb") as raw:
            zipped = name.endswith(".gz")
            stream: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            cut = _jsonl if Path(name.removesuffix(".gz")).suffix == ".jsonl" else _csv
            before = 0
            for chunk in cut(stream, str(path)):
                size, before = (raw.tell() - before, raw.tell()) if zipped else (chunk.size, 0)
                yield replace(chunk, size=size)
    except _FAULTS as fault:
        yield _fault(str(path), 0, f"can't be read ({getattr(fault, 'strerror', None) or fault})")


def _fault(where: str, number: int, message: str, hint: str = "", unit: str = "line") -> Chunk:
    place = f"{where}, {unit} {number}" if number else where
    rows: list[tuple[int, Cells | AdvisorError]] = [(number, BadScenario(message, place, hint))]
    return Chunk(where, 0, rows=rows, unit=unit)


def _jsonl(stream: IO[bytes], where: str) -> Iterator[Chunk]:
    number, rest, first = 1, b"", True
    while True:
        try:
            block = stream.read(CHUNK_BYTES)
        except _FAULTS as fault:
            yield _fault(where, number, f"can't be read further ({fault})")
            return
        if first:
            if block.startswith(_UTF16):
                yield _fault(where, 1, "is UTF-16, not UTF-8", "save the file as UTF-8")
                return
            block, first = block.removeprefix(b"\xef\xbb\xbf"), False
        data = rest + block
        cut = data.rfind(b"\n") + 1 if block else len(data)
        whole, rest = data[:cut], data[cut:]
        if whole:
            yield Chunk(where, len(whole), whole, number)
            number += whole.count(b"\n")
        if len(rest) > LONGEST_LINE:
            yield _fault(where, number, f"the line has more than {LONGEST_LINE} bytes")
            rest = b""
            while block := stream.read(CHUNK_BYTES):
                if b"\n" in block:
                    rest, number = block.partition(b"\n")[2], number + 1
                    break
        if not block:
            return


class _Lines:
    """The lines of a CSV file, with a way back to the line after the first one taken since `begin`."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self.stream, self.where = stream, where
        self.number = 0  # of the line given last
        self.size = 0
        self.taken: list[bytes] = []
        self.back: list[bytes] = []  # the next one last

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        raw = self.back.pop() if self.back else self._line()
        if not raw:
            raise StopIteration
        self.number += 1
        self.taken.append(raw)
        if len(raw) > LONGEST_LINE:
            rest = raw
            while rest and not rest.endswith(b"\n"):
                rest = self._line()
            self.taken[-1] = raw.rstrip(b"\n") + b"\n"  # whole now: if it is taken again, nothing after it goes with it
            raise csv.Error(f"the line has more than {LONGEST_LINE} bytes")
        return raw.decode("utf-8", "surrogateescape")

    def _line(self) -> bytes:
        raw = self.stream.readline(LONGEST_LINE + 1)
        self.size += len(raw)
        return raw.removeprefix(b"\xef\xbb\xbf") if self.size == len(raw) else raw

    def begin(self) -> int:
        """Number of the next line, where a record begins."""
        self.taken.clear()
        return self.number + 1

    def again(self) -> None:
        """Everything taken since `begin` but the first line is to be read again: that line was broken, not those after it."""
        self.back += reversed(self.taken[1:])
        self.number -= len(self.taken[1:])


def _csv(stream: IO[bytes], where: str) -> Iterator[Chunk]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    lines = _Lines(stream, where)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    rows: list[tuple[int, Cells | AdvisorError]] = []
    size = 0
    end = False
    while not end:
        number = lines.begin()
        place = f"{where}, line {number}"
        try:
            values = next(reader)
            if header is None:
                header = _header(values, place)
                if header is None:
                    lines.begin()
                    continue
            elif any(values):
                rows.append((number, _cells(header, values, place)))
        except StopIteration:
            end = True
        except csv.Error as fault:
            rows.append((number, BadScenario(f"is no valid CSV: {fault}", place)))
            lines.again()
            if header is None:
                end = True
        except AdvisorError as fault:  # the header: without it no row can be read
            rows.append((number, fault))
            end = True
        except _FAULTS as fault:
            rows.append((number, BadScenario(f"can't be read further ({fault})", place)))
            end = True
        if rows and (end or len(rows) == _CHUNK_ROWS or lines.size - size >= CHUNK_BYTES):
            yield Chunk(where, lines.size - size, rows=rows)
            rows, size = [], lines.size


def _header(values: list[str], place: str) -> list[str] | None:
    """The names of the columns, or None for an empty line."""
    if not any(values):
        return None
    if "".join(values).startswith(("\udcff\udcfe", "\udcfe\udcff")):
        raise BadScenario("is UTF-16, not UTF-8", place, "save the file as UTF-8")
    if twice := next((v for v in values if values.count(v) > 1), None):
        raise BadScenario(f"the column `{twice[:80]}` stands twice", place)
    return values


def _cells(header: list[str], values: list[str], place: str) -> Cells | AdvisorError:
    if len(values) != len(header):
        return BadScenario(f"has {len(values)} columns and the header has {len(header)}", place)
    together = "".join(values)
    if not together.isascii() and _NOT_UTF8.search(together):
        return BadScenario("is not UTF-8", place, "save the file as UTF-8")
    return dict(zip(header, values, strict=True))


def _parquet(path: Path) -> Iterator[Chunk]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as fault:
        raise MissingExtra("Parquet needs pyarrow", str(path), "pip install 'metarl-advisor[parquet]'") from fault
    number = 1
    try:
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as table:
            each = path.stat().st_size / max(1, table.metadata.num_rows)
            for batch in table.iter_batches(batch_size=_CHUNK_ROWS):
                rows: list[tuple[int, Cells | AdvisorError]] = list(enumerate(batch.to_pylist(), number))
                yield Chunk(str(path), round(each * len(rows)), rows=rows, unit="row")
                number += len(rows)
    except (pyarrow.ArrowException, OSError, ValueError) as fault:
        yield _fault(str(path), number, f"is no valid Parquet: {str(fault).splitlines()[0][:200]}", unit="row")
