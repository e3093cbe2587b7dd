"""The engine against the verdict table, point by point."""

from itertools import product

import pytest

from advisor import rulebook
from advisor.engine import exclusions, forcing_sets, open_facts, recommend
from advisor.facts import Known
from advisor.proof import partial_sets

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


def test_pitfalls_mitigations_and_parallel_fire_by_condition() -> None:
    """What applies is listed, what does not is left out."""
    point = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "task_belief": "not_required"}
    maml = recommend(known({**point, "adaptation_gradients": "allowed", "capacity_limits": "present"}), BOOK)
    assert maml.pitfalls == ("maml_by_default",) and maml.concerns == ("capacity_limits",) and maml.parallel is None
    rl2 = recommend(known({**point, "adaptation_gradients": "not_allowed", "model_kind": "foundation_model"}), BOOK)
    assert rl2.parallel == "recurrent_in_context" and rl2.concerns == ()
    shifted = recommend(known({"test_tasks": "shifted", "model_kind": "foundation_model"}), BOOK)
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
