"""Pitfalls, mitigations, parallels and evidence as rules: each fires somewhere, says why, and names only what exists."""

from itertools import product

import pytest

from advisor import rulebook
from advisor.engine import invited, recommend
from advisor.explain import explain
from advisor.facts import Known, establish
from advisor.reader import read
from advisor.rulebook import alternatives
from advisor.scenario import Scenario

BOOK = rulebook.load()
CONCERNS = ("task_imbalance", "gradient_interference", "capacity_limits", "catastrophic_interference")
EVIDENCE = BOOK.entries["evidence"]


def answer(values: dict[str, str], source: str = "file"):  # type: ignore[no-untyped-def]
    return recommend({name: Known(value, 1.0, source) for name, value in values.items()}, BOOK)


@pytest.fixture(scope="module")
def fired() -> set[str]:
    """Every entry that applies at some full point with some of the refining facts."""
    from advisor.engine import applying

    seen: set[str] = set()
    refining = [
        {"model_kind": kind, "reward": reward, **{c: "present" for c in CONCERNS if c == concern}}
        for kind, reward, concern in product(("policy", "foundation_model"), ("dense", "sparse"), (*CONCERNS, ""))
    ]
    for point in BOOK.points():
        verdict = answer(point).verdict
        for extra in refining:
            known = {**point, **extra, "verdict": verdict}
            for kind in ("mitigations", "parallels", "evidence"):
                seen.update(f"{kind}/{i}" for i in applying(kind, known, BOOK))
    return seen


@pytest.mark.parametrize("kind", ["mitigations", "parallels", "evidence"])
def test_every_entry_fires_somewhere(kind: str, fired: set[str]) -> None:
    """No mitigation, parallel or finding has a condition that nothing meets."""
    assert {i for i in BOOK.entries[kind] if f"{kind}/{i}" not in fired} == set()


def test_every_finding_has_its_fields() -> None:
    """Direction, strength and reading are of the known words, and a source names a table, a section or how it was read."""
    for i, entry in EVIDENCE.items():
        assert entry["direction"] in ("for", "against"), i
        assert entry["strength"] in ("strong", "mixed", "opinion"), i
        assert entry["read"] in ("paper", "second_hand", "measured_here"), i
        if entry["read"] == "paper":
            assert all(any(w in s for w in ("table", "section", "figure")) for s in entry["source"]), i
        if entry["read"] == "measured_here":
            assert all(s.startswith(("advisor ", "python -m benchmarks")) for s in entry["source"]), i


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("multi-task pretraining plus fine-tuning against meta-RL", "pretraining followed by fine-tuning"),
        ("tuned recurrent baselines", "Well tuned recurrent"),
        ("hypernetworks", "hypernetwork"),
        ("the state fed to the head again", "Feeding the current state"),
        ("unitary scalarization against gradient surgery", "plain sum of the task losses"),
        ("width against architecture", "Widening a plain"),
        ("reward normalisation first", "normalise rewards before"),
        ("RL² for short budgets", "Up to 50 episodes"),
        ("posterior sampling for long ones", "posterior sampling passed RL²"),
        ("MAML against fine-tuning as the step budget grows", "no longer clearly after three"),
        ("PEARL against trying the known policies in turn", "known training tasks in turn"),
        ("the Meta-World tables", "of three meta-RL methods"),
    ],
)
def test_the_findings_that_have_to_be_there(subject: str, words: str) -> None:
    """What the literature holds against the simple story is quoted: one finding at least for each subject."""
    assert any(words in entry["claim"] for entry in EVIDENCE.values()), subject


@pytest.mark.parametrize("verdict", ["multi_task", "maml", "rl2", "pearl", "none_reliable"])
def test_every_verdict_has_findings_both_ways(verdict: str) -> None:
    """A reader can disagree with every verdict: some finding speaks against it, and some for it."""
    directions = {
        entry["direction"]
        for entry in EVIDENCE.values()
        for when in alternatives(entry)
        if verdict in when.get("verdict", []) and not set(CONCERNS) & set(when)
    }
    assert directions == {"for", "against"}


def test_steps_of_the_mitigations_are_in_order_and_backed() -> None:
    """Every step has its place in the literature's order and names findings that exist; options keep the table's two."""
    for concern, entry in BOOK.entries["mitigations"].items():
        steps = [*entry.get("before", []), *entry["options"]]
        assert len(entry["options"]) == 2 and all(1 <= step["step"] <= 5 for step in steps), concern
        assert all(step["step"] < 4 for step in entry["before"])
        for step in steps:
            assert set(step.get("evidence", [])) <= set(EVIDENCE), step["id"]
            for name, values in step.get("done", {}).items():
                assert set(values) <= set(BOOK.facts[name].values)


@pytest.mark.parametrize("concern", CONCERNS)
def test_a_concern_brings_its_mitigations_under_every_verdict(concern: str) -> None:
    """A concern fires by its own fact, present and not absent, whatever is recommended."""
    for point in BOOK.points():
        assert answer({**point, concern: "present"}).concerns == (concern,)
        assert answer({**point, concern: "absent"}).concerns == ()


