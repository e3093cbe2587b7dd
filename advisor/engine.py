"""Stage 3: Facts + Rulebook -> Recommendation. Pure: no files, no clock, no network, no randomness.

With facts unknown, every verdict that some completion of the facts reaches stays possible; only when one is left is it recommended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from .facts import Facts
from .rulebook import Entry, Rulebook, alternatives, holds


@dataclass(frozen=True)
class Alternative:
    """A single change of one fact that leads to another verdict."""

    recommendation: str
    fact: str
    value: str


@dataclass(frozen=True)
class Recommendation:
    """The answer. `verdict` is `undecided` while `possible` holds more than one; `confidence` is the probability, from those of the facts,
    that the verdict is right (when undecided: that the right one is among `possible`)."""

    verdict: str
    possible: tuple[str, ...]
    framing: str
    confidence: float
    facts: Facts
    missing: tuple[str, ...]
    rule: str | None
    pitfalls: tuple[str, ...]
    concerns: tuple[str, ...]
    parallel: str | None
    alternatives: tuple[Alternative, ...]
    rules_version: str

    @property
    def values(self) -> dict[str, str]:
        """The known facts as plain values."""
        return {name: known.value for name, known in self.facts.items()}


@lru_cache(maxsize=8)
def _verdicts(book: Rulebook) -> list[tuple[dict[str, str], str, str]]:
    """Each full point with the setting that fires there and its verdict."""
    table = []
    for point in book.points():
        setting = next(row for row in book.settings if holds(row.when, point))  # the rulebook has no gap
        table.append((point, setting.id, setting.recommend))
    return table


def possible_verdicts(values: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """Every verdict that some completion of the known decisive facts reaches, sorted."""
    return tuple(sorted({verdict for _, _, verdict in _completions(values, book)}))


def _completions(values: Mapping[str, str], book: Rulebook) -> list[tuple[dict[str, str], str, str]]:
    return [row for row in _verdicts(book) if all(values.get(name, value) == value for name, value in row[0].items())]


def recommend(facts: Facts, book: Rulebook) -> Recommendation:
    """The recommendation for the known facts (values must be of the vocabulary: see facts.establish)."""
    values = {name: known.value for name, known in facts.items()}
    completions = _completions(values, book)
    possible = tuple(sorted({verdict for _, _, verdict in completions}))
    verdict = possible[0] if len(possible) == 1 else "undecided"
    rules = {rule for _, rule, _ in completions}
    framings = {str(book.entries["verdicts"][v]["framing"]) for v in possible}
    known = {**values, "verdict": verdict}
    return Recommendation(
        verdict=verdict,
        possible=possible,
        framing=framings.pop() if len(framings) == 1 else "undecided",
        confidence=_confidence(facts, possible, book),
        facts=facts,
        missing=open_facts(values, book),
        rule=rules.pop() if len(rules) == 1 else None,
        pitfalls=applying("pitfalls", known, book),
        concerns=applying("mitigations", known, book),
        parallel=next(iter(applying("parallels", known, book)), None),
        alternatives=_alternatives(values, verdict, book),
        rules_version=book.version,
    )


def open_facts(values: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """The unknown decisive facts that can still change the verdict: two completions differ in this fact alone and in the verdict."""
    completions = _completions(values, book)
    still_open = []
    for fact in book.decisive:
        if fact.id in values:
            continue
        reached: dict[tuple[tuple[str, str], ...], set[str]] = {}
        for point, _, verdict in completions:
            rest = tuple((name, value) for name, value in point.items() if name != fact.id)
            reached.setdefault(rest, set()).add(verdict)
        if any(len(verdicts) > 1 for verdicts in reached.values()):
            still_open.append(fact.id)
    return tuple(still_open)


def applying(kind: str, known: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """The ids of the entries of a kind whose condition the verdict and the known facts meet."""
    return tuple(
        i for i, entry in book.entries[kind].items() if any(_meets(when, known) for when in alternatives(entry))
    )


def _meets(when: Mapping[str, list[str]], known: Mapping[str, str]) -> bool:
    return all(known.get(name) in allowed for name, allowed in when.items())


def exclusions(values: Mapping[str, str], book: Rulebook) -> dict[str, tuple[str, ...]]:
    """For every verdict that is no longer possible, the smallest set of known facts that excludes it."""
    known = [fact.id for fact in book.decisive if fact.id in values]
    ruled_out = {s.recommend for s in book.settings} - set(possible_verdicts(values, book))
    found: dict[str, tuple[str, ...]] = {}
    for verdict in sorted(ruled_out):
        for names in (c for size in range(1, len(known) + 1) for c in combinations(known, size)):
            if verdict not in possible_verdicts({n: values[n] for n in names}, book):
                found[verdict] = names
                break
    return found


def forcing_sets(values: Mapping[str, str], book: Rulebook) -> tuple[tuple[str, ...], ...]:
    """The smallest sets of known facts that force the verdict by themselves; empty while it is undecided."""
    if len(possible_verdicts(values, book)) > 1:
        return ()
    known = [fact.id for fact in book.decisive if fact.id in values]
    for size in range(1, len(known) + 1):
        sets = [c for c in combinations(known, size) if len(possible_verdicts({n: values[n] for n in c}, book)) == 1]
        if sets:
            return tuple(sets)
    return ()


def evidence_for(recommendation: Recommendation, book: Rulebook) -> list[Entry]:
    """The findings of the literature that bear on this scenario, for and against."""
    known = {**recommendation.values, "verdict": recommendation.verdict}
    return [book.entries["evidence"][i] for i in applying("evidence", known, book)]


def _alternatives(values: Mapping[str, str], verdict: str, book: Rulebook) -> tuple[Alternative, ...]:
    found = []
    for fact in book.decisive:
        if fact.id not in values:
            continue
        for value in fact.values:
            reached = possible_verdicts({**values, fact.id: value}, book)
            other = reached[0] if len(reached) == 1 else "undecided"
            if value != values[fact.id] and other != verdict:
                found.append(Alternative(other, fact.id, value))
    return tuple(found)


def _confidence(facts: Facts, possible: tuple[str, ...], book: Rulebook) -> float:
    """The probability mass of the points whose verdict is possible: a fact's remaining doubt is spread over its other values, and an
    unknown fact takes its priors."""
    decisive = book.decisive
    if all(facts[f.id].confidence == 1.0 for f in decisive if f.id in facts):
        return 1.0
    weights: dict[str, dict[str, float]] = {}
    for fact in decisive:
        if fact.id in facts:
            known = facts[fact.id]
            rest = (1.0 - known.confidence) / (len(fact.values) - 1)
            weights[fact.id] = {v: known.confidence if v == known.value else rest for v in fact.values}
        else:
            total = sum(fact.priors.values())
            weights[fact.id] = {v: p / total for v, p in fact.priors.items()}
    mass = 0.0
    for point, _, verdict in _verdicts(book):
        if verdict in possible:
            p = 1.0
            for name, value in point.items():
                p *= weights[name][value]
            mass += p
    return round(min(mass, 1.0), 6)
