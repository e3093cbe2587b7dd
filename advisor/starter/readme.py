"""The parts of the project's README, with all that is the user's made harmless."""

from ..engine import Recommendation
from ..explain import percent
from ..rulebook import Rulebook
from ..scenario import Scenario
from .plan import Plan

_SOURCES = {
    "text": "read from your description",
    "assumed": "assumed, for the description says nothing about it",
    "file": "stated in the scenario's file",
    "answer": "your answer",
}


def sections(scenario: Scenario, recommendation: Recommendation, book: Rulebook, plan: Plan) -> dict[str, object]:
    """The values of README.md.jinja. Lines of text are our own or the rules'; the user's words come as code."""
    verdicts = book.entries["verdicts"]
    r = recommendation
    rule = book.entries["settings"][r.rule] if r.rule is not None else None
    return {
        "scenario": code_block(scenario.text),
        "verdict": verdicts[r.verdict],
        "possible": [str(verdicts[v]["label"]) for v in r.possible],
        "confidence": percent(r.confidence) if r.confidence < 1 else "certain",
        "insisted": plan.family != r.verdict and not plan.widen,
        "headline": verdicts[plan.family]["headline"],
        "because": str(rule["because"]) if rule else "",
        "limits": str(rule["limits"]) if rule else "",
        "facts": [_fact(name, r, book) for name in r.facts],
        "missing": [(name, book.facts[name].question) for name in r.missing],
        "changes": [
            (a.fact, a.value, _value(a.fact, a.value, book), _label(a.recommendation, book)) for a in r.alternatives
        ],
        "pitfalls": [book.entries["pitfalls"][i] for i in r.pitfalls],
        "concerns": [book.entries["mitigations"][i] for i in r.concerns],
        "parallel": book.entries["parallels"][r.parallel] if r.parallel else None,
        "rules_version": r.rules_version,
    }


def code_block(text: str) -> str:
    """Text as an indented block of Markdown, in which nothing is markup and which nothing can close."""
    lines = _clean(text).split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    return "\n".join(f"    {line}".rstrip() for line in lines).rstrip()


def code_span(text: str) -> str:
    """Text as inline code of Markdown on one line, with a fence longer than any in it, safe in a table too."""
    line = " ".join(_clean(text).split()).replace("|", "¦")
    fence = "`"
    while fence in line:
        fence += "`"
    return f"{fence} {line} {fence}" if line else ""


def _clean(text: str) -> str:
    """Line ends as `\\n`, tabs as spaces, and no control, bidirectional or other invisible character."""
    lines = text.expandtabs(4).splitlines()
    return "\n".join("".join(c if c.isprintable() else "�" for c in line) for line in lines)


def _fact(name: str, recommendation: Recommendation, book: Rulebook) -> dict[str, str]:
    known = recommendation.facts[name]
    sure = f" ({percent(known.confidence)} sure)" if known.confidence < 1 else ""
    return {
        "name": name,
        "value": known.value,
        "label": _value(name, known.value, book),
        "source": _SOURCES.get(known.source, known.source) + sure,
        "words": ", ".join(code_span(span.text) for span in known.evidence),
    }


def _value(fact: str, value: str, book: Rulebook) -> str:
    return str(book.facts[fact].labels.get(value, value))


def _label(verdict: str, book: Rulebook) -> str:
    return str(book.entries["verdicts"][verdict]["label"])
