"""Stage 3: Facts + Rulebook -> Recommendation. Pure: no files, no clock, no network, no randomness.

With facts unknown, every verdict that some completion of the facts reaches stays possible; only when one is left is it recommended.
"""

from collections.abc import Callable, Mapping
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
class Exclusion:
    """A verdict that is no longer possible; each of `by` is a set of known facts that excludes it, without a fact to spare."""

    verdict: str
    by: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Change:
    """One known fact with another value, and every verdict and rule that is possible then."""

    fact: str
    value: str
    possible: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True)
class OpenFact:
    """An unknown fact that can still change the verdict, and the verdicts that are possible after each answer."""

    fact: str
    leads: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Decision:
    """The decision record: why this verdict and no other. It depends on the facts that decide alone.

    `rules` holds the setting that fired (while undecided, those that still can); `forced_by` every set of known facts that forces the
    verdict without a fact to spare; `changes` every change of a single known fact, those that change nothing included.
    """

    verdict: str
    possible: tuple[str, ...]
    rules: tuple[str, ...]
    excluded: tuple[Exclusion, ...]
    forced_by: tuple[tuple[str, ...], ...]
    changes: tuple[Change, ...]
    open: tuple[OpenFact, ...]


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


class _Table:
    """The decision table walked once: what every partial fact set can still reach. A key holds a value or None for each deciding fact."""

    def __init__(self, book: Rulebook) -> None:
        self.facts = book.decisive
        self.rows = [(setting.id, setting.when, setting.recommend) for setting in book.settings]
        self._reach: dict[tuple[str | None, ...], frozenset[tuple[str, str]]] = {}
        self._open: dict[tuple[str | None, ...], frozenset[str]] = {}

    def key(self, values: Mapping[str, str]) -> tuple[str | None, ...]:
        """The key of the known facts; those that do not decide are left out."""
        return tuple(values.get(fact.id) for fact in self.facts)

    def reach(self, key: tuple[str | None, ...]) -> frozenset[tuple[str, str]]:
        """Every (rule, verdict) of some completion."""
        if key not in self._reach:
            unknown = next((i for i, value in enumerate(key) if value is None), None)
            if unknown is None:
                point = {fact.id: str(value) for fact, value in zip(self.facts, key, strict=True)}
                self._reach[key] = frozenset((rule, verdict) for rule, when, verdict in self.rows if holds(when, point))
            else:
                self._reach[key] = frozenset().union(*(self.reach(k) for k in self._filled(key, unknown)))
        return self._reach[key]

    def open(self, key: tuple[str | None, ...]) -> frozenset[str]:
        """The unknown facts for which two completions differ in that fact alone and in the verdict."""
        if key not in self._open:
            unknown = [i for i, value in enumerate(key) if value is None]
            if len(unknown) == 1:
                verdicts = {verdict for _, verdict in self.reach(key)}
                self._open[key] = frozenset({self.facts[unknown[0]].id} if len(verdicts) > 1 else ())
            else:
                self._open[key] = frozenset().union(*(self.open(k) for i in unknown for k in self._filled(key, i)))
        return self._open[key]

    def _filled(self, key: tuple[str | None, ...], place: int) -> list[tuple[str | None, ...]]:
        return [(*key[:place], value, *key[place + 1 :]) for value in self.facts[place].values]


@lru_cache(maxsize=64)
def _table(book: Rulebook) -> _Table:
    return _Table(book)


