"""Stage 4: Recommendation -> what a person reads. Terminal and Markdown are made from the same sections."""

from dataclasses import dataclass
from itertools import pairwise

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from .engine import Recommendation, evidence_for, exclusions
from .questions import next_question
from .rulebook import Rulebook

_FINDINGS = 3  # shown of each direction; a reader wants the strongest, not fifty
_SOURCES = {"text": "read", "assumed": "assumed", "file": "stated in the file", "answer": "answered"}


@dataclass(frozen=True)
class Section:
    """A heading and its lines, plain text throughout."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """Everything about one scenario: the verdict's label and headline, the user's text, and the sections in reading order."""

    title: str
    headline: str
    text: str
    marks: tuple[
        tuple[int, int, str], ...
    ]  # (start, end, fact) of the words that facts were read from, in order, not overlapping
    sections: tuple[Section, ...]


def printable(text: str) -> str:
    """Untrusted text with its control characters made visible; line ends and tabs stay."""
    return "".join(c if c in "\n\t" or c.isprintable() else "�" for c in text)


def explain(text: str, recommendation: Recommendation, book: Rulebook) -> Explanation:
    """The explanation of a recommendation for a description (which may be empty)."""
    r = recommendation
    verdicts = book.entries["verdicts"]
    verdict = verdicts[r.verdict]
    sections = [Section("What it rests on", tuple(_fact_lines(r, book)) or ("No fact is known yet.",))]
    if r.rule is not None:
        because = str(book.entries["settings"][r.rule]["because"])
        limits = str(book.entries["settings"][r.rule]["limits"])
        sections.append(Section(f"Why (rule {r.rule})", (because, f"Limits: {limits}")))
    if r.verdict == "undecided":
        lines = [f"Still possible: {', '.join(str(verdicts[v]['label']) for v in r.possible)}."]
        if r.framing != "undecided":
            lines.append(f"Whichever it is, the framing is decided: {r.framing.replace('_', '-')}.")
        question = next_question(r.values, (), book)
        if question is not None:
            choices = " / ".join(question.labels[v] for v in question.values)
            lines += [f"The question that helps most: {question.question}", f"({choices})"]
        sections.append(Section("What is missing", tuple(lines)))
    else:
        ruled_out = exclusions(r.values, book)
        sections.append(
            Section(
                "Why not the others",
                tuple(
                    f"{verdicts[v]['label']}: excluded by {', '.join(f'{n} = {r.values[n]}' for n in names)}"
                    for v, names in ruled_out.items()
                ),
            )
        )
    if r.alternatives:
        lines = [f"{a.fact} = {a.value} -> {verdicts[a.recommendation]['label']}" for a in r.alternatives]
        sections.append(Section("What would change it", tuple(lines)))
    if r.pitfalls:
        entries = book.entries["pitfalls"]
        sections.append(
            Section("Pitfalls", tuple(f"{i}: {entries[i]['mistake']}. {entries[i]['truth']}" for i in r.pitfalls))
        )
    if r.concerns:
        entries = book.entries["mitigations"]
        lines = [
            f"{entries[c]['label']}: {'; '.join(o['label'] for o in entries[c]['options'])}. {entries[c]['because']}"
            for c in r.concerns
        ]
        sections.append(Section("Mitigations", tuple(lines)))
    if r.parallel is not None:
        parallel = book.entries["parallels"][r.parallel]
        line = f"{parallel['meta_rl']} corresponds to {parallel['foundation_models']}."
        sections.append(Section("In foundation models", (line,)))
    if r.verdict != "undecided" and (lines := _evidence_lines(r, book)):
        sections.append(Section("Evidence from the literature, for (+) and against (-)", tuple(lines)))
    sections.append(Section("Next", (str(verdict["next"]),)))
    sure = f" ({percent(r.confidence)} sure)" if r.verdict != "undecided" and r.confidence < 1 else ""
    return Explanation(f"{verdict['label']}{sure}", str(verdict["headline"]), text, _marks(r), tuple(sections))


def _evidence_lines(r: Recommendation, book: Rulebook) -> list[str]:
    """The strongest findings, as many on either side; where a finding is about a concern, it speaks of the mitigation."""
    findings = sorted(evidence_for(r, book), key=lambda e: ("strong", "mixed", "opinion").index(str(e["strength"])))
    lines = []
    for direction, sign in (("for", "+"), ("against", "-")):
        for e in [e for e in findings if e["direction"] == direction][:_FINDINGS]:
            concern = next((c for c in e["when"] if c in book.entries["mitigations"]), None)
            about = f"[mitigating {concern}] " if concern else ""
            lines.append(f"{sign} {about}{e['claim']} ({', '.join(e['source'])}; {e['strength']})")
    if len(findings) > len(lines):
        lines.append(f"{len(findings) - len(lines)} more bear on it: advisor rules list evidence")
    return lines


def _fact_lines(r: Recommendation, book: Rulebook) -> list[str]:
    lines = []
    for name, known in r.facts.items():
        fact = book.facts[name]
        label = fact.labels.get(known.value, known.value)
        sure = f", {percent(known.confidence)} sure" if known.confidence < 1 else ""
        words = ", ".join(f"“{' '.join(printable(s.text).split())}”" for s in known.evidence)
        lines.append(f"{name} = {known.value} ({_SOURCES[known.source]}{sure}): {words or label}")
    lines += [f"{name}: not known" for name in r.missing]
    return lines


def percent(probability: float) -> str:
    """Never "100%" for what is not certain."""
    return f"{min(probability, 0.99):.0%}"


def _marks(r: Recommendation) -> tuple[tuple[int, int, str], ...]:
    spans = sorted((s.start, s.end, name) for name, known in r.facts.items() for s in known.evidence)
    kept: list[tuple[int, int, str]] = []
    for start, end, name in spans:
        if kept and start < kept[-1][1]:  # overlapping evidence is marked once, for all the facts it supports
            first, last, names = kept.pop()
            names = names if name in names.split("+") else f"{names}+{name}"
            kept.append((first, max(last, end), names))
        else:
            kept.append((start, end, name))
    return tuple(kept)


def _pieces(explanation: Explanation) -> list[tuple[str, str]]:
    """The description cut into (words, fact or empty)."""
    edges = [(0, 0, ""), *explanation.marks, (len(explanation.text), len(explanation.text), "")]
    pieces = []
    for before, this in pairwise(edges):
        pieces += [(explanation.text[before[1] : this[0]], ""), (explanation.text[this[0] : this[1]], this[2])]
    return [(words, name) for words, name in pieces if words]


def to_terminal(explanation: Explanation, console: Console) -> None:
    """Prints an explanation; markup and control characters of the user's text are neutralised."""
    console.print(Panel(Text(explanation.headline), title=escape(f" {explanation.title} "), title_align="left"))
    if explanation.text.strip():
        told = Text()
        for words, name in _pieces(explanation):
            told.append(printable(words), style="bold underline" if name else "")
            if name:
                told.append(f" [{name}]", style="dim")
        console.print(Text("\nYour words", style="bold"))
        console.print(told)
    for section in explanation.sections:
        console.print(Text(f"\n{section.title}", style="bold"))
        for line in section.lines:
            console.print(Text(printable(line)), soft_wrap=False)


def to_markdown(explanation: Explanation) -> str:
    """An explanation as Markdown; the user's text stands in a quote with its special characters escaped."""
    lines = [f"# {explanation.title}", "", explanation.headline, ""]
    if explanation.text.strip():
        told = "".join(f"**{_plain(w)}** [{n}]" if n else _plain(w) for w, n in _pieces(explanation))
        lines += ["## Your words", "", *(f"> {line}" for line in told.splitlines()), ""]
    for section in explanation.sections:
        lines += [f"## {section.title}", "", *(f"- {_plain(line)}" for line in section.lines), ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|!" else c for c in printable(text))
