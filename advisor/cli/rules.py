"""`advisor rules`: the tables, and their verification."""

from typing import Annotated, Any

import typer

from .. import rulebook as rulebooks
from ..errors import UnknownEntry, nearest
from .common import AsJson, RulesFolder, print_json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The tables, and their verification.")


@app.command("list")
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
        print_json(chosen)
        return
    for name, ids in chosen.items():
        print(name)
        for i in ids:
            entry = book.entries[name][i]
            line = next(
                str(entry[f]) for f in ("label", "question", "mistake", "meta_rl", "claim", "text") if f in entry
            )
            print(f"  {i}: {line}")


@app.command("show")
def rules_show(
    entry_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False, rules: RulesFolder = None
) -> None:
    """One rule as it is written: what it says, why, example, near miss, source, limits."""
    kind, entry = rulebooks.load(rules).find(entry_id)
    if as_json:
        print_json({"kind": kind, **entry})
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


@app.command("export")
def rules_export(
    form: Annotated[
        str, typer.Option("--format", help="markdown, mermaid, json-schema or record-schema.")
    ] = "markdown",
    rules: RulesFolder = None,
) -> None:
    """The tables in another format."""
    from ..export import FORMATS

    if form not in FORMATS:
        raise UnknownEntry(f"no format is called `{form[:80]}`", hint=nearest(form, FORMATS) or ", ".join(FORMATS))
    print(FORMATS[form](rulebooks.load(rules)))


@app.command("check")
def rules_check(as_json: AsJson = False, rules: RulesFolder = None) -> None:
    """Proves the decision table by walking the whole fact space."""
    from ..proof import prove

    book = rulebooks.load(rules)
    proof = prove(book)
    if as_json:
        print_json(proof.as_dict())
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
