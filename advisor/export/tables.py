"""The rules as Markdown: the tables of the README, and the page of reference in docs/rules.md."""

from collections.abc import Iterable

from ..rulebook import Rulebook
from .drawing import mermaid


def markdown(book: Rulebook) -> str:
    """The decision table, the families, concerns and pitfalls as Markdown."""
    e = book.entries
    parts = [
        _decisions(book),
        _table(
            ("family", "adapts at test by", "best for"),
            ((f["label"], f["adapts_by"], f["best_for"]) for f in e["families"].values()),
        ),
        _table(
            ("concern", "mitigations"),
            ((f"`{i}`", "; ".join(o["label"] for o in c["options"])) for i, c in e["mitigations"].items()),
        ),
        _table(
            ("pitfall", "the mistake", "the fact against it"),
            ((f"`{i}`", p["mistake"], p["truth"]) for i, p in e["pitfalls"].items()),
        ),
    ]
    return "\n\n".join(parts)


def page(book: Rulebook) -> str:
    """All that a verdict rests on, as a page: the facts with their questions, the decision table, the map, verdicts, framings, families."""
    e = book.entries
    facts = [
        (
            f"`{fact.id}`",
            "decides" if fact.decisive else "refines",
            fact.question,
            "; ".join(f"`{v}`: {fact.labels[v]}" for v in fact.values)
            or f"a number from {fact.minimum} to {fact.maximum}",
        )
        for fact in book.facts.values()
    ]
    verdicts = ((f"`{i}`", v["framing"], v["headline"], v["next"]) for i, v in e["verdicts"].items())
    names = ("training_tasks", "test_tasks", "goal", "adaptation", "failure_mode")
    framings = ((name.replace("_", " "), *(f[name] for f in e["framings"].values())) for name in names)
    families = (
        (f["label"], f["kind"], f["mechanism"], f["best_for"], "; ".join(f["source"])) for f in e["families"].values()
    )
    reasons = ((f"`{s.id}`", s.because, e["settings"][s.id]["limits"]) for s in book.settings)
    parts = [
        "# The rules",
        "Made by `advisor rules export --format page`; a test compares the two.",
        "## Facts",
        _table(("fact", "it", "question", "values"), facts),
        "## Decision table",
        _decisions(book),
        _table(("setting", "because", "limits"), reasons),
        "## Map",
        f"```mermaid\n{mermaid(book)}\n```",
        "## Verdicts",
        _table(("verdict", "framing", "in a sentence", "next"), verdicts),
        "## Framings",
        _table(("property", *(f["label"] for f in e["framings"].values())), framings),
        "## Families",
        _table(("family", "kind", "mechanism", "best for", "source"), families),
    ]
    return "\n\n".join(parts)


def _decisions(book: Rulebook) -> str:
    e = book.entries
    facts = [fact.id for fact in book.decisive]
    rows = []
    for setting in book.settings:
        cells = [", ".join(f"`{v}`" for v in setting.when[f]) if f in setting.when else "any" for f in facts]
        label = e["verdicts"][setting.recommend]["label"]
        rows.append((f"`{setting.id}`: {e['settings'][setting.id]['label']}", *cells, label))
    return _table(("setting", *(f"`{f}`" for f in facts), "recommended"), rows)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [_row(header)]
    lines += ["|---" * len(tuple(header)) + "|", *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"
