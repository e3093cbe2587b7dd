"""What a questionnaire costs: the expected questions from nothing known until no question can change the answer, under several policies.

The optimum is worked out here from the last question backwards, over every state of what is known, not known and not asked, without the
code that asks (questions.py); so that the two can be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import log2

from ..engine import open_facts, possible_verdicts
from ..questions import next_question
from ..rulebook import Fact, Rulebook

State = tuple[
    str | None, ...
]  # for each deciding fact: its value, None before it is asked, DONT_KNOW after that was the answer
DONT_KNOW = "?"
Policy = Callable[[State], int | None]  # the place of the fact to ask for, or None to stop


@dataclass(frozen=True)
class Cost:
    """Expected cost of a questionnaire: `effort` in the units of the rules' `cost` (1 is an ordinary question), and how many `questions`."""

    effort: float
    questions: float


def questionnaires(book: Rulebook) -> dict[str, Cost]:
    """The optimum, ours, greedy information gain per effort, the facts in fixed order until decided, and every question asked."""
    facts = book.decisive
    start: State = (None,) * len(facts)
    mass = _verdict_mass(book)

    def ours(state: State) -> int | None:
        asked = [fact.id for fact, value in zip(facts, state, strict=True) if value == DONT_KNOW]
        chosen = next_question(_values(state, facts), asked, book)
        return None if chosen is None else facts.index(chosen)

    def askable(state: State) -> list[int]:
        still_open = open_facts(_values(state, facts), book)
        return [i for i, value in enumerate(state) if value is None and facts[i].id in still_open]

    def greedy(state: State) -> int | None:
        choices = askable(state)
        before = _entropy(mass(state))

        def gain(i: int) -> float:
            after = sum(p * _entropy(mass(next_state)) for p, next_state in _answers(state, i, facts))
            return (before - after) / facts[i].cost if facts[i].cost else before - after

        return max(choices, key=gain) if choices else None

    def fixed(state: State) -> int | None:
        return next((i for i, value in enumerate(state) if value is None), None) if askable(state) else None

    def everything(state: State) -> int | None:
        return next((i for i, value in enumerate(state) if value is None), None)

    policies = {"ours": ours, "greedy_information_gain": greedy, "fixed_order": fixed, "ask_all": everything}
    return {"optimum": _optimum(book), **{name: follow(policy, start, facts) for name, policy in policies.items()}}


def follow(policy: Policy, start: State, facts: tuple[Fact, ...]) -> Cost:
    """The expected cost of a policy from a state on."""

    @cache
    def cost(state: State) -> Cost:
        i = policy(state)
        if i is None:
            return Cost(0.0, 0.0)
        after = [(p, cost(next_state)) for p, next_state in _answers(state, i, facts)]
        effort = facts[i].cost + sum(p * c.effort for p, c in after)
        return Cost(effort, 1 + sum(p * c.questions for p, c in after))

    return cost(start)


def _optimum(book: Rulebook) -> Cost:
    """Backwards from the states in which everything was asked; any question may be asked, a useless one too."""
    facts = book.decisive
    best: dict[State, Cost] = {}
    states = product(*((None, DONT_KNOW, *fact.values) for fact in facts))
    for state in sorted(states, key=lambda s: s.count(None)):
        unasked = [i for i, value in enumerate(state) if value is None]
        if len(possible_verdicts(_values(state, facts), book)) == 1 or not _can_change(state, unasked, book):
            best[state] = Cost(0.0, 0.0)
            continue
        options = []
        for i in unasked:
            after = [(p, best[next_state]) for p, next_state in _answers(state, i, facts)]
            effort = facts[i].cost + sum(p * c.effort for p, c in after)
            options.append(Cost(effort, 1 + sum(p * c.questions for p, c in after)))
        best[state] = min(options, key=lambda c: c.effort)
    return best[(None,) * len(facts)]


def _can_change(state: State, unasked: list[int], book: Rulebook) -> bool:
    """Whether an answer to a question that was not asked yet can leave fewer verdicts possible or tell two completions apart."""
    still_open = open_facts(_values(state, book.decisive), book)
    return any(book.decisive[i].id in still_open for i in unasked)


def _values(state: State, facts: tuple[Fact, ...]) -> dict[str, str]:
    return {fact.id: value for fact, value in zip(facts, state, strict=True) if value not in (None, DONT_KNOW)}


def _answers(state: State, i: int, facts: tuple[Fact, ...]) -> list[tuple[float, State]]:
    """The probability of each answer to a question, and the state after it."""
    fact, total = facts[i], sum(facts[i].priors.values())
    known = 1 - fact.dont_know / 100
    answers = [(fact.dont_know / 100, DONT_KNOW), *((known * p / total, v) for v, p in fact.priors.items())]
    return [(p, (*state[:i], answer, *state[i + 1 :])) for p, answer in answers if p > 0]


def _verdict_mass(book: Rulebook) -> Callable[[State], dict[str, float]]:
    """The probability of each verdict in a state, by the priors of the facts that are not known."""
    facts = book.decisive

    @cache
    def mass(state: State) -> dict[str, float]:
        i = next((i for i, value in enumerate(state) if value in (None, DONT_KNOW)), None)
        if i is None:
            return {possible_verdicts(_values(state, facts), book)[0]: 1.0}
        total, sums = sum(facts[i].priors.values()), dict[str, float]()
        for value, prior in facts[i].priors.items():
            for verdict, p in mass((*state[:i], value, *state[i + 1 :])).items():
                sums[verdict] = sums.get(verdict, 0.0) + p * prior / total
        return sums

    return mass


def _entropy(mass: dict[str, float]) -> float:
    return -sum(p * log2(p) for p in mass.values() if p > 0)
