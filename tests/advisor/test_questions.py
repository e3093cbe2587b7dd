"""The questions: the exact optimum, and nothing that can't matter."""

import random
from dataclasses import replace

import pytest

from advisor import rulebook
from advisor.engine import open_facts, possible_verdicts
from advisor.proof import partial_sets
from advisor.proof.questionnaires import questionnaires
from advisor.questions import expected_cost, next_question
from advisor.rulebook import Rulebook

BOOK = rulebook.load()


def cost_of(order: list[str], values: dict[str, str], asked: tuple[str, ...] = ()) -> float:
    """Expected cost of asking in a fixed order, leaving out what can't matter, by plain recursion."""
    left = [n for n in order if n in open_facts(values, BOOK) and n not in asked]
    if not left:
        return 0.0
    fact = BOOK.facts[left[0]]
    total = sum(fact.priors.values())
    cost = fact.cost + fact.dont_know / 100 * cost_of(order, values, (*asked, fact.id))
    for value, prior in fact.priors.items():
        share = (1 - fact.dont_know / 100) * prior / total
        cost += share * cost_of(order, {**values, fact.id: value}, (*asked, fact.id))
    return cost


def test_no_fixed_order_is_cheaper_than_ours() -> None:
    """The questionnaire costs at most what the best of all fixed orders costs."""
    from itertools import permutations

    names = [f.id for f in BOOK.decisive]
    best = min(cost_of(list(order), {}) for order in permutations(names))
    assert expected_cost({}, BOOK) <= best + 1e-9


def test_never_asks_what_cannot_change_the_answer() -> None:
    """A question is asked exactly while more than one verdict is possible and some fact can still tell them apart."""
    for values in partial_sets(BOOK):
        fact = next_question(values, (), BOOK)
        if len(possible_verdicts(values, BOOK)) == 1:
            assert fact is None
        else:
            assert fact is not None and fact.id in open_facts(values, BOOK)


def test_dont_know_is_not_asked_again() -> None:
    """After all facts were asked without an answer, the questions end."""
    asked: list[str] = []
    while (fact := next_question({}, asked, BOOK)) is not None:
        assert fact.id not in asked
        asked.append(fact.id)
    assert set(asked) == {f.id for f in BOOK.decisive}


def test_one_question_where_only_the_gradient_is_open() -> None:
    """New tasks, no belief: the deciding question is whether weights may change."""
    values = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "task_belief": "not_required"}
    fact = next_question(values, (), BOOK)
    assert fact is not None and fact.id == "adaptation_gradients"


def settled(values: dict[str, str], unasked: list[str], book: Rulebook) -> bool:
    """No answer to an unasked question can tell two completions apart: by trying every completion, without the engine's own shortcut."""
    points = [p for p in book.points() if values.items() <= p.items()]
    verdict = {tuple(p.values()): row.recommend for p in points for row in book.settings if rulebook.holds(row.when, p)}
    return not any(
        verdict[tuple(p.values())] != verdict[tuple({**p, name: v}.values())]
        for p in points
        for name in unasked
        for v in book.facts[name].values
    )


def best_questionnaire(values: dict[str, str], unasked: list[str], book: Rulebook) -> float:
    """The least expected cost over every questionnaire, by plain recursion: any question may come next, no state is remembered."""
    if not unasked or settled(values, unasked, book):
        return 0.0
    costs = []
    for name in unasked:
        fact, rest = book.facts[name], [n for n in unasked if n != name]
        unknown, total = fact.dont_know / 100, sum(fact.priors.values())
        cost = fact.cost + (unknown * best_questionnaire(values, rest, book) if unknown else 0.0)
        for value, prior in fact.priors.items():
            cost += (1 - unknown) * prior / total * best_questionnaire({**values, name: value}, rest, book)
        costs.append(cost)
    return min(costs)


def cost_of_ours(values: dict[str, str], asked: list[str], book: Rulebook) -> float:
    """The expected cost of following next_question to its end."""
    fact = next_question(values, asked, book)
    if fact is None:
        return 0.0
    unknown, total = fact.dont_know / 100, sum(fact.priors.values())
    cost = fact.cost + (unknown * cost_of_ours(values, [*asked, fact.id], book) if unknown else 0.0)
    for value, prior in fact.priors.items():
        cost += (1 - unknown) * prior / total * cost_of_ours({**values, fact.id: value}, asked, book)
    return cost


def with_random_priors(seed: int) -> Rulebook:
    """The shipped table with priors, costs and shares of "don't know" drawn at random."""
    draw = random.Random(seed)
    facts = {
        name: replace(
            fact,
            priors={v: draw.uniform(0.02, 1.0) for v in fact.values},
            cost=draw.uniform(0.3, 3.0),
            dont_know=draw.choice([0.0, draw.uniform(0, 40)]),
        )
        for name, fact in BOOK.facts.items()
    }
    return replace(BOOK, facts=facts)


@pytest.mark.parametrize("book", [BOOK, *map(with_random_priors, range(20))], ids=["shipped", *map(str, range(20))])
def test_ours_is_the_optimum(book: Rulebook) -> None:
    """For the shipped priors and 20 random ones, following our questions costs exactly what the best of all questionnaires costs; the
    table printed by `rules check` says the same."""
    names = [f.id for f in book.decisive]
    best = best_questionnaire({}, names, book)
    assert cost_of_ours({}, [], book) == pytest.approx(best, abs=1e-9)
    printed = questionnaires(book)
    assert printed["optimum"].effort == pytest.approx(best, abs=1e-9)
    assert printed["ours"].effort == pytest.approx(best, abs=1e-9)
    assert all(cost.effort >= best - 1e-9 for cost in printed.values())
    assert printed["ask_all"].effort == pytest.approx(sum(f.cost for f in book.decisive))


def test_ours_is_the_optimum_from_every_partial_set() -> None:
    """Whatever is known already, from a text for instance, the rest of the questionnaire is the best one."""
    for values in partial_sets(BOOK):
        unasked = [f.id for f in BOOK.decisive if f.id not in values]
        best = best_questionnaire(values, unasked, BOOK)
        assert cost_of_ours(values, [], BOOK) == pytest.approx(best, abs=1e-9) == expected_cost(values, BOOK)


def test_greedy_and_fixed_order_cost_more() -> None:
    """The comparison that `rules check` prints is one: greedy, fixed order and asking everything cost more on the shipped priors."""
    costs = {name: cost.effort for name, cost in questionnaires(BOOK).items()}
    assert costs["ours"] < costs["greedy_information_gain"] < costs["fixed_order"] < costs["ask_all"]
