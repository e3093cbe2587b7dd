"""The commands: read options, call the stages in order, print, exit code. Decides nothing.

What a command is asked for goes to stdout; progress, messages and errors go to stderr.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from .. import __version__
from .. import rulebook as rulebooks
from ..errors import AdvisorError, CannotWrite, NoProject
from .ask import ask
from .classify import classify
from .common import is_utf8, one_line_end, print_json
from .explain import explain
from .fit import fit
from .mcp import mcp
from .new import new
from .rules import app as rules_app

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
_READER_GONE = 141  # 128 + SIGPIPE, as the shell has it for every program whose reader went away


class _ReaderGone(Exception):
    """Whoever read the output, such as `head`, has seen enough."""


@contextmanager
def _own_faults() -> Iterator[None]:
    """Takes Ctrl-C and the faults of pipes and disks before typer does, which would exit 1 or show a traceback."""
    try:
        with one_line_end():
            yield
    except BrokenPipeError as fault:
        raise _ReaderGone from fault
    except OSError as fault:
        if fault.errno not in _FULL or fault.filename is not None:
            raise
        raise _cannot_write(fault) from fault


class _Commands(TyperGroup):
    def make_context(self, *args: Any, **more: Any) -> Any:  # prints help and version
        with _own_faults():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        with _own_faults():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which family of algorithm fits training on many tasks: multi-task RL, MAML, RL², PEARL or none; with proof.",
)
for command in (ask, explain, classify, new, fit, mcp):
    app.command()(command)
app.add_typer(rules_app, name="rules")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"advisor {__version__} (rules {rulebooks.load().version})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version of advisor and its rules.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Runs the command line. A slip of the user's is one message and its exit code; a bug keeps its traceback."""
    _open_streams()
    if len(sys.argv) == 3 and sys.argv[1] in ("--show-completion", "--install-completion"):
        os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"  # so that typer takes the shell that is named
    try:
        code = _run()
    except (_ReaderGone, BrokenPipeError):
        code = _READER_GONE
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):  # what they still hold goes there, not into a message of Python's own
            os.dup2(nowhere, stream.fileno())
    sys.exit(code)


def _open_streams() -> None:
    """All three streams are there, and an unprintable letter is no reason to stop."""
    sys.stdin = sys.stdin or open(os.devnull)  # closed by the caller: `<&-`
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # UTF-8 lacks only halves of surrogate pairs, out of undecodable arguments; they are written as JSON writes them.
            stream.reconfigure(errors="backslashreplace" if is_utf8(stream) else "replace")


def _run() -> int:
    try:
        try:
            app(prog_name="advisor")
            return 0
        except SystemExit as end:
            _flush()
            return end.code if isinstance(end.code, int) else 0
        except NoProject as answer:  # undecided and out of scope are answers, not errors
            if "--json" in sys.argv:
                print_json({"folder": None, "verdict": None, "message": answer.message, "next": answer.hint})
            else:
                print(f"{answer.message}\n{answer.hint}")
            _flush()
            return 0
    except AdvisorError as error:
        from ..explain import printable

        print(printable(str(error)), file=sys.stderr)
        return error.exit_code


def _flush() -> None:
    """Raises CannotWrite where stdout can't take what was printed, BrokenPipeError where nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as fault:
        raise _cannot_write(fault) from fault


def _cannot_write(fault: OSError) -> CannotWrite:
    with open(os.devnull, "w") as nowhere:  # what stdout still holds goes there, not into a message of Python's own
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return CannotWrite(f"can't write ({fault.strerror})", "the output", "make room, or name another place")
