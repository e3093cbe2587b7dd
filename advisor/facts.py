"""Stage 2b: Scenario -> Facts: every known fact with its value and where it came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import ContradictingFacts, UnknownFact, UnknownValue, nearest, quoted
from .reader import Proposal, Span
from .rulebook import Rulebook, holds
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

    An answer `unknown` takes a proposal back. Raises UnknownFact, UnknownValue and ContradictingFacts for what the user stated; a proposal
    that the vocabulary does not know, or that contradicts another fact, is refused silently, for the reader only proposes.
    """
    known = {
        p.fact: Known(p.value, p.confidence, p.source, p.evidence)
        for p in proposals
        if p.fact in book.facts and book.facts[p.fact].accepts(p.value)
    }
    for source, stated in (("file", scenario.facts), ("answer", answers or {})):
        for name, value in stated.items():
            if name in book.facts and value == "unknown":
                known.pop(name, None)
                continue
            if name not in book.facts or not book.facts[name].accepts(value):
                check(name, value, book, scenario.place(name) if source == "file" else "answers")
            known[name] = Known(value, 1.0, source)
    _without_contradictions(known, scenario, book)
    return dict(sorted(known.items()))


def _without_contradictions(known: dict[str, Known], scenario: Scenario, book: Rulebook) -> None:
    """Takes out a proposal that the bounds of the vocabulary rule out. Raises ContradictingFacts where the user stated both sides."""
    values = {name: fact.value for name, fact in known.items()}
    for fact in book.facts.values():
        for bound in fact.bounds:
            if fact.id not in known or not holds(bound.when, {name: values[name] for name in known}):
                continue
            if bound.minimum <= int(values[fact.id]) <= bound.maximum:
                continue
            stated = {name for name in (fact.id, *bound.when) if known[name].source in ("file", "answer")}
            if len(stated) == 1 + len(bound.when):
                others = " and ".join(f"{name} = {values[name]}" for name in bound.when)
                raise ContradictingFacts(
                    f"{fact.id} = {values[fact.id]} contradicts {others}",
                    scenario.place(fact.id),
                    "correct one of them",
                )
            refused = fact.id if fact.id not in stated else next(name for name in bound.when if name not in stated)
            del known[refused]


def check(name: str, value: str, book: Rulebook, where: str = "") -> None:
    """Raises UnknownFact or UnknownValue, with the nearest known name, unless the vocabulary holds both."""
    if name not in book.facts:
        hint = nearest(name, book.facts)
        raise UnknownFact(
            f"no fact is called `{quoted(name)}`", where, f"{hint} all facts: advisor rules list facts".strip()
        )
    fact = book.facts[name]
    if not fact.accepts(value):
        allowed = ", ".join(fact.values) if fact.values else f"a number from {fact.minimum} to {fact.maximum}"
        hint = f"{nearest(value, fact.values)} allowed: {allowed}".strip()
        raise UnknownValue(f"`{quoted(value)}` is no value of `{name}`", where, hint)
