"""`advisor rules`: the tables, and their verification."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import rulebook as rulebooks
from ..errors import UnknownEntry, nearest, quoted
from .common import AsJson, RulesFolder, print_json

if TYPE_CHECKING:
    from ..proof import Proof
    from ..proof.difference import Difference

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
            f"no kind is called `{quoted(kind)}`", hint=nearest(kind, book.entries) or ", ".join(book.entries)
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
    """One rule as it is written: what it says, why, example, near miss, source, limits; every kind that has the id, or only `kind/id`."""
    found = rulebooks.load(rules).find(entry_id)
    if as_json:
        documents = [{"file": kind, **entry} for kind, entry in found]  # not `kind`, which families have themselves
        print_json(documents if len(documents) > 1 else documents[0])
        return
    for kind, entry in found:
        print(f"{kind}: {entry['id']}")
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
        str, typer.Option("--format", help="markdown, page, mermaid, svg, dmn, json-schema or record-schema.")
    ] = "markdown",
    rules: RulesFolder = None,
) -> None:
    """The tables in another format."""
    from ..export import FORMATS

    if form not in FORMATS:
        raise UnknownEntry(f"no format is called `{quoted(form)}`", hint=nearest(form, FORMATS) or ", ".join(FORMATS))
    print(FORMATS[form](rulebooks.load(rules)))


@app.command("check")
def rules_check(as_json: AsJson = False, rules: RulesFolder = None) -> None:
    """Proves the decision table by walking the whole fact space."""
    from ..explain import printable
    from ..proof import prove

    book = rulebooks.load() if rules is None else rulebooks.parse(rules)
    proof = prove(book)
    if as_json:
        print_json({"rules_version": book.version, **proof.as_dict()})
    else:
        for line in _proof_lines(book.version, proof):
            print(printable(line))
    if proof.faults:
        raise typer.Exit(1)


def _proof_lines(version: str, proof: "Proof") -> Iterator[str]:
    yield f"rules {version}: {', '.join(f'{n} {name}' for name, n in proof.entries.items())}"
    yield "every name is known, every rule has its source, example and near miss"
    if proof.expected_questions:
        yield f"{proof.points} full points: each covered by one setting"
        yield f"{proof.partial_sets} partial fact sets: no verdict that a completion contradicts"
        yield f"{proof.structural_mutants_caught} of {proof.structural_mutants} structural mutants caught by the walk"
        swaps = f"{proof.outcome_swaps_killed} of {proof.outcome_swaps} outcome swaps killed"
        own = f", {proof.golden['left_open']} left open by own facts" if proof.golden["left_open"] else ""
        yield f"{swaps} by {sum(proof.golden.values())} golden scenarios{own}"
        yield "expected questions from nothing known, weighted by effort:"
        shown = (f"{name.replace('_', ' ')} {cost.effort:.3f}" for name, cost in proof.expected_questions.items())
        yield f"  {', '.join(shown)}"
    for fault in proof.faults:
        name, _, entry = fault.where.partition(", ")
        yield f"fault in {name}.toml{', ' if entry else ''}{entry}: {fault.headline}"
        if fault.facts:
            covers = f" ({fault.points} of {proof.points} points)" if fault.points else ""
            yield f"  smallest counterexample: {rulebooks.words(fault.facts)}{covers}"
        if fault.rows:
            yield f"  {fault.advice or 'this row would close it'}:"
            yield from (f"    {rulebooks.as_row(row)}" for row in fault.rows)
        elif fault.advice:
            yield f"  {fault.advice}"
    if proof.faults and not proof.expected_questions:
        yield "what builds on the table is proven once the table holds"


@app.command("diff")
def rules_diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A folder of rules, or `shipped`.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    as_json: AsJson = False,
) -> None:
    """Every point of facts at which the advice of two rule sets differs."""
    from ..explain import printable
    from ..proof.difference import compare

    books = [rulebooks.load(None if name == "shipped" else Path(name)) for name in (a, b)]
    difference = compare(*books)
    if as_json:
        print_json({"a": a, "b": b, **difference.as_dict()})
        return
    for line in _difference_lines(a, b, difference):
        print(printable(line))


def _difference_lines(a: str, b: str, difference: "Difference") -> Iterator[str]:
    yield f"{a} ({difference.versions[0]}) -> {b} ({difference.versions[1]})"
    yield f"{len(difference.points)} of {difference.compared} full points get another verdict"
    for group in difference.groups:
        where = ", ".join(f"{name} = {' or '.join(cell)}" for name, cell in group.facts.items()) or "everywhere"
        was, now = (verdict or "not in its vocabulary" for verdict in (group.a, group.b))
        yield f"  {was} -> {now}  ({group.points} points): {where}"
    if not difference.entries:
        yield "every entry is the same"
    for name, changes in difference.entries.items():
        yield f"{name}: {'; '.join(_change(what, ids) for what, ids in changes.items() if ids)}"


def _change(what: str, ids: tuple[str, ...]) -> str:
    return f"{what} {', '.join(ids)}"
