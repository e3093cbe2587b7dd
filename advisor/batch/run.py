"""The batch: chunks in, jobs for an executor, output in the order of the input, a place to go on from after every chunk."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AdvisorError, BadScenario, UnknownEntry, nearest
from ..executors import MissingExtra, Place, version
from ..rulebook import Rulebook
from .answers import CSV_HEADER, Done, Job, classify_chunk
from .ids import Ids, Notice
from .inputs import Chunk, chunks, cut
from .output import Mark, Output, ResumableFile, add
from .summary import Tally, to_markdown

_SLOW_ROWS = 16  # of a chunk where a text takes a second: progress and what a kill costs go by chunks
_TABLE_ROWS = 65_536  # of one row group of Parquet
Progress = Callable[[int, int], None]


class WorkerLost(AdvisorError):
    """A worker ended in the middle of its work and nobody could take over."""

    code = "worker-lost"
    exit_code = 1


@dataclass(frozen=True)
class Format:
    """An output format: the kind of lines that workers write, and what makes a whole of them."""

    lines: str
    suffixes: tuple[str, ...]
    head: bytes = b""


FORMATS = {
    "jsonl": Format("jsonl", (".jsonl",)),
    "json": Format("jsonl", (".json",), b"["),
    "csv": Format("csv", (".csv",), (",".join(CSV_HEADER) + "\n").encode()),
    "parquet": Format("cells", (".parquet",)),
    "markdown": Format("none", (".md", ".markdown")),
    "table": Format("cells", ()),
}


def format_of(name: str | None, target: Path | None) -> str:
    """The format by its name, else by the suffix of the file, else a table. Raises UnknownEntry."""
    if name is not None:
        if name not in FORMATS:
            raise UnknownEntry(f"no format is called `{name[:80]}`", hint=nearest(name, FORMATS) or ", ".join(FORMATS))
        found = name
    elif target is None:
        found = "table"
    else:
        by_suffix = {suffix: name for name, form in FORMATS.items() for suffix in form.suffixes}
        if target.suffix.lower() not in by_suffix:
            raise UnknownEntry(
                f"the suffix `{target.suffix[:20]}` names no format",
                str(target),
                f"suffixes: {', '.join(by_suffix)}; or say --format",
            )
        found = by_suffix[target.suffix.lower()]
    if found == "table" and target is not None:
        raise UnknownEntry(
            "a table is for the terminal", str(target), "for a file: jsonl, json, csv, parquet, markdown"
        )
    if found == "parquet":
        if target is None:
            raise UnknownEntry("Parquet is for a file", hint="say --output FILE.parquet")
        try:
            import pyarrow  # noqa: F401  # before the work, not after it
        except ImportError as fault:
            raise MissingExtra("Parquet needs pyarrow", str(target), "pip install 'metarl-advisor[parquet]'") from fault
    return found


def output_file(
    target: Path, form: str, book: Rulebook, paths: Iterable[str], resume: bool = False, reader: str = "quick"
) -> ResumableFile:
    """A file of records in the making, which only the same command of the same version goes on with."""
    about = {"format": form, "version": str(version(book)), "reader": reader, "paths": list(paths)}
    return ResumableFile(target, resume, about, to_parquet if form == "parquet" else None)


def run(
    resolved: list[str],
    book: Rulebook,
    form: str,
    output: Output,
    place: Place,
    rules: Path | None = None,
    on_progress: Progress | None = None,
    on_notice: Notice | None = None,
    reader: str = "quick",
) -> Tally:
    """Classifies everything that `inputs.resolve` found, in order, and writes it in a format; how many rows ended how.

    `reader` reads the texts: quick, careful or llm. At most `place.ahead` chunks are under way. `on_progress(rows done, input bytes
    done)` follows each chunk, `on_notice` tells of repeated ids. The output is the same for every executor, and for a run that was
    interrupted and resumed as often as you like. Raises CannotWrite, OtherVersion, WorkerLost; what was written up to then is kept for a resumed
    run.
    """
    mark = output.begin()
    if mark.whole:
        output.end(b"", mark)
        return mark.tally
    job = Job(rules, FORMATS[form].lines, version(book), reader)
    ids = Ids(on_notice)
    if mark.size == 0 and FORMATS[form].head:
        mark = Mark(size=len(FORMATS[form].head))
        output.write(FORMATS[form].head, mark)
    waiting: deque[tuple[Chunk, str, Future[Done]]] = deque()
    digest, number, size = "", 0, 0

    def settle() -> None:
        nonlocal mark, size
        chunk, digest, future = waiting[0]
        done = _result(future)
        waiting.popleft()
        ids.see(done.own_ids(), chunk)
        data = done.data(job.lines)
        if form == "json":
            data = _joined(data, mark.rows)
        rows, tally = mark.rows + done.rows, add(mark.tally, done.tally)
        mark = Mark(mark.chunks + 1, rows, digest, mark.size + len(data), tally)
        output.write(data, mark)
        size += chunk.size
        if on_progress is not None:
            on_progress(mark.rows, size)

    begun = mark
    try:
        for chunk in chunks(resolved) if reader == "quick" else cut(chunks(resolved), _SLOW_ROWS):
            digest, number = _chain(digest, chunk), number + 1
            if number <= begun.chunks:  # done before; read again only to see that it is the same, and for its ids
                size += chunk.size
                ids.see_again(chunk)
                if number == begun.chunks and digest != begun.digest:
                    raise _input_changed()
                continue
            waiting.append((chunk, digest, place.executor.submit(classify_chunk, chunk, job)))
            if len(waiting) >= place.ahead:
                settle()
        if number < begun.chunks:
            raise _input_changed()
        while waiting:
            settle()
    except BrokenExecutor as fault:
        raise _lost() from fault
    finally:
        for _, _, future in waiting:
            future.cancel()
    foot = b""
    if form == "json":
        foot = b"\n]\n" if mark.rows else b"]\n"
    elif form == "markdown":
        foot = to_markdown(mark.tally, book).encode()
    output.end(foot, mark)
    ids.say()
    return mark.tally


def _result(future: Future[Done]) -> Done:
    try:
        return future.result()
    except (AdvisorError, BrokenExecutor):
        raise
    except Exception as fault:
        if type(fault).__name__ in (
            "KilledWorker",
            "CancelledError",
            "FutureCancelledError",
        ):  # Dask's names; Dask may not be installed
            raise _lost() from fault
        raise


def _lost() -> WorkerLost:
    return WorkerLost("a worker was killed (out of memory?)", hint="with --output, --resume goes on with what is done")


def _input_changed() -> AdvisorError:
    return BadScenario(
        "the input is no longer what the unfinished run has read",
        hint="delete FILE.part and FILE.part.json, and begin again",
    )


def _chain(digest: str, chunk: Chunk) -> str:
    return hashlib.sha256(digest.encode() + chunk.fingerprint()).hexdigest()


def _joined(lines: bytes, before: int) -> bytes:
    """Lines of JSON as elements of an array, of which some stand before."""
    if not lines:
        return b""
    return (b",\n" if before else b"\n") + lines[:-1].replace(b"\n", b",\n")


def to_parquet(part: Path, new: Path) -> None:
    """The lines of cells of a whole part as Parquet, in row groups of the same size whatever the run was cut into."""
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    kinds = {"possible": pyarrow.list_(text), "confidence": pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds.get(name, text)) for name in CSV_HEADER])
    with part.open(encoding="utf-8") as lines, parquet.ParquetWriter(new, schema) as writer:
        rows: list[dict[str, Any]] = []
        for line in lines:
            cells: dict[str, Any] = {
                name: value or None for name, value in zip(CSV_HEADER, json.loads(line), strict=True)
            }
            cells["possible"] = (cells["possible"] or "").split()
            cells["confidence"] = None if cells["confidence"] is None else float(cells["confidence"])
            rows.append(cells)
            if len(rows) == _TABLE_ROWS:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