def possible_verdicts(values: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """Every verdict that some completion of the known decisive facts reaches, sorted."""
    table = _table(book)
    return tuple(sorted({verdict for _, verdict in table.reach(table.key(values))}))


def possible_rules(values: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """Every setting that fires at some completion of the known decisive facts, in the order of priority."""
    table = _table(book)
    reached = {rule for rule, _ in table.reach(table.key(values))}
    return tuple(rule for rule, _, _ in table.rows if rule in reached)


def recommend(facts: Facts, book: Rulebook) -> Recommendation:
    """The recommendation for the known facts (values must be of the vocabulary: see facts.establish)."""
    values = {name: known.value for name, known in facts.items()}
    possible = possible_verdicts(values, book)
    verdict = possible[0] if len(possible) == 1 else "undecided"
    rules = possible_rules(values, book)
    framings = {str(book.entries["verdicts"][v]["framing"]) for v in possible}
    known = {**values, "verdict": verdict}
    return Recommendation(
        verdict=verdict,
        possible=possible,
        framing=framings.pop() if len(framings) == 1 else "undecided",
        confidence=confidence(facts, possible, book),
        facts=facts,
        missing=open_facts(values, book),
        rule=rules[0] if len(rules) == 1 else None,
        pitfalls=_pitfalls(facts, known, book),
        concerns=applying("mitigations", known, book),
        parallel=next(iter(applying("parallels", known, book)), None),
        alternatives=_alternatives(values, verdict, book),
        rules_version=book.version,
    )


def open_facts(values: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """The unknown decisive facts that can still change the verdict: two completions differ in this fact alone and in the verdict."""
    table = _table(book)
    still_open = table.open(table.key(values))
    return tuple(fact.id for fact in book.decisive if fact.id in still_open)


def applying(kind: str, known: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """The ids of the entries of a kind whose condition the verdict and the known facts meet."""
    return tuple(
        i for i, entry in book.entries[kind].items() if any(_meets(when, known) for when in alternatives(entry))
    )


def invited(known: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """The ids of the pitfalls that the setting invites, whatever its writer believes."""
    return tuple(
        i for i, entry in book.entries["pitfalls"].items() if any(_meets(w, known) for w in entry.get("invites", []))
    )


def _pitfalls(facts: Facts, known: Mapping[str, str], book: Rulebook) -> tuple[str, ...]:
    """The pitfalls that the facts and the writer's beliefs show; where no text tells what is believed, those that the setting invites too."""
    shown = applying("pitfalls", known, book)
    if any(fact.source in ("text", "assumed") for fact in facts.values()):
        return shown
    return tuple(sorted({*shown, *invited(known, book)}))


def _meets(when: Mapping[str, list[str]], known: Mapping[str, str]) -> bool:
    return all(known.get(name) in allowed for name, allowed in when.items())


def exclusions(values: Mapping[str, str], book: Rulebook) -> dict[str, tuple[str, ...]]:
    """For every verdict that is no longer possible, a smallest set of known facts that excludes it."""
    return {e.verdict: e.by[0] for e in _exclusions(values, book)}


def forcing_sets(values: Mapping[str, str], book: Rulebook) -> tuple[tuple[str, ...], ...]:
    """The sets of known facts that force the verdict by themselves, none with a fact to spare; empty while it is undecided."""
    if len(possible_verdicts(values, book)) > 1:
        return ()
    return _smallest(values, book, lambda reached: len(reached) == 1)


def _exclusions(values: Mapping[str, str], book: Rulebook) -> tuple["Exclusion", ...]:
    possible = possible_verdicts(values, book)
    ruled_out = sorted({s.recommend for s in book.settings} - set(possible))
    return tuple(Exclusion(v, _smallest(values, book, lambda reached, v=v: v not in reached)) for v in ruled_out)  # type: ignore[misc]


def _smallest(
    values: Mapping[str, str], book: Rulebook, enough: Callable[[tuple[str, ...]], bool]
) -> tuple[tuple[str, ...], ...]:
    """Every set of known deciding facts whose possible verdicts are `enough` and of which no part is, the shortest first."""
    known = [fact.id for fact in book.decisive if fact.id in values]
    found: list[tuple[str, ...]] = []
    for size in range(len(known) + 1):
        for names in combinations(known, size):
            if any(set(smaller) <= set(names) for smaller in found):
                continue
            if enough(possible_verdicts({n: values[n] for n in names}, book)):
                found.append(names)
    return tuple(found)


def decide(values: Mapping[str, str], book: Rulebook) -> Decision:
    """The decision record of the known facts. Facts that do not decide are left out of it."""
    possible, rules = possible_verdicts(values, book), possible_rules(values, book)
    changes = []
    for fact in book.decisive:
        for value in (v for v in fact.values if fact.id in values and v != values[fact.id]):
            changed = {**values, fact.id: value}
            changes.append(Change(fact.id, value, possible_verdicts(changed, book), possible_rules(changed, book)))
    still_open = tuple(
        OpenFact(name, {v: possible_verdicts({**values, name: v}, book) for v in book.facts[name].values})
        for name in open_facts(values, book)
    )
    return Decision(
        verdict=possible[0] if len(possible) == 1 else "undecided",
        possible=possible,
        rules=rules,
        excluded=_exclusions(values, book),
        forced_by=forcing_sets(values, book),
        changes=tuple(changes),
        open=still_open,
    )


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


@lru_cache(maxsize=4096)
def _points(possible: tuple[str, ...], book: Rulebook) -> tuple[dict[str, str], ...]:
    return tuple(point for point in book.points() if possible_verdicts(point, book)[0] in possible)


def confidence(facts: Facts, possible: tuple[str, ...], book: Rulebook) -> float:
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
    for point in _points(possible, book):
        p = 1.0
        for name, value in point.items():
            p *= weights[name][value]
        mass += p
    return round(min(mass, 1.0), 6)
