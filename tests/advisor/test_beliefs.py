"""Concerns and beliefs read from prose: found in untypical words, not found where they are denied or absent, with exact evidence."""

import numpy as np
import pytest

from advisor.reader import Proposal
from advisor.reader.beliefs import LEXICON, belief_proposals, take_apart
from advisor.reader.beliefs.cues import CUES
from advisor.reader.beliefs.match import Lexicon, sentences
from advisor.reader.beliefs.numbers import read_aloud
from advisor.reader.beliefs.settle import settle
from advisor.reader.beliefs.weighing import LABELS, Weighing
from advisor.reader.encoder import hear
from advisor.reader.model import CORPUS, shipped_model
from advisor.reader.propose import propose
from advisor.reader.rows import labelled, read_corpus

CONCERNS = {"task_imbalance", "gradient_interference", "capacity_limits", "catastrophic_interference"}


SILENT = [-3.0] * len(LABELS)  # an encoder that hears nothing in particular


def shipped() -> Weighing:
    """The shipped weights and thresholds."""
    return Weighing(**shipped_model().about["beliefs"])


def heard(text: str, everywhere: float) -> tuple[Proposal, ...]:
    """The proposals where the encoder says the same of every label and every sentence."""
    return belief_proposals(
        text, [everywhere] * len(LABELS), lambda texts: [[everywhere] * len(LABELS)] * len(texts), shipped()
    )


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
    (proposal,) = [p for p in heard(text, 2.0) if p.fact == "gradient_interference"]
    (span,) = proposal.evidence
    assert text[span.start : span.end] == span.text and "gradients of two of them fight" in span.text
    assert "ferries" not in span.text and "rains" not in span.text and proposal.source == "text"


def test_every_proposal_has_words_inside_the_text() -> None:
    """On every labelled description each proposal quotes at least one piece of it."""
    for row in [row for row in read_corpus(CORPUS) if "verdict" in row][::20]:
        for proposal in heard(row["text"], 1.0):
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


def test_what_is_settled_asks_for_certainty() -> None:
    """Where the encoder is right, both what it says of the text and of a sentence count, and a cue asks for no more than silence does."""
    rows = [row for row in read_corpus(CORPUS) if labelled(row)][::12]
    labels = np.array(
        [[name in (*row.get("concerns", ()), *row.get("pitfalls", ())) for name in LABELS] for row in rows]
    )
    generator = np.random.default_rng(0)
    text, sentence = (4.0 * labels - 3.0 + generator.normal(size=labels.shape) for _ in range(2))
    weighing = Weighing(**settle(rows, text, sentence))
    assert weighing.text > 0 and weighing.sentence > 0 and weighing.cued <= weighing.alone
    assert max(weighing.probabilities([-3.0] * 9, [[-3.0] * 9]).values()) < weighing.cued
    assert min(weighing.probabilities([3.0] * 9, [[3.0] * 9]).values()) > weighing.alone


def test_an_encoder_that_hears_nothing_proposes_nothing() -> None:
    """The shipped weights and thresholds lift no label by themselves, nor do unknown words lift one."""
    weighing = shipped()
    assert max(weighing.probabilities(SILENT, [SILENT]).values()) < weighing.cued
    assert max(weighing.probabilities(hear(["qwertz"])[0], hear(["qwertz"])).values()) < weighing.cued


def test_without_a_cue_the_loudest_sentence_is_the_evidence() -> None:
    """Where no cue says which words it was, it is the sentence of which the encoder says most."""
    weighing = Weighing(text=0.0, sentence=1.0, bias=[0.0] * 9, alone=0.5, cued=0.5)
    text = "Nothing here. A zebra walks. The end."
    found = belief_proposals(text, SILENT, lambda texts: [[3.0 if "zebra" in t else -3.0] * 9 for t in texts], weighing)
    assert len(found) == 9 and {p.evidence[0].text for p in found} == {"A zebra walks"}


def test_text_and_sentences_are_weighed_together() -> None:
    """Either can lift a label over its threshold, the loudest sentence counts, and the bias can hold it down."""
    weighing = Weighing(text=1.0, sentence=2.0, bias=[-3.0] * 9, alone=0.5, cued=0.5)
    none, some, much = [0.0] * 9, [2.0] * 9, [4.0] * 9
    assert weighing.probabilities(none, [none])[LABELS[0]] < 0.05
    assert weighing.probabilities(much, [none])[LABELS[0]] > 0.5
    assert weighing.probabilities(none, [none, some])[LABELS[0]] > 0.5


def test_a_long_text_and_strange_letters_are_read() -> None:
    """Length, control characters and other scripts raise nothing."""
    assert take_apart("\x00\u202e \U0001f600 日本語。" + "a b? " * 20_000).sentences
    assert heard("\n\n...!?", -3.0) == ()
