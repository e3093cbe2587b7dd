"""The commands: read options, call the stages in order, print, exit code. Decides nothing."""

import io
import sys
from typing import Annotated, NoReturn

import typer

from .. import __version__
from .. import rulebook as rulebooks
from ..errors import AdvisorError, NoProject
from .ask import ask
from .classify import classify
from .common import print_json
from .explain import explain
from .fit import fit
from .new import new
from .rules import app as rules_app

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which family of algorithm fits training on many tasks: multi-task RL, MAML, RL², PEARL or none; with proof.",
)
for command in (ask, explain, classify, new, fit):
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="replace")  # LANG=C: an unprintable letter is no reason to stop
    try:
        app()
        code = 0
    except NoProject as answer:  # undecided and out of scope are answers, not errors
        if "--json" in sys.argv:
            print_json({"folder": None, "verdict": None, "message": answer.message, "next": answer.hint})
        else:
            print(f"{answer.message}\n{answer.hint}")
        code = 0
    except AdvisorError as error:
        from ..explain import printable

        print(printable(str(error)), file=sys.stderr)
        code = error.exit_code
    sys.exit(code)
