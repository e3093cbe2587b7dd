"""`advisor new`: a starter project."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from .. import rulebook as rulebooks
from .. import scenario as scenarios
from ..engine import Recommendation
from ..errors import AdvisorError
from ..rulebook import Rulebook
from ..scenario import Scenario
from .common import AsJson, ReaderName, RulesFolder, check_family, open_console, print_json, understand

if TYPE_CHECKING:
    from ..starter import Project


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    scenario: Annotated[str | None, typer.Option("--from", metavar="SCENARIO", help="File, `-` or text.")] = None,
    family: Annotated[str | None, typer.Option(help="multi_task, maml, rl2 or pearl: insist on it.")] = None,
    env: Annotated[
        str | None, typer.Option(help="metaworld:ML1 or mujoco:half-cheetah-vel: wire the project to it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the files.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also into a folder in use; what is not advisor's stays as it is.")
    ] = False,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Renew the project in DIR; what you changed stays as it is.")
    ] = False,
    reader: ReaderName = "careful",
    as_json: AsJson = False,
    rules: RulesFolder = None,
) -> None:
    """Writes a starter project around the recommended reference implementation."""
    console = open_console(stderr=as_json)
    if upgrade:
        if scenario is not None or family is not None or env is not None or force:
            raise AdvisorError("--upgrade goes alone", hint="the project's advisor.json says what it was made from")
        _upgrade(folder, rulebooks.load(rules), dry_run, console, as_json)
        return
    if scenario is None and family is None:
        raise AdvisorError("what shall the project be for?", hint="give --from SCENARIO or --family")
    book = rulebooks.load(rules)
    check_family(family, book)
    told = scenarios.load(scenario) if scenario is not None else Scenario(folder.name or "project")
    recommendation = understand(told, book, reader=reader)
    write_project(folder, told, recommendation, book, family, dry_run, console, as_json, env, force)


def write_project(
    folder: Path,
    told: Scenario,
    recommendation: Recommendation,
    book: Rulebook,
    family: str | None,
    dry_run: bool,
    console: Console,
    as_json: bool = False,
    env: str | None = None,
    force: bool = False,
) -> None:
    """Writes the project and says so."""
    from .. import starter
    from ..explain import printable

    project = starter.write(folder, told, recommendation, book, family=family, env=env, dry_run=dry_run, force=force)
    if as_json:
        print_json(_document(project))
        return
    verb, place = "would write" if dry_run else "wrote", printable(str(project.folder))
    if project.placement is not None:
        console.print(Text(f"{verb} a project around {project.family} to {place}:"))
        _list(project, console)
    else:
        console.print(Text(f"{verb} {len(project.files)} files around {project.family} to {place}:"))
        for name in project.files:
            console.print(Text(f"  {name}"))
    if not dry_run:
        console.print(Text(f"next: cd {shlex.quote(place)}, then the commands in its README.md"))


def _upgrade(folder: Path, book: Rulebook, dry_run: bool, console: Console, as_json: bool) -> None:
    from .. import starter
    from ..explain import printable

    project, verdict = starter.upgrade(folder, book, dry_run=dry_run)
    if as_json:
        print_json({**_document(project), "verdict": verdict or None})
        return
    console.print(
        Text(f"{'would renew' if dry_run else 'renewed'} {printable(str(project.folder))}, around {project.family}:")
    )
    _list(project, console)
    if verdict:
        label = book.entries["verdicts"][verdict]["label"]
        console.print(Text(f"note: by today's rules the verdict is {label}; the project keeps {project.family}"))


def _list(project: "Project", console: Console) -> None:
    """One line a file that something happens to, the user's own first."""
    from ..explain import printable

    placed = project.placement
    assert placed is not None
    lines = [f"  yours, kept: {name}; the new version is {new}" for name, new in placed.beside.items()]
    lines += [f"  deleted by you, not brought back: {name}" for name in placed.deleted]
    lines += [f"  no longer needed, kept: {name}" for name in placed.left]
    lines += [f"  new: {name}" for name in placed.added]
    lines += [f"  renewed: {name}" for name in placed.replaced if name != "advisor.json"]
    for line in lines or ["  nothing to do: all files are of today, or yours"]:
        console.print(Text(printable(line)))


def _document(project: "Project") -> dict[str, Any]:
    document: dict[str, Any] = {"folder": str(project.folder), "family": project.family, "files": list(project.files)}
    if project.placement is not None:
        placed = project.placement
        document["placement"] = {
            "added": list(placed.added),
            "replaced": list(placed.replaced),
            "unchanged": list(placed.unchanged),
            "beside": dict(placed.beside),
            "deleted": list(placed.deleted),
            "left": list(placed.left),
        }
    return document
