"""Concerns and beliefs read from prose: found in untypical words, not found where they are denied or absent, with exact evidence."""

import json
from pathlib import Path

import numpy as np
import pytest

from advisor.reader.beliefs import LEXICON, belief_proposals, take_apart
from advisor.reader.beliefs.cues import CUES
from advisor.reader.beliefs.heads import FOLDER, LABELS, TABLE, Heads, load, shipped_heads
from advisor.reader.beliefs.match import Lexicon, sentences
from advisor.reader.beliefs.numbers import read_aloud
from advisor.reader.beliefs.train import train, write
from advisor.reader.model import CORPUS, corpus_hash
from advisor.reader.propose import propose
from advisor.reader.train import read_corpus

CONCERNS = {"task_imbalance", "gradient_interference", "capacity_limits", "catastrophic_interference"}


SILENT = [-3.0] * len(LABELS)  # an encoder that hears nothing in particular


def said(text: str) -> dict[str, str]:
    """What the careful reader makes of a text, encoder and all."""
    return {p.fact: p.value for p in propose([text], True, evidence=False)[0]}


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Two of the nine ferries produce most of the reward and drown the other seven in the loss.", "task_imbalance"),
        ("The gradients of the two bottle types conflict in the shared layers.", "gradient_interference"),
        ("Whenever one recipe improves, another gets worse.", "gradient_interference"),
        ("The network is too small to hold all sixteen dances.", "capacity_limits"),
        ("After we added the fourth language the model forgot the first one.", "catastrophic_interference"),
    ],
)
def test_a_plain_concern_is_found(text: str, fact: str) -> None:
    """Each of the four concerns is read from a plain statement, and at most one other with it."""
    found = {f for f in said(text) if f in CONCERNS}
    assert fact in found and len(found) <= 2


@pytest.mark.parametrize(
    "text",
    [
        "No gradient conflict was seen between the tasks.",
        "The network isn't too small; it holds all sixteen dances.",
        "Nothing is forgotten when a task is added.",
        "We trained on 4,000 episodes and test on 10.",
        "The camera dominates the robot's price.",
        "Don't forget to book the meeting room.",
        "",
        "The quarterly report is due on Friday.",
    ],
)
def test_denied_or_absent_is_not_found(text: str) -> None:
    """A concern that is denied, or whose words speak of something else, is not proposed."""
    assert not CONCERNS & set(said(text))


@pytest.mark.parametrize(
    ("text", "fact", "value"),
    [
        ("We start with MAML, as everybody does.", "planned_method", "maml_by_habit"),
        ("Multi-task learning and meta-learning are the same thing to us.", "named_framing", "both_as_one"),
        (
            "Five examples in the prompt replace fine-tuning for good, whatever the documents look like.",
            "in_context_trust",
            "replaces_tuning_anywhere",
        ),
        ("The skills will surely help each other, so no single-skill baseline was trained.", "transfer_expectation", "taken_for_granted"),
        ("The chief says it will adapt to the ice anyway, that's what a meta-learner is for.", "shift_attitude", "waved_away"),
    ],
)  # fmt: skip
def test_a_plain_belief_is_found(text: str, fact: str, value: str) -> None:
    """Each belief behind a pitfall is read from a plain statement."""
    assert said(text).get(fact) == value


def test_the_words_are_exact_and_on_the_spot() -> None:
    """Evidence quotes the text at its offsets, and lies in the sentence that says it."""
    text = "Nine ferries share one policy.\nThe gradients of two of them fight. It rains."
    (proposal,) = [p for p in belief_proposals(text, [2.0] * len(LABELS)) if p.fact == "gradient_interference"]
    (span,) = proposal.evidence
    assert text[span.start : span.end] == span.text and "gradients of two of them fight" in span.text
    assert "ferries" not in span.text and "rains" not in span.text and proposal.source == "text"


def test_every_proposal_has_words_inside_the_text() -> None:
    """On every labelled description each proposal quotes at least one piece of it."""
    for row in [row for row in read_corpus(CORPUS) if "verdict" in row][::20]:
        for proposal in belief_proposals(row["text"], [1.0] * len(LABELS)):
            assert proposal.evidence
            for span in proposal.evidence:
                assert row["text"][span.start : span.end] == span.text != ""


@pytest.mark.parametrize(
    ("phrases", "sentence", "found"),
    [
        ("too small", "It is too small", True),
        ("too small", "It is too very small", False),
        ("too ... small", "It is too very small", True),
        ("too ... small", "too a b c d small", False),
        ("forget*", "Forgetting is rare", True),
        ("{fine tun*,tuning} {is,was} over", "fine-tuning was over", True),
        ("{one,two},\n  {three,four}", "two three", False),
        ("{one,\n  two} {three,four}", "two three", True),
        ("can't", "it can\u2019t", True),
    ],
)
def test_the_pattern_language(phrases: str, sentence: str, found: bool) -> None:
    """Words, beginnings, choices, gaps and continued lines match what they say and nothing else."""
    (words,) = sentences(sentence)
    assert bool(Lexicon({"it": phrases}).hits(words)) is found


