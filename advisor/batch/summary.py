"""Tally -> what a portfolio looks like: counts per verdict, the question that settles most of what is undecided, errors by kind."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ..engine import open_facts, possible_verdicts
from ..rulebook import Rulebook

Tally = Mapping[str, int]


@dataclass(frozen=True)
class Question:
    """A fact to ask for: of the undecided rows `open_in` leave it open, and an answer settles about `settles` of them."""

    fact: str
    open_in: int
    settles: float


def verdicts(tally: Tally) -> Counter[str]:
    """Rows per verdict, without those that hold an error."""
    counts: Counter[str] = Counter()
    for key, rows in tally.items():
        if not key.startswith("error:"):
            counts[key.partition(":")[0]] += rows
    return counts


def errors(tally: Tally) -> Counter[str]:
    """Rows per error code."""
    return Counter({key.partition(":")[2]: rows for key, rows in tally.items() if key.startswith("error:")})


def questions(tally: Tally, book: Rulebook) -> list[Question]:
    """The facts that undecided rows leave open, the one that settles most first.

    A row counts with the probability, by the rules' priors, that the answer leaves one verdict alone; "I don't know" settles nothing.
    """
    settled: dict[str, float] = {}
    rows_open: Counter[str] = Counter()
    for key, rows in sorted(tally.items()):
        if not key.startswith("undecided:"):
            continue
        values = dict(pair.split("=", 1) for pair in key.partition(":")[2].split(",") if pair)
        for name in open_facts(values, book):
            fact = book.facts[name]
            total = sum(fact.priors.values())
            decided = [v for v in fact.values if len(possible_verdicts({**values, name: v}, book)) == 1]
            share = (1 - fact.dont_know / 100) * sum(fact.priors[v] for v in decided) / total
            settled[name] = settled.get(name, 0.0) + rows * share
            rows_open[name] += rows
    found = [Question(name, rows_open[name], share) for name, share in settled.items()]
    return sorted(found, key=lambda q: (-q.settles, -q.open_in, q.fact))


def to_markdown(tally: Tally, book: Rulebook) -> str:
    """The summary as Markdown."""
    found, wrong = verdicts(tally), errors(tally)
    total = sum(tally.values())
    lines = [f"# {total} scenario{'s' if total != 1 else ''}", "", "| recommendation | rows | share |", "|---|--:|--:|"]
    for verdict, rows in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        label = book.entries["verdicts"][verdict]["label"]
        lines.append(f"| {label} (`{verdict}`) | {rows} | {rows / total:.1%} |")
    if wrong:
        lines.append(f"| no answer: an error | {sum(wrong.values())} | {sum(wrong.values()) / total:.1%} |")
    undecided = found["undecided"]
    if undecided:
        lines += ["", f"## Undecided: {undecided}", ""]
        for place, question in enumerate(questions(tally, book)):
            if place == 0:
                lines += [
                    f"The question that settles most of them: **{book.facts[question.fact].question}** (`{question.fact}`)",
                    "",
                    "| fact | rows that leave it open | rows that an answer settles, by the rules' priors |",
                    "|---|--:|--:|",
                ]
            lines.append(f"| `{question.fact}` | {question.open_in} | {question.settles:.1f} |")
    if wrong:
        lines += ["", f"## Errors: {sum(wrong.values())}", "", "| kind | rows |", "|---|--:|"]
        lines += [
            f"| `{code}` | {rows} |" for code, rows in sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
        ]
    return "\n".join([*lines, "", f"Rules {book.version}."]) + "\n"


def to_line(tally: Tally) -> str:
    """The counts in one line."""
    parts = [f"{rows} {verdict}" for verdict, rows in sorted(verdicts(tally).items(), key=lambda i: (-i[1], i[0]))]
    return ", ".join(parts) or "no answers"
