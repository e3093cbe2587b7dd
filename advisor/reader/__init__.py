"""Prose -> proposed facts, each with its words and a calibrated confidence.

`read` abstains: it proposes only what the text supports at a measured risk. The linear models were trained by
`python -m advisor.reader train` on the sentences in `corpus/`; reading needs NumPy and the two files in `weights/`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Proposal", "Span", "read"]


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


def read(text: str) -> tuple[Proposal, ...]:
    """Return the accepted proposals for a description, at most one for each fact, in the order of the facts.

    Empty or off-topic text gives an empty tuple. Raises `ReaderWeightsError` when the weights are missing or damaged.
    """
    from .decide import decide
    from .model import shipped_model

    return decide(shipped_model().posterior(text))
