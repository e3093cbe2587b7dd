"""`advisor fit`: evidence that the recommendation holds."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import rulebook as rulebooks
from .. import scenario as scenarios
from ..errors import BadScenario
from ..scenario import Scenario
from .common import AsJson, RulesFolder, check_family, open_console, print_json, progress_bars, understand


def fit(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO_OR_PROJECT")],
    budget: Annotated[str, typer.Option(help="smoke or standard.")] = "smoke",
    seeds: Annotated[int | None, typer.Option(min=2, max=100, help="Seeds; the budget's own without it.")] = None,
    as_json: AsJson = False,
    rules: RulesFolder = None,
) -> None:
    """Smoke-trains the recommended implementation and its controls, and says whether the recommendation fits."""
    from .. import fit as stage

    book = rulebooks.load(rules)
    path = Path(scenario) if len(scenario) < 1000 and "\n" not in scenario else None
    family = None
    if path is not None and path.is_dir():
        told, family = _project(path)
    else:
        told = scenarios.load(scenario)
    check_family(family, book)
    recommendation = understand(told, book)
    console = open_console(stderr=as_json)
    with progress_bars() as on_progress:
        report = stage.run(
            told.id, recommendation, book, family=family, budget=budget, seeds=seeds, on_progress=on_progress
        )
    options = ["--budget", budget, *(["--seeds", str(seeds)] if seeds else [])]
    report = replace(report, command=shlex.join(["advisor", "fit", scenario, *options]))
    if as_json:
        print_json(report.as_dict())
    else:
        stage.render(report, console)
    if report.verdict != "fits":
        raise typer.Exit(1)


def _project(folder: Path) -> tuple[Scenario, str]:
    """The scenario and the family of a starter project, from its advisor.json."""
    path = folder / "advisor.json"
    if not path.is_file():
        raise BadScenario("is no starter project: it has no advisor.json", str(folder), "write one with: advisor new")
    held = scenarios.load_mapping(path)
    facts = held.get("facts")
    if not isinstance(facts, dict) or not isinstance(held.get("family"), str):
        raise BadScenario("holds no `facts` and `family`", str(path))
    values = {n: f.get("value") if isinstance(f, dict) else f for n, f in facts.items()}
    plain = scenarios.plain_facts(values, str(path))
    return Scenario(str(held.get("scenario") or folder.name)[:200], "", plain, str(path)), str(held["family"])
