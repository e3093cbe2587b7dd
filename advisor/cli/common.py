"""What every command shares: options, consoles, progress, and the way from a scenario to its recommendation (`understand`)."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console

from ..errors import EndOfInput, Stopped, UnknownEntry, nearest
from ..library import understand as understand
from ..rulebook import Rulebook

AsJson = Annotated[bool, typer.Option("--json", help="One machine-readable document on stdout.")]
RulesFolder = Annotated[Path | None, typer.Option("--rules", help="Another folder of rules.", metavar="DIR")]
ReaderName = Annotated[
    str,
    typer.Option(
        "--reader", help="careful, quick, or llm: the language model named by ADVISOR_LLM_URL.", metavar="NAME"
    ),
]
ScenarioArgument = Annotated[str, typer.Argument(metavar="SCENARIO", help="A file, `-` for stdin, or the text itself.")]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves it to `main`, as it is for print; rich itself would exit 1."""
        raise


def open_console(stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 100
    return _Console(file=stream, highlight=False, width=width)


def is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def print_json(document: Any) -> None:
    """One document on stdout, whole in any encoding."""
    print(json.dumps(document, ensure_ascii=not is_utf8(sys.stdout), indent=2))


@contextmanager
def one_line_end() -> Iterator[None]:
    """Ctrl-C and the end of input become one clear line."""
    try:
        yield
    except EOFError as end:
        raise EndOfInput("the input ended before the questions did") from end
    except KeyboardInterrupt as stop:
        raise Stopped("stopped by Ctrl-C") from stop


def check_family(family: str | None, book: Rulebook) -> None:
    known = [str(e["family"]) for e in book.entries["verdicts"].values() if e["family"]]
    if family is not None and family not in known:
        raise UnknownEntry(f"no family is called `{family[:80]}`", hint=nearest(family, known) or ", ".join(known))
