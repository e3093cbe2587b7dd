"""`advisor fit`: evidence that the recommendation holds."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from .. import rulebook as rulebooks
from .. import scenario as scenarios
from ..errors import AdvisorError, BadScenario, CannotWrite, Stopped, quoted
from ..scenario import Scenario
from .common import AsJson, ReaderName, RulesFolder, check_family, open_console, print_json, understand

MARK = '<meta name="generator" content="advisor fit">'  # in every page of `fit`


def fit(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO_OR_PROJECT")],
    budget: Annotated[str, typer.Option(help="smoke, standard or long.")] = "smoke",
    seeds: Annotated[int | None, typer.Option(min=2, max=100, help="Seeds; the budget's own without it.")] = None,
    env: Annotated[
        str | None, typer.Option(metavar="PACKAGE.MODULE:FACTORY", help="Your own gymnasium environment.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Time limit of its episodes in steps, where it names none.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the report as one HTML page.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=1000, help="Processes; two without it.")] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, or its scheduler file, to train on.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep each training's outcome in this folder.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder of --run.")] = False,
    reader: ReaderName = "careful",
    as_json: AsJson = False,
    rules: RulesFolder = None,
) -> None:
    """Smoke-trains the recommended implementation and its controls, and says whether the recommendation fits."""
    from .. import executors
    from .. import fit as stage

    if cluster is not None and workers is not None:
        raise AdvisorError("--workers and --cluster exclude each other", hint="the cluster has its own workers")
    if resume and run is None:
        raise AdvisorError("--resume needs the folder of the run", hint="--run DIR --resume")
    if horizon is not None and env is None:
        raise AdvisorError("--horizon is the time limit of your own environment", hint="--env PACKAGE.MODULE:FACTORY")
    _refuse_used(html)
    book = rulebooks.load(rules)
    path = Path(scenario) if len(scenario) < 1000 and "\n" not in scenario else None
    family = None
    if path is not None and path.is_dir():
        told, family = _project(path)
    else:
        told = scenarios.load(scenario)
    check_family(family, book)
    recommendation = understand(told, book, reader=reader)
    console = open_console(stderr=as_json)
    if env is not None:
        sys.path.insert(0, os.getcwd())  # a module that lies beside the user; an installed command doesn't look there
    with ExitStack() as stack:
        place = None if cluster is None else stack.enter_context(executors.open_place(cluster=cluster, rules=rules))
        on_progress = stack.enter_context(running())
        report = stage.run(
            told.id,
            recommendation,
            book,
            family=family,
            budget=budget,
            seeds=seeds,
            env=env,
            horizon=horizon,
            executor=None if place is None else place.executor,
            workers=workers,
            on_progress=on_progress,
            folder=run,
            resume=resume,
        )
    options = ["--budget", budget, *(["--seeds", str(seeds)] if seeds else [])]
    options += [*(["--env", env] if env else []), *(["--horizon", str(horizon)] if horizon else [])]
    options += ["--reader", reader] if reader != "careful" else []
    report = replace(report, command=shlex.join(["advisor", "fit", scenario, *options]))
    if html is not None:
        stage.write(html, stage.page(report).encode())
    if as_json:
        print_json(report.as_dict())
    else:
        if report.unfinished:
            console.print(Text("INCOMPLETE: stopped by Ctrl-C", style="bold"))
        stage.render(report, console)
    if report.unfinished:
        raise typer.Exit(Stopped.exit_code)
    if report.verdict != "fits":
        raise typer.Exit(1)


@contextmanager
def running() -> Iterator[Callable[[str, int, int], None]]:
    """One bar on stderr over all trainings, with what runs; a line each where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = open_console(stderr=True)
    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("")

        def show(runs: str, done: int, total: int) -> None:
            bars.update(bar, completed=done, total=total, description=escape(runs))
            if not console.is_terminal:
                console.print(Text(f"{done}/{total} trainings ended; {runs}"), soft_wrap=True)

        yield show


def _refuse_used(html: Path | None) -> None:
    """Before hours of training: the page has a place, and nothing of the user's is overwritten."""
    if html is None:
        return
    if os.path.lexists(html) and not _is_report(html):
        raise CannotWrite("exists, and is no report of advisor", quoted(str(html), 300), "give the name of a new file")
    if not html.absolute().parent.is_dir():
        raise CannotWrite("lies in a folder that does not exist", quoted(str(html), 300))


def _is_report(html: Path) -> bool:
    """Whether the file is a page that `fit` wrote: that may be renewed."""
    if not html.is_file() or html.is_symlink():
        return False
    with html.open("rb") as file:
        return MARK.encode() in file.read(2000)


def _project(folder: Path) -> tuple[Scenario, str | None]:
    """The scenario of a starter project, from its advisor.json, and its family where the user insisted on it."""
    path = folder / "advisor.json"
    if not path.is_file():
        raise BadScenario("is no starter project: it has no advisor.json", str(folder), "write one with: advisor new")
    held = scenarios.load_mapping(path)
    facts = held.get("facts")
    if not isinstance(facts, dict) or not isinstance(held.get("family"), str):
        raise BadScenario("holds no `facts` and `family`", str(path))
    values = {n: f.get("value") if isinstance(f, dict) else f for n, f in facts.items()}
    plain = scenarios.plain_facts(values, str(path))
    insisted = str(held["family"]) if held.get("insisted") else None
    return Scenario(str(held.get("scenario") or folder.name)[:200], "", plain, str(path)), insisted
