"""`advisor classify`: many scenarios, a record for each."""

import sys
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .. import rulebook as rulebooks
from ..errors import UnknownEntry, nearest
from .common import AsJson, RulesFolder, open_console, print_json


def classify(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, or `-` for JSONL on stdin.")],
    form: Annotated[str, typer.Option("--format", help="table, jsonl or csv.")] = "table",
    as_json: AsJson = False,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes to read texts with.")] = 1,
    rules: RulesFolder = None,
) -> None:
    """Many scenarios: a record for each, in the order of the input."""
    import csv
    from concurrent.futures import ProcessPoolExecutor
    from contextlib import nullcontext
    from multiprocessing import get_context

    from .. import batch

    if form not in ("table", "jsonl", "csv"):
        known = ["table", "jsonl", "csv"]
        raise UnknownEntry(f"no format is called `{form[:80]}`", hint=nearest(form, known) or ", ".join(known))
    book = rulebooks.load(rules)
    errors = 0
    table = Table("id", "recommendation", "sure", "rule", "next question", box=None, pad_edge=False)
    out = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv" and not as_json:
        out.writerow(batch.CSV_HEADER)
    collected = []
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else nullcontext()
    with pool as executor:
        for result in batch.classify(batch.rows(paths), book, executor):
            errors += result.error is not None
            if as_json:
                collected.append(result.as_dict())
            elif form == "jsonl":
                print(batch.to_jsonl(result))
            elif form == "csv":
                out.writerow(batch.to_csv_row(result))
            else:
                shown = batch.to_csv_row(result)
                cells = [shown[0], shown[1] or "error", shown[4][:4], shown[5], shown[6] or shown[7]]
                table.add_row(*(escape(printable_cell(c)) for c in cells))
    if as_json:
        print_json(collected)
    elif form == "table":
        open_console().print(table)
    if errors:
        print(f"{errors} record(s) hold an error", file=sys.stderr)
        raise typer.Exit(3)


def printable_cell(text: str) -> str:
    """A cell of the table: one line, control characters made visible."""
    from ..explain import printable

    return printable(" ".join(text.split()))