@pytest.mark.parametrize(
    ("text", "denied"),
    [("they do not conflict", True), ("not cheap but they conflict", False), ("they never really conflict", True)],
)
def test_negation_reaches_to_the_turn_of_the_sentence(text: str, denied: bool) -> None:
    """A negation governs the words after it, up to a word that turns the thought."""
    (words,) = sentences(text)
    assert [hit.denied for hit in Lexicon({"it": "conflict"}).hits(words)] == [denied]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The pit gets 400k trips, the quarry only 900.", {"far_apart"}),
        ("One has 40 rows against 45 rows.", set()),
        ("Is that so?", {"question"}),
        ("Rock is rock.", {"same_old"}),
        ("2,000,000 rows against 300", {"far_apart"}),
    ],
)
def test_what_stands_in_no_lexicon(text: str, found: set[str]) -> None:
    """Counts far apart, questions and `rock is rock` are noticed."""
    (words,) = sentences(text)
    assert {hit.concept for hit in read_aloud(text, words)} == found


def test_cues_and_lexicon_belong_together() -> None:
    """Every concept is used by a cue, and every cue uses known concepts."""
    import tomllib

    known = {*tomllib.loads(LEXICON.read_text(encoding="utf-8")), "far_apart", "question", "same_old"}
    assert known == {concept for cue in CUES for concept in (*cue.needs, *cue.beside, *cue.unless)}


def test_training_is_the_same_to_the_byte(tmp_path: Path) -> None:
    """Two trainings on the same rows write the same files, and what they write can be read back."""
    rows = read_corpus(CORPUS)[::12]
    generator = np.random.default_rng(0)
    encoded, fold = generator.normal(size=(len(rows), len(LABELS))), np.arange(len(rows)) % 3
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(*train(rows, encoded, fold, 2, "hash"), tmp_path / name)
        written.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert written[0] == written[1] and len(written[0]) == 2
    assert json.loads(written[0][0])["trained_on"]["corpus_sha256"] == "hash"
    assert load(tmp_path / "a").weights.shape[1] == len(LABELS)


def test_the_shipped_heads_belong_to_the_shipped_corpus() -> None:
    """Each feature has its weights, the corpus they were trained on lies beside them, and unknown words propose nothing."""
    heads = shipped_heads()
    assert heads.weights.shape == (len(heads.columns), len(LABELS)) and np.isfinite(heads.weights).all()
    assert json.loads((FOLDER / TABLE).read_text(encoding="utf-8"))["trained_on"]["corpus_sha256"] == corpus_hash(
        CORPUS
    )
    likely = heads.probabilities(heads.scores({"qwertz"}, set()), SILENT, set())
    assert set(likely) == set(LABELS) and max(likely.values()) < heads.thresholds["head"]


def test_a_head_alone_points_at_its_sentence() -> None:
    """Where no cue says which words it was, the evidence is the sentence that weighs most."""
    mix = {"heads": [1.0] * 9, "encoder": [0.0] * 9, "cue": [0.0] * 9, "bias": [0.0] * 9}
    heads = Heads(
        {"zebra": 0}, np.full((1, 9), 9.0, np.float32), np.full(9, -1.0, np.float32), mix, {"head": 0.5, "cue": 0.5}
    )
    text = "Nothing here. A zebra walks. The end."
    found = belief_proposals(text, SILENT, heads)
    assert len(found) == 9 and {p.evidence[0].text for p in found} == {"A zebra walks"}


def test_heads_encoder_and_cues_are_weighed_together() -> None:
    """Each of the three can lift a label over its threshold, and the bias can hold it down."""
    mix = {"heads": [1.0] * 9, "encoder": [2.0] * 9, "cue": [4.0] * 9, "bias": [-3.0] * 9}
    heads = Heads({}, np.zeros((0, 9), np.float32), np.zeros(9, np.float32), mix, {})
    label = LABELS[0]
    base = heads.probabilities([0.0] * 9, [0.0] * 9, set())[label]
    assert base < 0.05
    assert heads.probabilities([4.0] * 9, [0.0] * 9, set())[label] > 0.5
    assert heads.probabilities([0.0] * 9, [2.0] * 9, set())[label] > 0.5
    assert heads.probabilities([0.0] * 9, [0.0] * 9, {label})[label] > 0.5


def test_a_long_text_and_strange_letters_are_read() -> None:
    """Length, control characters and other scripts raise nothing."""
    assert take_apart("\x00\u202e \U0001f600 日本語。" + "a b? " * 20_000).sentences
    assert belief_proposals("\n\n...!?", SILENT) == ()