def test_parallels_only_for_foundation_models() -> None:
    """Every verdict with a method names the parallel for a foundation model, and none for a policy."""
    for point in BOOK.points():
        verdict = answer(point).verdict
        assert answer({**point, "model_kind": "policy"}).parallel is None
        assert (answer({**point, "model_kind": "foundation_model"}).parallel is None) == (verdict == "out_of_scope")


BELIEFS = [
    ("We start with MAML, as everybody does. The weights are frozen on delivery.", "maml_by_default", "MAML"),
    ("Multi-task learning and meta-learning are the same thing to us.", "conflating", "same thing"),
    (
        "Five examples in the prompt replace fine-tuning for good, whatever the documents look like.",
        "icl_replaces_finetuning",
        "prompt replace fine-tuning",
    ),
    (
        "The skills will surely help each other, so no single-skill baseline was trained.",
        "assuming_positive_transfer",
        "help each other",
    ),
    (
        "The arm was trained on boxes of up to five kilograms only. Now it gets barrels of two hundred. "
        "The chief says it will adapt to them anyway, that's what a meta-learner is for.",
        "underestimating_shift",
        "will adapt",
    ),
]


@pytest.mark.parametrize(("text", "pitfall", "words"), BELIEFS, ids=[b[1] for b in BELIEFS])
def test_a_pitfall_knows_what_the_writer_believed(text: str, pitfall: str, words: str) -> None:
    """Each mistake is named in the record when the text voices it, and the explanation quotes the words that gave it away."""
    recommendation = recommend(establish(Scenario("s", text), BOOK, read(text)), BOOK)
    assert pitfall in recommendation.pitfalls
    (shown,) = [s for s in explain(text, recommendation, BOOK).sections if s.title == "Pitfalls"]
    (line,) = [line for line in shown.lines if line.text.startswith(f"{pitfall}:")]
    assert line.details[0].startswith("You wrote “") and words in line.details[0]


def test_maml_is_a_mistake_by_the_facts_it_stands_beside() -> None:
    """Planning MAML is a pitfall where another method is recommended, and none where MAML is; by habit it always is one."""
    for point in BOOK.points():
        verdict = answer(point, "text").verdict
        planned = answer({**point, "planned_method": "maml"}, "text").pitfalls
        assert ("maml_by_default" in planned) == (verdict not in ("maml", "out_of_scope")), point
        if verdict != "out_of_scope":
            assert "maml_by_default" in answer({**point, "planned_method": "maml_by_habit"}, "text").pitfalls
        assert "maml_by_default" not in answer({**point, "planned_method": "open"}, "text").pitfalls


def test_the_wrong_name_for_the_setting_is_a_mistake() -> None:
    """Meta for a known set, and multi-task for new tasks, are confusions; the right name is none."""
    for point in BOOK.points():
        verdict = answer(point, "text").verdict
        named = {
            name: "conflating" in answer({**point, "named_framing": name}, "text").pitfalls
            for name in ("meta", "multi_task")
        }
        assert named == {"meta": verdict == "multi_task", "multi_task": verdict in ("maml", "rl2", "pearl")}


def test_a_shift_that_the_facts_deny_is_none() -> None:
    """Trust in adaptation is no mistake where the test tasks lie inside the training distribution."""
    for point in BOOK.points():
        named = "underestimating_shift" in answer({**point, "shift_attitude": "waved_away"}, "text").pitfalls
        assert named == (answer(point, "text").verdict == "none_reliable")


def test_without_a_text_the_setting_says_which_mistakes_it_invites() -> None:
    """From facts alone nobody's beliefs are known: what the setting invites is named; from a text only what it voices."""
    for point in BOOK.points():
        assert set(answer(point, "file").pitfalls) == set(invited({**point, "verdict": answer(point).verdict}, BOOK))
        assert answer(point, "text").pitfalls == ()


def test_what_is_invited_and_not_voiced_is_worth_knowing() -> None:
    """The explanation of a text names the traps of the setting under a heading of their own, and no trap twice."""
    text = "We start with MAML, as everybody does."
    facts = {"planned_method": "maml_by_habit", "training_tasks": "distribution", "test_tasks": "new_same_distribution",
             "task_belief": "not_required", "adaptation_gradients": "not_allowed"}  # fmt: skip
    shown = {s.title: s.lines for s in explain(text, answer(facts, "text"), BOOK).sections}
    assert [line.text.split(":")[0] for line in shown["Pitfalls"]] == ["maml_by_default"]
    assert [line.text.split(":")[0] for line in shown["Worth knowing"]] == ["underestimating_shift"]


def test_answers_for_every_mistake() -> None:
    """Every pitfall has conditions that name a belief, and says where it is invited."""
    beliefs = {"in_context_trust", "named_framing", "planned_method", "shift_attitude", "transfer_expectation"}
    for i, entry in BOOK.entries["pitfalls"].items():
        assert entry["invites"], i
        assert all(len(beliefs & set(when)) == 1 for when in alternatives(entry)), i
