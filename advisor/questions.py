"""Stage 3b: Facts + Rulebook -> the next question worth asking, or none.

The question is that of the exact optimum: dynamic programming over what is known, not known and already asked, with the priors, the costs
and the share of "I don't know" that the rules state. What can't change the verdict is never asked.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from .engine import open_facts
from .rulebook import Fact, Rulebook

State = tuple[
    tuple[str, str], ...
]  # (fact, value), sorted; the value `?` stands for "asked, and the user doesn't know"
DONT_KNOW = "?"


def next_question(values: Mapping[str, str], asked: Iterable[str], book: Rulebook) -> Fact | None:
    """The fact to ask for next, given the known values and the facts that were asked without an answer; None when no question helps."""
    known = {fact.id: values[fact.id] for fact in book.decisive if fact.id in values}
    known.update({name: DONT_KNOW for name in asked if name not in known})
    name = _best(tuple(sorted(known.items())), book)[1]
    return None if name is None else book.facts[name]


def expected_cost(values: Mapping[str, str], book: Rulebook) -> float:
    """The expected cost of the questions that are still to be asked, in the units of the rules' `cost`."""
    known = {fact.id: values[fact.id] for fact in book.decisive if fact.id in values}
    return _best(tuple(sorted(known.items())), book)[0]


@lru_cache(maxsize=8)
def _answered(book: Rulebook) -> dict[State, tuple[float, str | None]]:
    """What was worked out for a rulebook so far; bounded by the space that a rulebook may have."""
    return {}


def _best(state: State, book: Rulebook) -> tuple[float, str | None]:
    """The expected cost from a state on, and the fact to ask for first. Of two that cost the same, the first by id."""
    found = _answered(book)
    if state not in found:
        values = {name: value for name, value in state if value != DONT_KNOW}
        asked = {name for name, _ in state}
        options = [
            (_cost(book.facts[name], state, book), name) for name in open_facts(values, book) if name not in asked
        ]
        best: tuple[float, str | None] = (0.0, None)
        for cost, name in options:
            if best[1] is None or cost < best[0] - 1e-12:
                best = (cost, name)
        found[state] = best
    return found[state]


def _cost(fact: Fact, state: State, book: Rulebook) -> float:
    """The expected cost of asking for a fact in a state and going on as well as can be."""
    unknown = fact.dont_know / 100
    total = sum(fact.priors.values())
    answers = [(DONT_KNOW, unknown)] + [(v, (1 - unknown) * p / total) for v, p in fact.priors.items()]
    return fact.cost + sum(p * _best(tuple(sorted((*state, (fact.id, a)))), book)[0] for a, p in answers)
