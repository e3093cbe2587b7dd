"""Prose -> proposed facts, each with its words and a calibrated confidence.

`read` abstains: it proposes only what the text supports at a measured risk. Two readers share their training texts: the
careful one, for a single text, asks two small transformers as well and finds the words that carry each fact by leaving clauses out;
the quick one, for batches, uses linear models alone, and for a single text needs nothing but the standard library. Both were
trained by `python -m advisor.reader train`; their files lie in `weights/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Proposal", "Span", "read", "read_many"]


@dataclass(frozen=True)
class Span:
    """Words of the description: `description[start:end] == text`, offsets in characters."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Proposal:
    """One fact that the reader proposes.

    `source` is "text" where words of the description say it (`evidence` holds them) and "assumed" where it follows from
    silence (`evidence` is empty). `confidence` is the probability, in 0..1, that an informed reader would agree.
    """

    fact: str
    value: str
    confidence: float
    source: str
    evidence: tuple[Span, ...]


def read(text: str, careful: bool = True, asking: bool = False) -> tuple[Proposal, ...]:
    """Return the accepted proposals for a description, at most one for each fact, in the order of the facts.

    `asking`: questions can follow, so less is risked. Empty or off-topic text gives an empty tuple. Raises `ReaderWeightsError` when
    the weights are missing or damaged.
    """
    from .propose import propose

    return propose([text], careful, asking)[0]


def read_many(texts: Sequence[str], careful: bool = False) -> list[tuple[Proposal, ...]]:
    """`read` for many texts at once, with the quick reader unless asked otherwise; in order."""
    from .propose import propose

    return propose(texts, careful)
