"""The reader proposes facts with their words, abstains when unsure, and ships weights that belong to its corpus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from advisor.engine import possible_verdicts as verdicts_of
from advisor.reader import Proposal, read, read_many
from advisor.reader.beliefs.weighing import LABELS
from advisor.reader.cues import _ANCHORS, _COUNTS, _CUES, _compiled, cue_proposals
from advisor.reader.evaluate import evaluate
from advisor.reader.features import clauses
from advisor.reader.model import CORPUS, FACTS, WEIGHTS, corpus_hash
from advisor.reader.rows import read_corpus
from advisor.rulebook import load as load_rules
from tests.conftest import Run

META = frozenset({"maml", "rl2", "pearl"})

# Three wordings of each worked scenario: what may be decided. Leaving the deciding question open is right as well.
WORDINGS: list[tuple[str, str, frozenset[str]]] = [
    ("catalogue_picking", "Our warehouse robot handles a catalogue of 50 product shapes. All fifty are in the training "
     "set, and those fifty are all it will ever pick.", frozenset({"multi_task"})),
    ("catalogue_picking", "fifty product shapes, list is final, robot trained on every one of them, picks those and "
     "nothing else", frozenset({"multi_task"})),
    ("catalogue_picking", "We need a picking policy for a known range of fifty packages; the range in the depot is the "
     "range we train with.", frozenset({"multi_task"})),
    ("shipped_arm", "We ship a robot arm. The customer shows it a few demonstrations of a shape it has never seen, and "
     "it should then do the job.", META),
    ("shipped_arm", "The arm leaves our factory and each buyer demonstrates two or three shapes of their own, none of "
     "which were in our training data.", META),
    ("shipped_arm", "After delivery, clients teach the manipulator unfamiliar task shapes with a handful of demos.", META),
    ("support_model", "A language model is fine-tuned once on support questions for our 200 product categories, and it "
     "answers questions about exactly these categories.", frozenset({"multi_task"})),
    ("support_model", "The help desk bot covers two hundred categories; all of them are in the fine-tuning data and no "
     "others will be asked about.", frozenset({"multi_task"})),
    ("support_model", "200 known product categories, one fine-tuned LLM, same categories in production as in training.",
     frozenset({"multi_task"})),
    ("prompted_learner", "At inference the model gets three examples of an unseen task in its prompt and does the task, "
     "with no further training.", frozenset({"rl2"})),
    ("prompted_learner", "Three demonstrations in context, then it must do a task it was never trained on; weights stay "
     "frozen.", frozenset({"rl2"})),
    ("prompted_learner", "A few-shot learner: new task, 3 examples in the prompt, no gradient updates.", frozenset({"rl2"})),
    ("ten_cities", "One driving policy was trained on ten cities and will drive in these ten cities; it is told which city "
     "it is in.", frozenset({"multi_task"})),
    ("ten_cities", "Ten cities in training, the same ten in service, city id as an input of the network.",
     frozenset({"multi_task"})),
    ("ten_cities", "The car operates only in the 10 cities it was trained for, with the city as input.",
     frozenset({"multi_task"})),
    ("arm_trials", "When the arm meets an object it has not seen, it gets ten trial trajectories and may take gradient "
     "steps on them.", frozenset({"maml"})),
    ("arm_trials", "New object, 10 trials, then a few updates of the weights: the gripper should be good by then. Trained "
     "on many similar objects.", frozenset({"maml"})),
    ("arm_trials", "For each unfamiliar object we allow ten practice attempts and gradient-based fine-tuning of the "
     "policy.", frozenset({"maml"})),
    ("market_regime", "Our trading agent meets new market regimes and has to adapt in real time; it cannot be retrained on "
     "the fly.", frozenset({"rl2"})),
    ("market_regime", "A regime nobody has seen before starts at 10:03, and the system has seconds to adjust, without any "
     "retraining.", frozenset({"rl2"})),
    ("market_regime", "Live trading: new regimes like those of past years appear, weights are fixed during the day, and "
     "the agent must adapt as trades come in.", frozenset({"rl2"})),
    ("diagnosis", "As symptoms arrive, the diagnosis system keeps a probability over conditions and shows how uncertain "
     "it still is.", frozenset({"pearl"})),
    ("diagnosis", "The doctor's assistant must maintain an explicit belief about which condition a new patient has and "
     "refine it with each symptom.", frozenset({"pearl"})),
    ("diagnosis", "We want a posterior over the patient's condition, updated by every symptom, never just a single guess.",
     frozenset({"pearl"})),
    ("mazes", "A grid-world agent is put into new mazes and has the compute for a few gradient steps in each.",
     frozenset({"maml"})),
    ("mazes", "Unseen mazes from our maze generator; before it is scored, the agent may do three policy gradient updates.",
     frozenset({"maml"})),
    ("mazes", "The agent trains on randomly generated mazes. In a fresh maze it is allowed a handful of gradient steps to "
     "adapt.", frozenset({"maml"})),
]  # fmt: skip

OFF_TOPIC = [
    "Melt the butter, stir in the flour and let it brown for five minutes.",
    "The night train leaves Vienna at ten past eight and has a dining car.",
    "Our football club meets on Thursdays behind the church.",
    "Please water the plants on the balcony while we are away.",
    "Rain is expected in the west, with some sun in the afternoon.",
]
DESCRIPTION = WORDINGS[15][1]


def possible_verdicts(facts: dict[str, str]) -> frozenset[str]:
    """Every verdict that the shipped rules leave possible."""
    return frozenset(verdicts_of(facts, load_rules()))


def proposed(text: str) -> dict[str, Proposal]:
    """The proposals of a text by fact."""
    return {p.fact: p for p in read(text)}


def test_worked_scenarios_are_read_right_or_left_open() -> None:
    """A wording of a worked scenario leads to its verdict or leaves it possible; at most one in 27 goes astray, as the risk allows."""
    astray = []
    for scenario, text, right in WORDINGS:
        possible = possible_verdicts({f: p.value for f, p in proposed(text).items() if f in FACTS})
        if not possible & right:
            astray.append(f"{scenario}: {text} -> {sorted(possible)}")
    assert len(WORDINGS) == 27
    assert len(astray) <= 1, astray


def test_most_wordings_of_the_worked_scenarios_are_decided() -> None:
    """Abstaining is no way out: at least half of the wordings with a single right verdict are decided."""
    single = [(text, right) for _, text, right in WORDINGS if len(right) == 1]
    decided = [possible_verdicts({f: p.value for f, p in proposed(t).items() if f in FACTS}) == r for t, r in single]
    assert sum(decided) >= len(single) / 2


@pytest.mark.parametrize("text", OFF_TOPIC)
def test_off_topic_text_proposes_nothing(text: str) -> None:
    """Text about something else gives no proposal."""
    assert read(text) == ()


@pytest.mark.parametrize("text", ["", "   \n\t ", "... --- !!!", "42 17 3.5"])
def test_empty_text_proposes_nothing(text: str) -> None:
    """Text without a word gives no proposal."""
    assert read(text) == ()


def test_offsets_are_exact() -> None:
    """Each span of evidence is the very words of the description, in any script and line layout."""
    for _, text, _ in WORDINGS:
        for variant in (text, f"  Ünïcode 🤖 first.\r\n\n{text}", text.replace(" ", "  ")):
            for proposal in read(variant):
                for span in proposal.evidence:
                    assert variant[span.start : span.end] == span.text != ""


def test_proposals_are_well_formed() -> None:
    """At most one proposal a fact, probabilities as confidence, evidence exactly where the text is the source."""
    for _, text, _ in WORDINGS:
        proposals = read(text)
        assert len({p.fact for p in proposals}) == len(proposals)
        for p in proposals:
            assert 0.0 < p.confidence <= 1.0
            assert p.source in ("text", "assumed")
            assert bool(p.evidence) == (p.source == "text")
            assert p.fact not in FACTS or p.value in FACTS[p.fact]


def test_what_decides_between_families_is_never_assumed() -> None:
    """Silence never yields a value for the gradient question or for the test tasks."""
    rows = read_corpus(CORPUS)
    texts = [row["text"] for row in rows if row["kind"] == "description"][::2]
    assumed = {p.fact for proposals in read_many(texts) for p in proposals if p.source == "assumed"}
    assert assumed == {"task_belief", "training_tasks"}


def test_negation_governs_cues() -> None:
    """What the text denies is not proposed."""
    said = cue_proposals(clauses("It is a language model."))
    denied = cue_proposals(clauses("This is not a language model."))
    assert [(p.fact, p.value) for p in said] == [("model_kind", "foundation_model")]
    assert denied == ()


def test_every_match_of_a_cue_holds_one_of_its_anchors() -> None:
    """Looking for the anchors first loses nothing on the whole corpus."""
    patterns = [*_CUES, *((fact, "", pattern) for fact, pattern in _COUNTS)]
    texts = [row["text"] for row in read_corpus(CORPUS)][::3]
    matched = 0
    for fact, value, pattern in patterns:
        for text in texts:
            match = _compiled(pattern).search(text)
            matched += match is not None
            assert match is None or any(anchor in match.group().lower() + " " for anchor in _ANCHORS[fact, value])
    assert matched > 50


def test_corpus_is_large_and_has_every_value() -> None:
    """The corpus keeps its promised size, and every value of every fact occurs in clauses and in descriptions."""
    rows = read_corpus(CORPUS)
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("clause", "description")}
    assert len(kinds["clause"]) >= 2500
    assert len(kinds["description"]) >= 900
    assert len({row["origin"] for row in rows}) >= 5
    for group in kinds.values():
        for fact, values in FACTS.items():
            assert {row["facts"].get(fact) for row in group} == {*values, None}
    voices = [{*row["concerns"], *row["pitfalls"]} for row in rows if row["kind"] == "voice"]
    assert all(sum(label in labels for labels in voices) >= 30 for label in LABELS)
    assert sum(not labels for labels in voices) >= 300
    assert len({row["text"].lower() for row in rows}) == len(rows)


def test_marked_words_are_words_of_their_text() -> None:
    """Facts, concerns and beliefs are marked where they were labelled, in the text's own words."""
    rows = read_corpus(CORPUS)
    for row in rows:
        labels = (*row.get("concerns", ()), *row.get("pitfalls", ()))
        assert all(marked in row["text"] and label in labels for label, marked in row.get("marks", {}).items())
        assert all(marked in row["text"] for marked in row.get("spans", {}).values())


