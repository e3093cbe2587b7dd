"""`advisor new`: a starter project."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .. import rulebook as rulebooks
from .. import scenario as scenarios
from ..engine import Recommendation
from ..errors import AdvisorError
from ..rulebook import Rulebook
from ..scenario import Scenario
from .common import AsJson, RulesFolder, check_family, open_console, print_json, understand


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    scenario: Annotated[str | None, typer.Option("--from", metavar="SCENARIO", help="File, `-` or text.")] = None,
    family: Annotated[str | None, typer.Option(help="multi_task, maml, rl2 or pearl: insist on it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the files.")] = False,
    as_json: AsJson = False,
    rules: RulesFolder = None,
) -> None:
    """Writes a starter project around the recommended reference implementation."""
    if scenario is None and family is None:
        raise AdvisorError("what shall the project be for?", hint="give --from SCENARIO or --family")
    book = rulebooks.load(rules)
    check_family(family, book)
    told = scenarios.load(scenario) if scenario is not None else Scenario(folder.name or "project")
    recommendation = understand(told, book)
    write_project(folder, told, recommendation, book, family, dry_run, open_console(stderr=as_json), as_json)


def write_project(
    folder: Path,
    told: Scenario,
    recommendation: Recommendation,
    book: Rulebook,
    family: str | None,
    dry_run: bool,
    console: Console,
    as_json: bool = False,
) -> None:
    from .. import starter

    project = starter.write(folder, told, recommendation, book, family=family, dry_run=dry_run)
    if as_json:
        print_json({"folder": str(project.folder), "family": project.family, "files": list(project.files)})
        return
    verb = "would write" if dry_run else "wrote"
    console.print(Text(f"{verb} {len(project.files)} files around {project.family} to {project.folder}:"))
    for name in project.files:
        console.print(Text(f"  {name}"))
    if not dry_run:
        console.print(Text(f"next: cd {project.folder}, then the commands in its README.md"))
