"""`advisor ask`: the questions in the terminal, and what follows from them."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .. import rulebook as rulebooks
from .. import scenario as scenarios
from ..engine import Recommendation
from ..errors import CannotWrite, MissingAnswer
from ..rulebook import Rulebook
from ..scenario import Scenario
from .common import AsJson, RulesFolder, one_line_end, open_console, print_json, progress_bars
from .new import write_project


def ask(
    scenario: Annotated[str | None, typer.Argument(metavar="[SCENARIO]", help="What is known already.")] = None,
    answers: Annotated[
        Path | None, typer.Option(help="YAML or JSON: fact -> value; nothing is prompted.", metavar="FILE")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Save the scenario with the answers.", metavar="FILE")] = None,
    as_json: AsJson = False,
    rules: RulesFolder = None,
) -> None:
    """Questions and answers in the terminal: as few as the verdict needs."""
    book = rulebooks.load(rules)
    with one_line_end():
        _ask(scenario, answers, save, as_json, book)


def _ask(scenario: str | None, answers: Path | None, save: Path | None, as_json: bool, book: Rulebook) -> None:
    from .. import ask as stage
    from .. import explain as explaining
    from ..record import record

    console = open_console(stderr=as_json)
    told = scenarios.load(scenario) if scenario else Scenario("asked")
    interactive = answers is None
    if answers is not None:
        stated = _answers(answers)
        answer = stage.from_file(stated, book)
    elif not sys.stdin.isatty():
        raise MissingAnswer("there is no terminal to ask in", hint="give the answers with --answers FILE")
    else:
        console.print(Text("Some questions about your scenario: only those that can change the answer."))
        if scenario is None:
            console.print(Text("Describe it in a few sentences, or press Enter to go straight to the questions."))
            words = console.input("> ")
            told = scenarios.from_text(words, "asked") if words.strip() else told
        answer = stage.from_terminal(console)
    review = stage.review_in_terminal(console, book) if interactive else None
    told, recommendation = stage.converse(told, book, answer, review=review)
    if as_json:
        print_json(record(told.id, recommendation, book).as_dict())
    else:
        console.print()
        explaining.to_terminal(explaining.explain(told.text, recommendation, book), console)
    if save is not None:
        _save(told, save)
        console.print(Text(f"\nsaved: {save}"))
    if interactive and not as_json and book.entries["verdicts"][recommendation.verdict]["family"]:
        _go_on(told, recommendation, book, console)


def _answers(path: Path) -> dict[str, str]:
    stated = scenarios.load_mapping(path)
    return {str(k): "unknown" if v is None else str(v) for k, v in stated.items()}


def _save(told: Scenario, path: Path) -> None:
    """Writes the scenario as JSON or YAML (JSON is YAML), whole or not at all, and never over a file that exists."""
    document = {"id": told.id, "description": told.text, "facts": told.facts}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        try:
            os.link(part, path)  # fails where the name is taken, unlike a rename
        finally:
            part.unlink()
    except FileExistsError as fault:
        raise CannotWrite("exists already", str(path), "choose another name") from fault
    except OSError as fault:
        raise CannotWrite(f"can't be written ({fault.strerror})", str(path)) from fault


def _go_on(told: Scenario, recommendation: Recommendation, book: Rulebook, console: Console) -> None:
    console.print(Text("\nFolder for a starter project (Enter for none):"))
    folder = console.input("> ").strip()
    if folder:
        write_project(Path(folder), told, recommendation, book, None, False, console)
    console.print(Text("Smoke-train it against its controls now? y/N"))
    if console.input("> ").strip().lower() in ("y", "yes"):
        from .. import fit as stage

        with progress_bars() as on_progress:
            report = stage.run(told.id, recommendation, book, on_progress=on_progress)
        stage.render(report, console)