def test_shipped_weights_belong_to_the_shipped_corpus() -> None:
    """`model.json` names the hash of the corpus that lies beside it."""
    about = json.loads((WEIGHTS / "model.json").read_text(encoding="utf-8"))
    assert about["corpus_sha256"] == corpus_hash(CORPUS)


ASIDE = sorted((Path(CORPUS).parent / "aside").glob("*.jsonl"))


def test_texts_kept_aside_are_no_training_texts() -> None:
    """No text kept aside for measuring shares nine words in a row with the corpus."""

    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return {tuple(words[i : i + 9]) for i in range(len(words) - 8)}

    seen = set().union(*(runs(row["text"]) for row in read_corpus(CORPUS)))
    assert ASIDE
    for path in ASIDE:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not runs(json.loads(line)["text"]) & seen


@pytest.mark.parametrize(
    ("texts", "reader", "every", "decided", "right", "wrong"),
    [
        ("[!r]*", "quick", 1, 0.6, 0.92, 0.06),
        ("[!r]*", "careful", 3, 0.8, 0.94, 0.05),
        ("retold*", "quick", 1, 0.45, 0.85, 0.1),
        ("retold*", "careful", 2, 0.65, 0.92, 0.06),
    ],
)
def test_texts_kept_aside_are_read_well(
    texts: str, reader: str, every: int, decided: float, right: float, wrong: float
) -> None:
    """Of texts that no part of the training saw most are decided, nearly all of those rightly, and few wrongly; public texts are harder."""
    paths = sorted((Path(CORPUS).parent / "aside").glob(f"{texts}.jsonl"))
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    figures = evaluate(rows[::every], reader)
    assert figures["decided"] >= decided
    assert figures["right_among_decided"] >= right
    assert figures["wrong_over_all"] <= wrong


