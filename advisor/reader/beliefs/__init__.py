"""Prose -> what the writer says of trouble between tasks, and what the writer takes for granted.

Both are refining facts: the four concerns of multi-task training, and the beliefs on which the pitfalls rest. Cues, phrases that stand
together within a sentence or two un-denied, say which words gave it away; the encoder says how likely it is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .. import Proposal, Span
from .cues import CUES, Cue
from .match import Hit, Lexicon, Word, sentences
from .numbers import read_aloud
from .weighing import CONCERNS, LABELS, Weighing

LEXICON = Path(__file__).parent / "lexicon.toml"
CONFIDENCE = 0.8  # about the share of proposals that were right on rows seen by nobody; it does not enter the verdict's confidence
BELIEFS = {  # the belief that a label stands for
    "assuming_positive_transfer": ("transfer_expectation", "taken_for_granted"),
    "conflating": ("named_framing", "both_as_one"),
    "icl_replaces_finetuning": ("in_context_trust", "replaces_tuning_anywhere"),
    "maml_by_default": ("planned_method", "maml_by_habit"),
    "underestimating_shift": ("shift_attitude", "waved_away"),
}

MOST_SENTENCES = 64  # read of one text one by one
Hear = Callable[[Sequence[str]], Sequence[Sequence[float]]]  # texts -> log-odds (text, label)

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


def take_apart(text: str) -> Reading:
    """Everything that cues go by; of several cues for one fact the first of the table is kept."""
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
    """The label that stands for a cue's fact."""
    return fact if fact in CONCERNS else next(label for label, (of, _) in BELIEFS.items() if of == fact)


def sentences_of(text: str) -> list[str]:
    """The sentences of a text that are read one by one; of a text without words the text itself."""
    return [text[start:end] for start, end in _places(sentences(text))] or [text]


def _places(words: Sequence[Sequence[Word]]) -> list[tuple[int, int]]:
    return [(sentence[0].start, sentence[-1].end) for sentence in words[:MOST_SENTENCES]]


def belief_proposals(text: str, encoded: Sequence[float], hear: Hear, weighing: Weighing) -> tuple[Proposal, ...]:
    """Return at most one proposal for each concern and belief, with the words that gave it away; nothing for text that voices none.

    `encoded` is what the encoder says of each label, as log-odds (label,); `hear` asks it the same of other texts.
    """
    reading = take_apart(text)
    if not reading.sentences:
        return ()
    places = _places(reading.sentences)
    heard = hear([text[start:end] for start, end in places])
    likely = weighing.probabilities(encoded, heard)
    cued = {cue.fact: (cue, spans) for cue, spans in reading.cues}
    found = []
    for i, label in enumerate(LABELS):
        fact, value = (label, "present") if label in CONCERNS else BELIEFS[label]
        cue, spans = cued.get(fact, (None, ()))
        if fact in reading.denied or likely[label] < (weighing.cued if cue else weighing.alone):
            continue
        if cue and likely[label] < weighing.alone:
            value = cue.value
        spans = spans or (places[max(range(len(places)), key=lambda k: heard[k][i])],)  # noqa: B023 - called at once
        quoted = tuple(Span(start, end, text[start:end]) for start, end in spans)
        found.append(Proposal(fact, value, CONFIDENCE, "text", quoted))
    return tuple(found)


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
