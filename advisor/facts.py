"""Stage 2b: Scenario -> Facts: every known fact with its value and where it came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import UnknownFact, UnknownValue, nearest
from .reader import Proposal, Span
from .rulebook import Rulebook
from .scenario import Scenario


@dataclass(frozen=True)
class Known:
    """A known fact. `source` is text, assumed, file or answer; what the user states has confidence 1."""

    value: str
    confidence: float
    source: str
    evidence: tuple[Span, ...] = ()


Facts = Mapping[str, Known]


def establish(
    scenario: Scenario,
    book: Rulebook,
    proposals: Iterable[Proposal] = (),
    answers: Mapping[str, str] | None = None,
) -> dict[str, Known]:
    """The known facts: an answer beats the file, the file beats what was read from the text.

    An answer `unknown` takes a proposal back. Raises UnknownFact and UnknownValue for what the user stated; a proposal that the
    vocabulary does not know is refused silently, for the reader only proposes.
    """
    known = {
        p.fact: Known(p.value, p.confidence, p.source, p.evidence)
        for p in proposals
        if p.fact in book.facts and book.facts[p.fact].accepts(p.value)
    }
    for source, stated in (("file", scenario.facts), ("answer", answers or {})):
        for name, value in stated.items():
            if value == "unknown":
                known.pop(name, None)
                continue
            check(name, value, book, scenario.where)
            known[name] = Known(value, 1.0, source)
    return dict(sorted(known.items()))


def check(name: str, value: str, book: Rulebook, where: str = "") -> None:
    """Raises UnknownFact or UnknownValue, with the nearest known name, unless the vocabulary holds both."""
    if name not in book.facts:
        hint = nearest(name, book.facts)
        raise UnknownFact(
            f"no fact is called `{name[:80]}`", where, f"{hint} all facts: advisor rules list facts".strip()
        )
    fact = book.facts[name]
    if not fact.accepts(value):
        allowed = ", ".join(fact.values) if fact.values else f"a number from {fact.minimum} to {fact.maximum}"
        hint = f"{nearest(value, fact.values)} allowed: {allowed}".strip()
        raise UnknownValue(f"`{value[:80]}` is no value of `{name}`", where, hint)
