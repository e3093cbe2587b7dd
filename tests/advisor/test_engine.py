"""The engine against the verdict table, point by point."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product

import pytest

from advisor import rulebook
from advisor.engine import decide, exclusions, forcing_sets, open_facts, possible_verdicts, recommend
from advisor.facts import Known
from advisor.proof import partial_sets
from advisor.proof.questionnaires import questionnaires
from advisor.rulebook import Rulebook, Setting, holds, is_sound

BOOK = rulebook.load()
VALUES = {
    "training_tasks": ["known_set", "distribution", "single"],
    "test_tasks": ["same_as_training", "new_same_distribution", "shifted"],
    "adaptation_gradients": ["allowed", "not_allowed"],
    "task_belief": ["required", "not_required"],
}
POINTS = [dict(zip(VALUES, row, strict=True)) for row in product(*VALUES.values())]
PARTIAL = partial_sets(BOOK)


def promised(point: dict[str, str]) -> str:
    """The verdict table as the contract words it, in plain code."""
    if point["test_tasks"] == "shifted":
        return "none_reliable"
    if point["training_tasks"] == "single":
        return "out_of_scope" if point["test_tasks"] == "same_as_training" else "none_reliable"
    if point["task_belief"] == "required":
        return "pearl"
    if point["test_tasks"] == "same_as_training":
        return "multi_task"
    return "maml" if point["adaptation_gradients"] == "allowed" else "rl2"


def completions(known: dict[str, str]) -> set[str]:
    return {promised(p) for p in POINTS if all(p[n] == v for n, v in known.items())}


def known(values: dict[str, str], confidence: float = 1.0) -> dict[str, Known]:
    return {n: Known(v, confidence, "text") for n, v in values.items()}


def test_all_36_points() -> None:
    """At every full point the verdict is that of the table, decided and certain."""
    assert len(POINTS) == 36
    for point in POINTS:
        answer = recommend(known(point), BOOK)
        assert (answer.verdict, answer.possible, answer.confidence) == (promised(point), (promised(point),), 1.0)


def test_all_144_partial_sets() -> None:
    """With facts unknown, exactly the verdicts that some completion reaches stay possible; decided only when one is left."""
    assert len(PARTIAL) == 144
    for values in PARTIAL:
        answer = recommend(known(values), BOOK)
        reached = completions(values)
        assert set(answer.possible) == reached
        assert answer.verdict == (reached.pop() if len(reached) == 1 else "undecided")


def test_open_facts_are_those_that_can_change_the_verdict() -> None:
    """A fact is open exactly where two completions that differ in it alone have different verdicts."""
    for values in PARTIAL:
        expected = set()
        for name in set(VALUES) - set(values):
            for p in POINTS:
                if all(p[n] == v for n, v in values.items()):
                    if len({promised({**p, name: v}) for v in VALUES[name]}) > 1:
                        expected.add(name)
        assert set(open_facts(values, BOOK)) == expected


def test_alternatives_equal_brute_force() -> None:
    """Every single-fact change that leads elsewhere is named, and no other."""
    for values in PARTIAL:
        answer = recommend(known(values), BOOK)
        found = {(a.fact, a.value): a.recommendation for a in answer.alternatives}
        expected = {}
        for name, value in values.items():
            for other in VALUES[name]:
                reached = completions({**values, name: other})
                verdict = reached.pop() if len(reached) == 1 else "undecided"
                if other != value and verdict != answer.verdict:
                    expected[name, other] = verdict
        assert found == expected


def test_exclusions_and_forcing_sets_are_true_and_smallest() -> None:
    """The facts named as excluding a verdict, or forcing the answer, do so, and no smaller set does."""
    for values in PARTIAL:
        for verdict, names in exclusions(values, BOOK).items():
            assert verdict not in completions({n: values[n] for n in names})
            for left_out in names:
                assert verdict in completions({n: values[n] for n in names if n != left_out})
        for names in forcing_sets(values, BOOK):
            assert len(completions({n: values[n] for n in names})) == 1
            for left_out in names:
                assert len(completions({n: values[n] for n in names if n != left_out})) > 1


RULES = {  # the row of the table that covers a point, worded as the contract words it
    "shifted": lambda p: p["test_tasks"] == "shifted",
    "single_same": lambda p: p["training_tasks"] == "single" and p["test_tasks"] == "same_as_training",
    "single_new": lambda p: p["training_tasks"] == "single" and p["test_tasks"] == "new_same_distribution",
    "identity_uncertain": lambda p: promised(p) == "pearl",
    "known_set": lambda p: promised(p) == "multi_task",
    "gradient_budget": lambda p: promised(p) == "maml",
    "no_gradient": lambda p: promised(p) == "rl2",
}


def smallest(values: dict[str, str], enough: Callable[[set[str]], bool]) -> set[frozenset[str]]:
    """Every set of known facts whose completions are `enough`, and of which no proper part is: by trying them all."""
    sets = [frozenset(c) for size in range(len(values) + 1) for c in combinations(values, size)]
    good = [names for names in sets if enough(completions({n: values[n] for n in names}))]
    return {names for names in good if not any(other < names for other in good)}


def test_the_decision_record_equals_brute_force_everywhere() -> None:
    """At every point and partial set: rules, excluding facts, forcing sets, single changes and open facts are those that trying all of
    them finds."""
    for values in PARTIAL:
        record, reached = decide(values, BOOK), completions(values)
        covered = [p for p in POINTS if values.items() <= p.items()]
        assert set(record.possible) == reached
        assert record.verdict == (reached.pop() if len(reached) == 1 else "undecided")
        assert set(record.rules) == {rule for rule, covers in RULES.items() if any(covers(p) for p in covered)}
        others = {promised(p) for p in POINTS} - set(record.possible)
        assert {e.verdict: set(map(frozenset, e.by)) for e in record.excluded} == {
            v: smallest(values, lambda found, v=v: v not in found) for v in others
        }
        forced = smallest(values, lambda found: len(found) == 1) if len(record.possible) == 1 else set()
        assert set(map(frozenset, record.forced_by)) == forced
        expected = {
            (n, w): completions({**values, n: w}) for n, v in values.items() for w in VALUES[n] if w != v
        }  # fmt: skip
        assert {(c.fact, c.value): set(c.possible) for c in record.changes} == expected
        assert {o.fact for o in record.open} == set(open_facts(values, BOOK))
        for o in record.open:
            assert {v: set(p) for v, p in o.leads.items()} == {
                v: completions({**values, o.fact: v}) for v in VALUES[o.fact]
            }


def test_every_verdict_has_its_excluding_facts() -> None:
    """Where the verdict is decided, each of the other five is excluded by at least one set of known facts."""
    for point in POINTS:
        excluded = {e.verdict for e in decide(point, BOOK).excluded}
        assert excluded == {promised(p) for p in POINTS} - {promised(point)}
        assert all(e.by and all(e.by) for e in decide(point, BOOK).excluded)


@pytest.mark.parametrize(
    ("values", "framing"),
    [
        ({"training_tasks": "distribution", "test_tasks": "new_same_distribution"}, "meta"),
        (
            {"training_tasks": "known_set", "test_tasks": "same_as_training", "task_belief": "not_required"},
            "multi_task",
        ),
        ({"test_tasks": "shifted"}, "none"),
        ({}, "undecided"),
    ],
)
def test_framing_is_decided_as_soon_as_all_possible_verdicts_share_it(values: dict[str, str], framing: str) -> None:
    """The framing may be settled while the family is not."""
    assert recommend(known(values), BOOK).framing == framing


def test_refining_facts_never_change_the_verdict() -> None:
    """Concerns, identity and the like bring advice, and the verdict stays."""
    extra = {
        "gradient_interference": "present",
        "task_identity": "hidden",
        "model_kind": "foundation_model",
        "reward": "sparse",
    }
    for point in POINTS:
        assert recommend(known({**point, **extra}), BOOK).verdict == promised(point)


def stated(values: dict[str, str]) -> dict[str, Known]:
    """Facts from a file: no text tells what its writer believes."""
    return {name: Known(value, 1.0, "file") for name, value in values.items()}


def test_pitfalls_mitigations_and_parallel_fire_by_condition() -> None:
    """What applies is listed, what does not is left out."""
    point = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "task_belief": "not_required"}
    maml = recommend(stated({**point, "adaptation_gradients": "allowed", "capacity_limits": "present"}), BOOK)
    assert maml.pitfalls == ("maml_by_default",) and maml.concerns == ("capacity_limits",) and maml.parallel is None
    rl2 = recommend(stated({**point, "adaptation_gradients": "not_allowed", "model_kind": "foundation_model"}), BOOK)
    assert rl2.parallel == "recurrent_in_context" and rl2.concerns == ()
    shifted = recommend(stated({"test_tasks": "shifted", "model_kind": "foundation_model"}), BOOK)
    assert set(shifted.pitfalls) == {"icl_replaces_finetuning", "underestimating_shift"}


def test_confidence_falls_with_doubt_in_a_fact_that_matters() -> None:
    """Confidence is the mass of the completions that agree: doubt in a deciding fact lowers it, doubt that cannot matter does not."""
    point = {
        "training_tasks": "distribution", "test_tasks": "new_same_distribution",
        "task_belief": "not_required", "adaptation_gradients": "allowed",
    }  # fmt: skip
    facts = known(point)
    sure = recommend({**facts, "adaptation_gradients": Known("allowed", 0.8, "text")}, BOOK)
    assert sure.confidence == pytest.approx(0.8)
    shifted = {**known({"test_tasks": "shifted"}), "adaptation_gradients": Known("allowed", 0.6, "text")}
    assert recommend(shifted, BOOK).confidence == pytest.approx(1.0)


def grown(seed: int) -> Rulebook:
    """A rule set over a vocabulary of its own: a random tree of questions, each leaf a setting, so that no two overlap and none is missing."""
    draw = random.Random(seed)
    model = BOOK.facts["task_belief"]
    facts = {}
    for name in ("aa", "bb", "cc", "dd")[: draw.randint(1, 4)]:
        values = ("one", "two", "three")[: draw.randint(2, 3)]
        priors = {v: draw.uniform(0.1, 1) for v in values}
        facts[name] = replace(
            model, id=name, values=values, priors=priors, cost=draw.uniform(0.5, 2), dont_know=draw.choice([0, 20])
        )
    boxes: list[dict[str, tuple[str, ...]]] = [{}]
    for _ in range(draw.randint(1, 6)):
        box = boxes.pop(draw.randrange(len(boxes)))
        name = draw.choice(list(facts))
        cell = box.get(name, facts[name].values)
        cut = draw.randint(1, len(cell) - 1) if len(cell) > 1 else len(cell)
        boxes += [{**box, name: part} for part in (cell[:cut], cell[cut:]) if part]
    settings = tuple(Setting(f"s{n}", box, draw.choice(["maml", "rl2", "pearl"]), n, "") for n, box in enumerate(boxes))
    return replace(BOOK, facts=facts, settings=settings)


@pytest.mark.parametrize("seed", range(30))
def test_any_vocabulary_is_decided_like_ours(seed: int) -> None:
    """Over rule sets grown at random, with facts of their own, the engine equals brute force at every partial set, and our questions are
    the optimum."""
    book = grown(seed)
    assert is_sound(book.settings, book.decisive)
    points = [(p, next(s for s in book.settings if holds(s.when, p))) for p in book.points()]
    for values in partial_sets(book):
        record = decide(values, book)
        inside = [(p, s) for p, s in points if values.items() <= p.items()]
        assert record.possible == tuple(sorted({s.recommend for _, s in inside}))
        assert set(record.rules) == {s.id for _, s in inside}
        verdict = {tuple(p.items()): s.recommend for p, s in points}
        still_open = {
            f.id
            for f in book.decisive
            if f.id not in values
            and any(len({verdict[tuple({**p, f.id: v}.items())] for v in f.values}) > 1 for p, _ in inside)
        }
        assert set(open_facts(values, book)) == {o.fact for o in record.open} == still_open
        for e in record.excluded:
            for names in e.by:
                assert e.verdict not in possible_verdicts({n: values[n] for n in names}, book)
                for less in combinations(names, len(names) - 1):
                    assert not names or e.verdict in possible_verdicts({n: values[n] for n in less}, book)
        for c in record.changes:
            assert c.possible == possible_verdicts({**values, c.fact: c.value}, book)
    costs = questionnaires(book)
    assert costs["ours"].effort == pytest.approx(costs["optimum"].effort, abs=1e-9)
