"""Texts -> proposals: runs the models, decides, and finds the words behind each accepted fact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import Proposal, Span
from .cues import cue_proposals
from .decide import Outcomes, Thresholds, agreed, decide, joint, marginal
from .model import COLUMNS, MANY, OUTPUTS, Model, Reading, log_odds, shipped_model, softmax, softmax_by_fact

SUREST = 0.999  # nothing that was read is certain, and no calibration on some thousand texts can say more
CHUNK = 256  # texts read at once
LONGEST = 20_000  # characters of a text that are read; a description is far shorter, and a book is none
EVIDENCE_CLAUSES = 3  # at most as many clauses are named for one fact
TRIED_CLAUSES = 12  # of a long text only the likeliest clauses are left out in turn
CARRIES = 0.4  # words carry a fact when it is less likely than this without them; at a half, too much was still read from the rest


@lru_cache(maxsize=1)
def _outcomes() -> Outcomes:
    table = shipped_model().about["outcomes"]
    return Outcomes(tuple(table["verdicts"]), tuple(table["framings"]))


@dataclass(frozen=True)
class Belief:
    """What the models believe of a text."""

    reading: Reading
    together: list[float]  # (combination,): the deciding facts together
    encoded: list[float] | None  # what the encoders' heads say (head output,), where they were asked


def believe(texts: Sequence[str], careful: bool) -> list[Belief]:
    """Run the models: the linear ones, and for the careful reader the encoders beside them, stacked for each fact."""
    model = shipped_model()
    if len(texts) >= MANY:
        from .many import read_many

        readings = read_many(model.heads, texts)
    else:
        readings = [model.heads.read(text) for text in texts]
    held = model.about["careful" if careful else "quick"]
    stack = model.stack("careful" if careful else "quick")
    encoded: Sequence[list[float] | None] = [None] * len(texts)
    if careful:
        from .encoder import read

        encoded = read(texts).tolist()
    found = []
    for reading, scores in zip(readings, encoded, strict=True):
        pooled, heads = reading.pooled, [reading.verdict]
        if scores is not None:
            facts, verdict = split(scores)
            pooled, heads = pooled + log_odds(facts), [*heads, verdict]
        together = joint(stack(pooled))
        for direct, power in zip(heads, held["powers"], strict=True):
            together = agreed(together, direct, _outcomes(), power)
        found.append(Belief(reading, together, scores))
    return found


def split(scores: Sequence[float]) -> tuple[list[float], list[float]]:
    """The encoders' scores -> probabilities of the facts' values (column,) and of the verdicts (verdict,)."""
    half = len(COLUMNS)
    return softmax_by_fact(scores[:half]), softmax(scores[half:OUTPUTS])


def settings(model: Model, careful: bool, asking: bool) -> tuple[Thresholds, Sequence[float]]:
    """The thresholds and the correction of the verdict's probability, as trained."""
    held = model.about["careful" if careful else "quick"]
    return Thresholds(**held["asking" if asking else "thresholds"]), held["scale"]


def propose(
    texts: Sequence[str], careful: bool, asking: bool = False, evidence: bool = True
) -> list[tuple[Proposal, ...]]:
    """The proposals for each text, in order; without `evidence` the careful reader names the words as the quick one does."""
    model = shipped_model()
    thresholds, scale = settings(model, careful, asking)
    found = []
    for start in range(0, len(texts), CHUNK):
        chunk = [text[:LONGEST] for text in texts[start : start + CHUNK]]
        for text, belief in zip(chunk, believe(chunk, careful), strict=True):
            found.append(_proposals(text, belief, thresholds, scale, careful, evidence))
    return found


def _proposals(
    text: str, belief: Belief, thresholds: Thresholds, scale: Sequence[float], careful: bool, evidence: bool
) -> tuple[Proposal, ...]:
    spans, by_clause = belief.reading.clauses, belief.reading.by_clause
    if not spans:
        return ()
    values = decide(belief.together, _outcomes(), thresholds, scale)
    stated = {fact: COLUMNS.index((fact, v.value)) for fact, v in values.items() if not v.assumed}
    find = _by_omission if careful and evidence and len(spans) > 1 and stated else _by_head
    words = find(text, spans, by_clause, stated)
    facts = [
        Proposal(
            fact, v.value, min(round(v.confidence, 4), SUREST), "assumed" if v.assumed else "text", words.get(fact, ())
        )
        for fact, v in values.items()
    ]
    refining = {p.fact: p for p in cue_proposals(spans)} if values else {}
    if careful:  # told in other words, and what the writer takes for granted
        from .beliefs import belief_proposals
        from .beliefs.weighing import Weighing
        from .encoder import hear

        assert belief.encoded is not None
        weighing = Weighing(**shipped_model().about["beliefs"])
        refining |= {p.fact: p for p in belief_proposals(text, belief.encoded[OUTPUTS:], hear, weighing)}
    return (*facts, *refining.values())


ByClause = Sequence[Sequence[float]]  # (clause, column) probabilities


def _by_head(
    text: str, spans: Sequence[Span], by_clause: ByClause, stated: dict[str, int]
) -> dict[str, tuple[Span, ...]]:
    """For each stated fact the clause that speaks for it most."""
    return {
        fact: (spans[max(range(len(spans)), key=lambda i: by_clause[i][column])],)  # noqa: B023 - called at once
        for fact, column in stated.items()
    }


def _by_omission(
    text: str, spans: Sequence[Span], by_clause: ByClause, stated: dict[str, int]
) -> dict[str, tuple[Span, ...]]:
    """For each stated fact the clauses without which it would not be read.

    Every clause is left out by itself once. A fact's clauses are those whose absence costs it most: the first alone if the fact
    falls below `CARRIES` without it, else the first two, or three.
    """
    likely = sorted(range(len(spans)), key=lambda i: -max(by_clause[i][column] for column in stated.values()))
    tried = sorted(likely[:TRIED_CLAUSES])
    without = _without(text, [[spans[i]] for i in tried])
    order = {
        # where no single clause matters, the heads' own opinion decides
        fact: sorted(tried, key=lambda i: (round(without[tried.index(i)][column], 2), -by_clause[i][column]))  # noqa: B023
        for fact, column in stated.items()
    }
    taken = dict.fromkeys(stated, 1)
    still = [f for f, column in stated.items() if without[tried.index(order[f][0])][column] >= CARRIES]
    while still and (size := taken[still[0]] + 1) <= min(EVIDENCE_CLAUSES, len(tried)):
        left = _without(text, [[spans[i] for i in order[fact][:size]] for fact in still])
        taken |= dict.fromkeys(still, size)
        still = [fact for fact, p in zip(still, left, strict=True) if p[stated[fact]] >= CARRIES]
    return {fact: tuple(spans[i] for i in sorted(order[fact][: taken[fact]])) for fact in stated}


def _without(text: str, omitted: Sequence[Sequence[Span]]) -> list[list[float]]:
    """What the careful reader believes of each fact by itself once some spans are left out: (case, column)."""
    shortened = []
    for spans in omitted:
        rest = text
        for span in sorted(spans, key=lambda s: -s.start):
            rest = rest[: span.start] + rest[span.end :]
        shortened.append(rest)
    return [marginal(belief.together) for belief in believe(shortened, True)]