def test_evidence_is_what_the_fact_rests_on() -> None:
    """The careful reader names the clause without which the fact would not be read."""
    text = (
        "We run a fleet of delivery vans. The routing policy was trained on streets drawn at random from forty towns. "
        "Each customer lives in a town it has never seen. Fuel is dear. On arrival it may take five gradient steps on the day's data."
    )
    found = {p.fact: p for p in read(text)}
    assert "gradient steps" in found["adaptation_gradients"].evidence[0].text


def test_reading_needs_neither_scikit_learn_nor_torch() -> None:
    """Quick reading loads no NumPy; careful reading loads neither scikit-learn, SciPy nor torch."""
    code = (
        "import sys; from advisor.reader import read;"
        f"assert read({DESCRIPTION!r}, careful=False); assert 'numpy' not in sys.modules;"
        f"assert read({DESCRIPTION!r});"
        "assert not {'sklearn', 'scipy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", [["new", "made", "--dry-run", "--from"], ["fit"], ["ask"], ["classify"]])
def test_commands_take_a_reader_by_name(advisor: Run, command: list[str]) -> None:
    """`new`, `fit`, `ask` and `classify` read with the reader asked for, and an unknown name is refused with the known ones."""
    done = advisor(*command, DESCRIPTION, "--reader", "cursory")
    assert done.returncode == 2 and "cursory" in done.stderr and "careful, quick, llm" in done.stderr


def test_evaluation_counts() -> None:
    """Open rows, wrong verdicts and framing are counted as the definitions say."""
    off_topic = {"text": "Bring soup, bread and a chair.", "recommendation": "undecided", "facts": {}}
    settled = {"text": "", "recommendation": "maml", "facts": {"adaptation_gradients": "allowed"}}
    figures = evaluate([off_topic, settled], "quick")
    assert (figures["rows"], figures["decidable"], figures["decided"]) == (2, 1, 0.0)
    assert figures["facts"]["adaptation_gradients"]["recall"] == 0.0


def test_truthful_answers_settle_what_was_left_open() -> None:
    """A writer who answers every question ends at the labelled verdict, and each question is counted."""
    row = {
        "text": "",
        "recommendation": "maml",
        "facts": {},
        "answers": {
            "training_tasks": "distribution",
            "test_tasks": "new_same_distribution",
            "task_belief": "not_required",
            "adaptation_gradients": "allowed",
        },
    }
    after = evaluate([row], "quick")["after_questions"]
    assert after["right"] == 1.0
    assert 3 <= after["questions"] <= 4
