"""The commands: read options, call the stages in order, print, exit code. Decides nothing."""

import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from . import __version__
from . import rulebook as rulebooks
from . import scenario as scenarios
from .engine import Recommendation, recommend
from .errors import (
    AdvisorError,
    BadScenario,
    CannotWrite,
    EndOfInput,
    MissingAnswer,
    NoProject,
    Stopped,
    UnknownEntry,
    nearest,
)
from .facts import establish
from .rulebook import Rulebook
from .scenario import Scenario

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which family of algorithm fits training on many tasks: multi-task RL, MAML, RL², PEARL or none; with proof.",
)
rules_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The tables, and their verification.")
app.add_typer(rules_app, name="rules")

AsJson = Annotated[bool, typer.Option("--json", help="One machine-readable document on stdout.")]
RulesFolder = Annotated[Path | None, typer.Option("--rules", help="Another folder of rules.", metavar="DIR")]
ScenarioArgument = Annotated[str, typer.Argument(metavar="SCENARIO", help="A file, `-` for stdin, or the text itself.")]


def _console(stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 100
    return Console(file=stream, highlight=False, width=width)


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))


@contextmanager
def _one_line_end() -> Iterator[None]:
    """Ctrl-C and the end of input become one clear line."""
    try:
        yield
    except EOFError as end:
        raise EndOfInput("the input ended before the questions did") from end
    except KeyboardInterrupt as stop:
        raise Stopped("stopped by Ctrl-C") from stop


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each training on stderr: `(name, done, total)` moves the bar of that name."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console(stderr=True), transient=True) as progress:

        def show(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(escape(name), total=total)
            progress.update(bars[name], completed=done, total=total)

        yield show


def _understand(scenario: Scenario, book: Rulebook) -> Recommendation:
    from .reader import read

    proposals = read(scenario.text) if scenario.text.strip() else ()
    return recommend(establish(scenario, book, proposals), book)


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


@app.command()
def explain(
    scenario: ScenarioArgument,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    rules: RulesFolder = None,
) -> None:
    """Everything about one scenario: facts, rule, what would change it, pitfalls, evidence."""
    from . import explain as stage
    from .record import record

    book = rulebooks.load(rules)
    told = scenarios.load(scenario)
    recommendation = _understand(told, book)
    if as_json:
        _print_json(record(told.id, recommendation, book).as_dict())
        return
    explanation = stage.explain(told.text, recommendation, book)
    if markdown:
        print(stage.to_markdown(explanation))
    else:
        stage.to_terminal(explanation, _console())


@app.command()
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
    with _one_line_end():
        _ask(scenario, answers, save, as_json, book)


def _ask(scenario: str | None, answers: Path | None, save: Path | None, as_json: bool, book: Rulebook) -> None:
    from . import ask as stage
    from . import explain as explaining
    from .record import record

    console = _console(stderr=as_json)
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
        _print_json(record(told.id, recommendation, book).as_dict())
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
        _write_project(Path(folder), told, recommendation, book, None, False, console)
    console.print(Text("Smoke-train it against its controls now? y/N"))
    if console.input("> ").strip().lower() in ("y", "yes"):
        from . import fit as stage

        with _progress() as on_progress:
            report = stage.run(told.id, recommendation, book, on_progress=on_progress)
        stage.render(report, console)


@app.command()
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

    from . import batch

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
        _print_json(collected)
    elif form == "table":
        _console().print(table)
    if errors:
        print(f"{errors} record(s) hold an error", file=sys.stderr)
        raise typer.Exit(3)


def printable_cell(text: str) -> str:
    """A cell of the table: one line, control characters made visible."""
    from .explain import printable

    return printable(" ".join(text.split()))


@app.command()
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
    _check_family(family, book)
    told = scenarios.load(scenario) if scenario is not None else Scenario(folder.name or "project")
    recommendation = _understand(told, book)
    _write_project(folder, told, recommendation, book, family, dry_run, _console(stderr=as_json), as_json)


def _check_family(family: str | None, book: Rulebook) -> None:
    known = [str(e["family"]) for e in book.entries["verdicts"].values() if e["family"]]
    if family is not None and family not in known:
        raise UnknownEntry(f"no family is called `{family[:80]}`", hint=nearest(family, known) or ", ".join(known))


def _write_project(
    folder: Path,
    told: Scenario,
    recommendation: Recommendation,
    book: Rulebook,
    family: str | None,
    dry_run: bool,
    console: Console,
    as_json: bool = False,
) -> None:
    from . import starter

    project = starter.write(folder, told, recommendation, book, family=family, dry_run=dry_run)
    if as_json:
        _print_json({"folder": str(project.folder), "family": project.family, "files": list(project.files)})
        return
    verb = "would write" if dry_run else "wrote"
    console.print(Text(f"{verb} {len(project.files)} files around {project.family} to {project.folder}:"))
    for name in project.files:
        console.print(Text(f"  {name}"))
    if not dry_run:
        console.print(Text(f"next: cd {project.folder}, then the commands in its README.md"))


@app.command()
def fit(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO_OR_PROJECT")],
    budget: Annotated[str, typer.Option(help="smoke or standard.")] = "smoke",
    seeds: Annotated[int | None, typer.Option(min=2, max=100, help="Seeds; the budget's own without it.")] = None,
    as_json: AsJson = False,
    rules: RulesFolder = None,
) -> None:
    """Smoke-trains the recommended implementation and its controls, and says whether the recommendation fits."""
    from . import fit as stage

    book = rulebooks.load(rules)
    path = Path(scenario) if len(scenario) < 1000 and "\n" not in scenario else None
    family = None
    if path is not None and path.is_dir():
        told, family = _project(path)
    else:
        told = scenarios.load(scenario)
    _check_family(family, book)
    recommendation = _understand(told, book)
    console = _console(stderr=as_json)
    with _progress() as on_progress:
        report = stage.run(
            told.id, recommendation, book, family=family, budget=budget, seeds=seeds, on_progress=on_progress
        )
    options = ["--budget", budget, *(["--seeds", str(seeds)] if seeds else [])]
    report = replace(report, command=shlex.join(["advisor", "fit", scenario, *options]))
    if as_json:
        _print_json(report.as_dict())
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


@rules_app.command("list")
def rules_list(
    kind: Annotated[str | None, typer.Argument(help="One kind only, such as facts or pitfalls.")] = None,
    as_json: AsJson = False,
    rules: RulesFolder = None,
) -> None:
    """The ids of all rules."""
    book = rulebooks.load(rules)
    if kind is not None and kind not in book.entries:
        raise UnknownEntry(
            f"no kind is called `{kind[:80]}`", hint=nearest(kind, book.entries) or ", ".join(book.entries)
        )
    chosen = {name: list(entries) for name, entries in book.entries.items() if kind in (None, name)}
    if as_json:
        _print_json(chosen)
        return
    for name, ids in chosen.items():
        print(name)
        for i in ids:
            entry = book.entries[name][i]
            line = next(
                str(entry[f]) for f in ("label", "question", "mistake", "meta_rl", "claim", "text") if f in entry
            )
            print(f"  {i}: {line}")


@rules_app.command("show")
def rules_show(
    entry_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False, rules: RulesFolder = None
) -> None:
    """One rule as it is written: what it says, why, example, near miss, source, limits."""
    kind, entry = rulebooks.load(rules).find(entry_id)
    if as_json:
        _print_json({"kind": kind, **entry})
        return
    print(f"{kind}: {entry_id}")
    for name, value in entry.items():
        if name != "id":
            print(f"  {name}: {_said(value)}")


def _said(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_said(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} = {_said(v)}" for k, v in value.items())
    return str(value)


@rules_app.command("export")
def rules_export(
    form: Annotated[
        str, typer.Option("--format", help="markdown, mermaid, json-schema or record-schema.")
    ] = "markdown",
    rules: RulesFolder = None,
) -> None:
    """The tables in another format."""
    from .export import FORMATS

    if form not in FORMATS:
        raise UnknownEntry(f"no format is called `{form[:80]}`", hint=nearest(form, FORMATS) or ", ".join(FORMATS))
    print(FORMATS[form](rulebooks.load(rules)))


@rules_app.command("check")
def rules_check(as_json: AsJson = False, rules: RulesFolder = None) -> None:
    """Proves the decision table by walking the whole fact space."""
    from .proof import prove

    book = rulebooks.load(rules)
    proof = prove(book)
    if as_json:
        _print_json(proof.as_dict())
    else:
        print(f"rules {book.version}: {', '.join(f'{n} {name}' for name, n in proof.entries.items())}")
        print(f"{proof.points} full points: each covered by one setting")
        print(f"{proof.partial_sets} partial fact sets: no verdict that a completion contradicts")
        print(f"{proof.mutants_caught} of {proof.mutants} structural mutants caught")
        print(f"{proof.expected_questions:.2f} expected cost of the questions from nothing known")
        for fault in proof.faults:
            print(f"fault: {fault}")
    if proof.faults:
        raise typer.Exit(1)


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
            _print_json({"folder": None, "verdict": None, "message": answer.message, "next": answer.hint})
        else:
            print(f"{answer.message}\n{answer.hint}")
        code = 0
    except AdvisorError as error:
        from .explain import printable

        print(printable(str(error)), file=sys.stderr)
        code = error.exit_code
    sys.exit(code)
