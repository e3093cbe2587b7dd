"""Texts -> proposals: runs the models, decides, and finds the words behind each accepted fact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Proposal, Span
from .beliefs import belief_proposals
from .cues import cue_proposals
from .decide import Outcomes, Thresholds, decide, joint
from .encoder import shipped_encoder
from .model import COLUMNS, Model, Reading, shipped_model

CHUNK = 512  # texts read at once
LONGEST = 20_000  # characters of a text that are read; a description is far shorter, and a book is none
EVIDENCE_CLAUSES = 3  # at most as many clauses are named for one fact
TRIED_CLAUSES = 12  # of a long text only the likeliest clauses are left out in turn
CARRIES = 0.5  # words carry a fact when it is less likely than this without them


@lru_cache(maxsize=1)
def _outcomes() -> Outcomes:
    table = shipped_model().about["outcomes"]
    return Outcomes(tuple(table["verdicts"]), tuple(table["framings"]))


@dataclass(frozen=True)
class Belief:
    """What the models believe of some texts."""

    reading: Reading
    together: NDArray[Any]  # (text, combination): the deciding facts together
    alone: NDArray[Any]  # (text, column): each fact by itself


def believe(texts: Sequence[str], careful: bool) -> Belief:
    """Run the models. The careful reader believes the linear models and the encoder in equal parts: they err on different texts."""
    model = shipped_model()
    reading = model.heads.read(texts)
    views = [model.stack(reading.pooled)]
    if careful:
        views.append(shipped_encoder().probabilities(texts))
    return Belief(reading, np.mean([joint(view) for view in views], axis=0), np.mean(views, axis=0))


def settings(model: Model, careful: bool, asking: bool) -> tuple[Thresholds, tuple[float, float]]:
    """The thresholds and the correction of the verdict's probability, as trained."""
    held = model.about["careful" if careful else "quick"]
    thresholds = dict(held["thresholds"])
    if asking:
        thresholds["verdict"] = held["asking"]
    return Thresholds(**thresholds), (held["scale"][0], held["scale"][1])


def propose(
    texts: Sequence[str], careful: bool, asking: bool = False, evidence: bool = True
) -> list[tuple[Proposal, ...]]:
    """The proposals for each text, in order; without `evidence` the careful reader names the words as the quick one does."""
    out: list[tuple[Proposal, ...]] = []
    for start in range(0, len(texts), CHUNK):
        out.extend(_propose([text[:LONGEST] for text in texts[start : start + CHUNK]], careful, asking, evidence))
    return out


def _propose(texts: Sequence[str], careful: bool, asking: bool, evidence: bool) -> list[tuple[Proposal, ...]]:
    thresholds, scale = settings(shipped_model(), careful, asking)
    belief = believe(texts, careful)
    found: list[tuple[Proposal, ...]] = []
    for i, values in enumerate(decide(belief.together, _outcomes(), thresholds, scale)):
        text, spans, by_clause = texts[i], belief.reading.clauses[i], belief.reading.by_clause[i]
        stated = {fact: (COLUMNS.index((fact, v.value)), by_clause) for fact, v in values.items() if not v.assumed}
        words = _by_omission(text, spans, stated) if careful and evidence else _by_head(spans, stated)
        facts = [
            Proposal(fact, v.value, round(v.confidence, 4), "assumed" if v.assumed else "text", words.get(fact, ()))
            for fact, v in values.items()
        ]
        refining = {p.fact: p for p in cue_proposals(spans)} if values else {}
        if careful:  # told in other words, and what the writer takes for granted: a millisecond a text
            refining |= {p.fact: p for p in belief_proposals(text)}
        found.append((*facts, *refining.values()) if spans else ())
    return found


Stated = dict[str, tuple[int, NDArray[Any]]]  # fact -> its column, and what speaks for it by clause (clause, column)


def _by_head(spans: Sequence[Span], stated: Stated) -> dict[str, tuple[Span, ...]]:
    """For each stated fact the clause that speaks for it most."""
    return {fact: (spans[int(by_clause[:, column].argmax())],) for fact, (column, by_clause) in stated.items()}


def _by_omission(text: str, spans: Sequence[Span], stated: Stated) -> dict[str, tuple[Span, ...]]:
    """For each stated fact the clauses without which it would not be read.

    Every clause is left out by itself once. A fact's clauses are those whose absence costs it most: the first alone if the fact
    falls below `CARRIES` without it, else the first two, or three.
    """
    most = _by_head(spans, stated)
    if len(spans) == 1 or not stated:
        return most
    likely = sorted(range(len(spans)), key=lambda i: -max(float(by[i, column]) for column, by in stated.values()))
    tried = sorted(likely[:TRIED_CLAUSES])
    without = believe([_leave_out(text, [spans[i]]) for i in tried], True).alone
    order = {
        # where no single clause matters, the heads' own opinion decides
        fact: sorted(
            range(len(tried)), key=lambda k: (round(float(without[k, column]), 2), -by_clause[tried[k], column])
        )
        for fact, (column, by_clause) in stated.items()
    }
    taken = {fact: 1 for fact in stated}
    still = [fact for fact, (column, _) in stated.items() if without[order[fact][0], column] >= CARRIES]
    while still and (size := taken[still[0]] + 1) <= min(EVIDENCE_CLAUSES, len(tried)):
        left = believe([_leave_out(text, [spans[tried[k]] for k in order[f][:size]]) for f in still], True).alone
        taken |= dict.fromkeys(still, size)
        still = [fact for fact, p in zip(still, left, strict=True) if p[stated[fact][0]] >= CARRIES]
    return {fact: tuple(spans[i] for i in sorted(tried[k] for k in order[fact][: taken[fact]])) for fact in stated}


def _leave_out(text: str, omitted: Sequence[Span]) -> str:
    for span in sorted(omitted, key=lambda s: -s.start):
        text = text[: span.start] + text[span.end :]
    return text
