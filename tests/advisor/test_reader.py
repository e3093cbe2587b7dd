"""The reader proposes facts with their words, abstains when unsure, and ships weights that belong to its corpus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from advisor.reader import Proposal, read
from advisor.reader.cues import cue_proposals
from advisor.reader.evaluate import evaluate, possible_verdicts
from advisor.reader.features import CHARACTER_NGRAMS, TOKEN_PATTERN, WORD_NGRAMS, Vectoriser, clauses
from advisor.reader.model import CORPUS, FACTS, WEIGHTS, ReaderWeightsError, corpus_hash, load, shipped_model
from advisor.reader.train import TrainingConfig, build, read_corpus, save, vectorisers

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


def proposed(text: str) -> dict[str, Proposal]:
    """The proposals of a text by fact."""
    return {p.fact: p for p in read(text)}


@pytest.mark.parametrize(("scenario", "text", "right"), WORDINGS)
def test_worked_scenarios_are_read_right_or_left_open(scenario: str, text: str, right: frozenset[str]) -> None:
    """A wording of a worked scenario leads to its verdict, or leaves it possible; never to another verdict."""
    possible = possible_verdicts({f: p.value for f, p in proposed(text).items() if f in FACTS})
    assert possible & right, f"{scenario}: {sorted(possible)} excludes the right answer"


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
    texts = [row["text"] for row in rows if row["kind"] == "description"]
    assumed = {p.fact for text in texts for p in read(text) if p.source == "assumed"}
    assert assumed == {"task_belief", "training_tasks"}


def test_negation_governs_cues() -> None:
    """A concern that the text denies is not proposed."""
    said = cue_proposals(clauses("Joint training suffers from negative transfer."))
    denied = cue_proposals(clauses("There is no negative transfer between them."))
    assert [(p.fact, p.value) for p in said] == [("gradient_interference", "present")]
    assert denied == ()


def test_features_equal_those_of_scikit_learn() -> None:
    """The NumPy features are those of the two scikit-learn vectorisers, value by value."""
    rows = [row["text"] for row in read_corpus(CORPUS)][:120]
    words, characters = vectorisers(rows, TrainingConfig())
    assert (words.ngram_range, words.token_pattern) == (WORD_NGRAMS, TOKEN_PATTERN)
    assert characters.ngram_range == CHARACTER_NGRAMS
    n = len(words.vocabulary_)
    ours = Vectoriser(
        dict(words.vocabulary_),
        {gram: n + i for gram, i in characters.vocabulary_.items()},
        np.concatenate([words.idf_, characters.idf_]),
    )
    for text in [*rows, "Ab a I'd  x\ty, e-mail naïve 3.5 %", "a"]:
        dense = np.zeros(n + len(characters.vocabulary_))
        columns, values = ours.encode(text)
        dense[columns] = values
        theirs = np.concatenate([words.transform([text]).toarray()[0], characters.transform([text]).toarray()[0]])
        np.testing.assert_allclose(dense, theirs, atol=1e-12)


def test_shipped_weights_belong_to_the_shipped_corpus() -> None:
    """`model.json` names the hash of the corpus that lies beside it."""
    about = json.loads((WEIGHTS / "model.json").read_text(encoding="utf-8"))
    assert about["corpus_sha256"] == corpus_hash(CORPUS)


def test_training_is_reproducible(tmp_path: Path) -> None:
    """The same corpus gives the same bytes twice."""
    rows = read_corpus(CORPUS)
    small = tmp_path / "corpus"
    small.mkdir()
    chosen = [row for i, row in enumerate(rows) if i % 4 == 0]
    (small / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    for name in ("first", "second"):
        about, arrays = build(small)
        save(about, arrays, tmp_path / name)
    for file in ("model.json", "model.npz"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    assert load(tmp_path / "first").posterior(DESCRIPTION).probability


def test_corpus_is_large_and_has_every_value() -> None:
    """The corpus keeps its promised size, and every value of every fact occurs in clauses and in descriptions."""
    rows = read_corpus(CORPUS)
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("clause", "description")}
    assert len(kinds["clause"]) >= 600
    assert len(kinds["description"]) >= 250
    for group in kinds.values():
        for fact, values in FACTS.items():
            assert {row["facts"].get(fact) for row in group} == {*values, None}
    assert len({row["text"].lower() for row in rows}) == len(rows)


def test_reading_needs_neither_scikit_learn_nor_torch() -> None:
    """Importing the reader loads no NumPy; reading loads neither scikit-learn, SciPy nor torch."""
    code = (
        "import sys; from advisor.reader import read; assert 'numpy' not in sys.modules;"
        f"assert read({DESCRIPTION!r});"
        "assert not {'sklearn', 'scipy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_damaged_weights_are_reported(tmp_path: Path) -> None:
    """Missing or damaged weights raise the reader's own error."""
    with pytest.raises(ReaderWeightsError):
        load(tmp_path)
    (tmp_path / "model.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.npz").write_bytes(b"nothing")
    with pytest.raises(ReaderWeightsError):
        load(tmp_path)


def test_evaluation_counts() -> None:
    """Open rows, wrong verdicts and framing are counted as the definitions say."""
    off_topic = {"text": OFF_TOPIC[0], "recommendation": "undecided", "facts": {}}
    settled = {"text": OFF_TOPIC[1], "recommendation": "maml", "facts": {"adaptation_gradients": "allowed"}}
    figures = evaluate([off_topic, settled])
    assert (figures["rows"], figures["decidable"], figures["decided"]) == (2, 1, 0.0)
    assert (figures["wrong_over_all"], figures["open_left_open"]) == (0.0, 1.0)
    assert figures["facts"]["adaptation_gradients"]["recall"] == 0.0


def test_evaluation_decides_by_the_rules() -> None:
    """Shift alone is decided, and with nothing known all six verdicts are possible."""
    assert possible_verdicts({"test_tasks": "shifted"}) == {"none_reliable"}
    assert len(possible_verdicts({})) == 6


def test_posterior_sums_to_one() -> None:
    """The probabilities of a fact, "not mentioned" included, sum to one."""
    for p in shipped_model().posterior(DESCRIPTION).probability.values():
        assert sum(p.values()) == pytest.approx(1.0, abs=1e-6)
