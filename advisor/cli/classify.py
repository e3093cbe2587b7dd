"""`advisor classify`: many scenarios, a record for each."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .. import rulebook as rulebooks
from ..errors import UnknownEntry
from ..library import check_reader
from .common import AsJson, RulesFolder, one_line_end, open_console

_TABLE_ROWS = 1000  # more is no table that anyone reads
_SECONDS_BETWEEN_LINES = 30  # of progress, where stderr is a file


def classify(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs, or `-` for JSONL on stdin.")
    ],
    form: Annotated[
        str | None,
        typer.Option("--format", help="table, jsonl, json, csv, parquet or markdown; else by the suffix of --output."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file, which appears when it is whole.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run of the same --output.")
    ] = False,
    as_json: AsJson = False,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes to work with.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, or its scheduler file, to work on.")
    ] = None,
    reader: Annotated[
        str, typer.Option(metavar="NAME", help="quick; careful, far slower; or llm, as in `explain`.")
    ] = "quick",
    rules: RulesFolder = None,
) -> None:
    """Many scenarios: a record for each, in the order of the input."""
    from .. import batch, executors

    if resume and output is None:
        raise UnknownEntry("--resume goes on with a file", hint="say --output FILE")
    if cluster is not None and workers > 1:
        raise UnknownEntry("--workers and --cluster exclude each other", hint="the cluster has its own workers")
    check_reader(reader)
    name = batch.format_of("json" if as_json else form, output)
    book = rulebooks.load(rules)
    found = batch.resolve(paths)
    table = _Table()
    with one_line_end(), executors.open_place(workers, cluster, rules) as place, progress(found) as on_progress:
        if output is not None:
            with batch.output_file(output, name, book, found, resume, reader) as file:
                tally = batch.run(found, book, name, file, place, rules, on_progress, say, reader)
        elif name == "table":
            tally = batch.run(found, book, name, batch.Handed(table.take), place, rules, on_progress, say, reader)
        else:
            stdout = batch.Stream(sys.stdout.buffer)
            tally = batch.run(found, book, name, stdout, place, rules, on_progress, say, reader)
    if output is None and name == "table":
        open_console().print(table.drawn)
        if table.left_out:
            say(f"{_TABLE_ROWS} of {_TABLE_ROWS + table.left_out} rows are shown; for all of them: --output FILE.jsonl")
    if output is not None:
        say(f"{sum(tally.values()):,} records in {output}: {batch.to_line(tally)}")
    if errors := batch.errors(tally):
        say(f"{sum(errors.values())} record(s) hold an error")
        raise typer.Exit(3)


def say(message: str) -> None:
    """A line on stderr."""
    from ..explain import printable

    print(printable(message), file=sys.stderr)


class _Table:
    """The first thousand records as a table."""

    def __init__(self) -> None:
        self.drawn = Table("id", "recommendation", "sure", "rule", "next question", box=None, pad_edge=False)
        self.left_out = 0

    def take(self, data: bytes) -> None:
        """Lines of cells."""
        for line in data.decode().split("\n")[:-1]:
            if self.drawn.row_count == _TABLE_ROWS:
                self.left_out += 1
                continue
            shown = json.loads(line)
            cells = [shown[0], shown[1] or "error", shown[4][:4], shown[5], shown[6] or shown[7]]
            self.drawn.add_row(*(escape(printable_cell(c)) for c in cells))


def printable_cell(text: str) -> str:
    """A cell of the table: one line, control characters made visible."""
    from ..explain import printable

    return printable(" ".join(text.split()))


@contextmanager
def progress(found: list[str]) -> Iterator[Callable[[int, int], None]]:
    """Rows, rate and time left on stderr: a bar on a terminal, elsewhere a line now and then; `(rows, input bytes)` moves it."""
    if sys.stderr.isatty():
        yield from _bar(found)
    else:
        yield _Lines(found)


def _bar(found: list[str]) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from .. import batch

    columns = (TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f} a second"), BarColumn())
    began = time.monotonic()
    with Progress(*columns, TimeRemainingColumn(), console=open_console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=batch.total_size(found), rows=0, rate=0.0)

        def show(rows: int, size: int) -> None:
            bar.update(task, completed=size, rows=rows, rate=rows / max(1e-9, time.monotonic() - began))

        yield show


class _Lines:
    def __init__(self, found: list[str]) -> None:
        self.found = found
        self.began = self.said = time.monotonic()
        self.first: tuple[int, int] | None = None

    def __call__(self, rows: int, size: int) -> None:
        from .. import batch

        now = time.monotonic()
        self.first = self.first or (rows, size)
        if now - self.said < _SECONDS_BETWEEN_LINES:
            return
        self.said = now
        total = batch.total_size(self.found)
        left = "" if not total or not size else f", {clock((now - self.began) * (total - size) / size)} left"
        say(f"{rows:,} rows, {rows / (now - self.began):,.0f} a second{left}")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
