"""Prose -> what the writer says of trouble between tasks, and what the writer takes for granted.

Both are refining facts: the four concerns of multi-task training, and the beliefs on which the pitfalls rest. Cues, phrases that stand
together within a sentence or two un-denied, say which words gave it away; linear heads over words and cues say how likely it is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .. import Proposal, Span
from .cues import CUES, Cue
from .heads import CONCERNS, LABELS, Heads, other_features, shipped_heads, word_features
from .match import Hit, Lexicon, Word, sentences
from .numbers import read_aloud

LEXICON = Path(__file__).parent / "lexicon.toml"
CONFIDENCE = 0.8  # about the share of proposals that were right on rows seen by nobody; it does not enter the verdict's confidence
BELIEFS = {  # the belief that a head speaks for
    "assuming_positive_transfer": ("transfer_expectation", "taken_for_granted"),
    "conflating": ("named_framing", "both_as_one"),
    "icl_replaces_finetuning": ("in_context_trust", "replaces_tuning_anywhere"),
    "maml_by_default": ("planned_method", "maml_by_habit"),
    "underestimating_shift": ("shift_attitude", "waved_away"),
}

__all__ = ["belief_proposals"]


@cache
def _lexicon() -> Lexicon:
    return Lexicon(tomllib.loads(LEXICON.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Reading:
    """A text taken apart: its sentences, the phrases found in each, the cues that hold with their (start, end) places, and the facts that
    it denies: a cue would hold but for a negation."""

    sentences: list[list[Word]]
    hits: list[list[Hit]]
    cues: list[tuple[Cue, tuple[tuple[int, int], ...]]]
    denied: frozenset[str]

    def features(self) -> tuple[set[str], set[str]]:
        """The word features and the other features of the heads."""
        return word_features(self.sentences), other_features(self.hits, [f"{c.fact}={c.value}" for c, _ in self.cues])


def take_apart(text: str) -> Reading:
    """Everything that cues and heads go by; of several cues for one fact the first of the table is kept."""
    words = sentences(text)
    hits = [[*_lexicon().hits(sentence), *read_aloud(text, sentence)] for sentence in words]
    present = {hit.concept for sentence in hits for hit in sentence}
    found: dict[str, tuple[Cue, tuple[tuple[int, int], ...]]] = {}
    denied = set()
    for cue in CUES:
        if cue.fact in found or not present.issuperset(cue.needs):
            continue
        for i in range(len(words)):
            near = hits[i : i + cue.reach]
            if not {hit.concept for sentence in near for hit in sentence}.issuperset((*cue.needs, *cue.beside)):
                continue
            evidence = _evidence(cue, words[i : i + cue.reach], near)
            if evidence:
                found[cue.fact] = (cue, evidence)
                break
            if {hit.concept for sentence in near for hit in sentence if not hit.denied}.issuperset(cue.needs):
                continue  # something stands against it, but no negation
            denied.add(cue.fact)
    return Reading(words, hits, list(found.values()), frozenset(denied - found.keys()))


def label_of(fact: str) -> str:
    """The label of the heads that speaks for a cue's fact."""
    return fact if fact in CONCERNS else next(label for label, (of, _) in BELIEFS.items() if of == fact)


def belief_proposals(text: str, encoded: Sequence[float], heads: Heads | None = None) -> tuple[Proposal, ...]:
    """Return at most one proposal for each concern and belief, with the words that gave it away; nothing for text that voices none.

    `encoded` is what the encoder's heads say of each label, as log-odds; `heads` takes the place of the shipped ones. Raises
    BeliefWeightsError when those are missing or damaged.
    """
    reading = take_apart(text)
    if not reading.sentences:
        return ()
    heads = heads or shipped_heads()
    spoken_for = {label_of(cue.fact) for cue, _ in reading.cues}
    likely = heads.probabilities(heads.scores(*reading.features()), encoded, spoken_for)
    cued = {cue.fact: (cue, places) for cue, places in reading.cues}
    found = []
    for label in LABELS:
        fact, value = (label, "present") if label in CONCERNS else BELIEFS[label]
        cue, places = cued.get(fact, (None, ()))
        if fact in reading.denied:
            continue
        if cue is not None and likely[label] >= heads.thresholds["cue"]:
            value = cue.value if likely[label] < heads.thresholds["head"] else value
        elif likely[label] >= heads.thresholds["head"]:
            places = places or (_weightiest(reading, heads, label),)
        else:
            continue
        spans = tuple(Span(start, end, text[start:end]) for start, end in places)
        found.append(Proposal(fact, value, CONFIDENCE, "text", spans))
    return tuple(found)


def _weightiest(reading: Reading, heads: Heads, label: str) -> tuple[int, int]:
    """The sentence that speaks most for a label."""
    column = LABELS.index(label)
    best, place = 0.0, (reading.sentences[0][0].start, reading.sentences[0][-1].end)
    for sentence, hits in zip(reading.sentences, reading.hits, strict=True):
        features = word_features([sentence]) | other_features([hits], [])
        weight = sum(float(heads.weights[heads.columns[f], column]) for f in features if f in heads.columns)
        if weight > best:
            best, place = weight, (sentence[0].start, sentence[-1].end)
    return place


def _evidence(cue: Cue, words: list[list[Word]], hits: list[list[Hit]]) -> tuple[tuple[int, int], ...]:
    """The words that made a cue, from the first to the last of each sentence that has some; empty if the cue does not hold."""
    present = {hit.concept for sentence in hits for hit in sentence}
    undenied = {hit.concept for sentence in hits for hit in sentence if not hit.denied}
    if not undenied.issuperset(cue.needs) or not present.issuperset(cue.beside) or present.intersection(cue.unless):
        return ()
    wanted = {*cue.needs, *cue.beside}
    spans = []
    for sentence, found in zip(words, hits, strict=True):
        kept = [hit for hit in found if hit.concept in wanted and not (hit.denied and hit.concept in cue.needs)]
        if kept:
            spans.append((sentence[min(hit.first for hit in kept)].start, sentence[max(h.last for h in kept)].end))
    return tuple(spans)
