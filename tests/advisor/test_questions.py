"""The questions: the exact optimum, and nothing that can't matter."""

from advisor import rulebook
from advisor.engine import open_facts, possible_verdicts
from advisor.proof import partial_sets
from advisor.questions import expected_cost, next_question

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
