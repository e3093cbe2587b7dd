"""`advisor ask`: the questions in the terminal, and what follows from them."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .. import rulebook as rulebooks
from .. import scenario as scenarios
from ..engine import Recommendation
from ..errors import AdvisorError, CannotWrite, MissingAnswer
from ..rulebook import Rulebook
from ..scenario import Scenario
from .common import AsJson, ReaderName, RulesFolder, one_line_end, open_console, print_json
from .fit import running
from .new import write_project

_SAVED_AS = (".yaml", ".yml", ".json")  # any other suffix would be read back as prose


def ask(
    scenario: Annotated[str | None, typer.Argument(metavar="[SCENARIO]", help="What is known already.")] = None,
    answers: Annotated[
        Path | None, typer.Option(help="YAML or JSON: fact -> value; nothing is prompted.", metavar="FILE")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Save the scenario with the answers.", metavar="FILE")] = None,
    reader: ReaderName = "careful",
    as_json: AsJson = False,
    rules: RulesFolder = None,
) -> None:
    """Questions and answers in the terminal: as few as the verdict needs."""
    book = rulebooks.load(rules)
    if save is not None:
        _check_name(save)
    with one_line_end():
        _ask(scenario, answers, save, reader, as_json, book)


def _ask(
    scenario: str | None, answers: Path | None, save: Path | None, reader: str, as_json: bool, book: Rulebook
) -> None:
    from .. import ask as stage
    from .. import explain as explaining
    from ..library import check_reader, proposals_of
    from ..record import record

    check_reader(reader)
    reading = partial(proposals_of, reader=reader, asking=True)

    console = open_console(stderr=as_json)
    told = scenarios.load(scenario) if scenario else Scenario("asked")
    if answers is not None:
        stated = _answers(answers)
        try:
            told, recommendation = stage.converse(
                told, book, stage.from_file(stated, book), given=stated, follow_ups=False, reading=reading
            )
        except AdvisorError as error:
            raise error.at(str(answers)) from None
    elif not sys.stdin.isatty():
        raise MissingAnswer("there is no terminal to ask in", hint="give the answers with --answers FILE")
    else:
        console.print(Text("Some questions about your scenario: only those that can change the answer."))
        if scenario is None:
            console.print(
                Text("Describe it in a few sentences; an empty line ends the text, or goes to the questions.")
            )
            words = stage.description(console)
            told = scenarios.from_text(words, "asked") if words else told
        review = stage.review_in_terminal(console, book)
        asked = stage.from_terminal(console, book)
        told, recommendation = stage.converse(told, book, asked, review=review, reading=reading)
    if as_json:
        print_json(record(told.id, recommendation, book).as_dict())
    else:
        console.print()
        explanation = explaining.explain(told.text, recommendation, book)
        explaining.to_terminal(explanation, console)
        console.print(Text(f"\nRecommended: {explanation.title}", style="bold"))
    if save is not None:
        _save(told, save)
        console.print(Text(f"\nsaved: {save}"))
    if answers is None and not as_json:
        if save is None:
            _offer(
                console,
                "\nSave the scenario as (.yaml or .json; Enter for no):",
                lambda name: _saved(told, name, console),
            )
        if book.entries["verdicts"][recommendation.verdict]["family"]:
            _go_on(told, recommendation, book, console)


def _answers(path: Path) -> dict[str, str]:
    stated = scenarios.load_mapping(path)
    return {str(k): "unknown" if v is None else str(v) for k, v in stated.items()}


def _check_name(path: Path) -> None:
    if path.suffix.lower() not in _SAVED_AS:
        raise CannotWrite("is no name for a scenario file", str(path), f"let it end in {', '.join(_SAVED_AS)}")
    if path.exists():
        raise CannotWrite("exists already", str(path), "choose another name")


def _save(told: Scenario, path: Path) -> None:
    """Writes the scenario as JSON or YAML (JSON is YAML), whole or not at all, and never over a file that exists."""
    _check_name(path)
    document = {"id": told.id, "description": told.text, "facts": told.facts}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            os.link(part, path)  # fails where the name is taken, unlike a rename
        finally:
            part.unlink(missing_ok=True)
    except FileExistsError as fault:
        raise CannotWrite("exists already", str(path), "choose another name") from fault
    except (OSError, ValueError) as fault:
        raise CannotWrite(f"can't be written ({getattr(fault, 'strerror', None) or fault})", str(path)) from fault


def _saved(told: Scenario, name: str, console: Console) -> None:
    _save(told, Path(name))
    console.print(Text(f"saved: {name}"))


def _offer(console: Console, words: str, act: Callable[[str], None]) -> None:
    """Asks for a name until acting on it works or nothing is typed."""
    from ..ask import typed_line
    from ..explain import printable

    console.print(Text(words))
    while name := typed_line(console):
        try:
            return act(name)
        except AdvisorError as error:
            console.print(Text(printable(str(error)), style="yellow"))


def _go_on(told: Scenario, recommendation: Recommendation, book: Rulebook, console: Console) -> None:
    from ..ask import typed_line

    _offer(
        console,
        "\nFolder for a starter project (Enter for none):",
        lambda folder: write_project(Path(folder), told, recommendation, book, None, False, console),
    )
    console.print(Text("Smoke-train it against its controls now? y/N"))
    if typed_line(console).lower() in ("y", "yes"):
        from .. import fit as stage

        with running() as on_progress:
            report = stage.run(told.id, recommendation, book, on_progress=on_progress)
        stage.render(report, console)
