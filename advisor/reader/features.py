"""Text -> clauses with offsets, and text -> features, the same for training and reading.

A feature is a word, a pair of neighbouring words, or a run of 3 to 5 characters inside a word. Each occurrence counts
its inverse document frequency, and the sum is divided by the root of the number of words. So a word adds the same vector
wherever it stands and can be looked up whole, which is what makes reading quick.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import Span

CHARACTER_RUNS = (3, 5)  # shortest and longest run of characters
BLOCKS = ("word", "pair", "run")  # kinds of feature, each scaled as a whole

_token = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
# A clause ends with a sentence, a semicolon, a dash, a bracket, or a comma before a word that turns the thought.
_boundary = re.compile(
    r"(?<=[.!?])\s+|[;\n\r]+|:\s+|\s[-\u2013\u2014]+\s|[()\[\]]"
    r"|,\s+(?=(?:but|and|so|while|whereas|though|although|yet|because|since|which|where|then|or|nor|not|no|never)\b)"
    r"|\s+(?=(?:but|whereas|although)\b)",
    re.IGNORECASE,
)


def clauses(text: str) -> tuple[Span, ...]:
    """Cut a text into clauses in order; pieces without any letter are dropped."""
    spans = []
    start = 0
    for match in [*_boundary.finditer(text), None]:
        end = len(text) if match is None else match.start()
        piece = text[start:end]
        left = start + len(piece) - len(piece.lstrip(" \t,.'\"*#>-"))
        right = end - (len(piece) - len(piece.rstrip()))
        if left < right and any(c.isalpha() for c in text[left:right]):
            spans.append(Span(left, right, text[left:right]))
        start = end if match is None else match.end()
    return tuple(spans)


def words(text: str) -> list[str]:
    """Lower-case words in order; an apostrophe inside a word stays."""
    return [token.replace("\u2019", "'") for token in _token.findall(text.lower())]


def runs(word: str) -> list[str]:
    """The character runs of one word, its edges marked by blanks; a short word is one run."""
    padded = f" {word} "
    shortest, longest = CHARACTER_RUNS
    sizes = range(shortest, min(longest, len(padded)) + 1)
    return [padded[i : i + size] for size in sizes for i in range(len(padded) - size + 1)]


@dataclass(frozen=True)
class Vocabulary:
    """The known features of each block and what one occurrence of a feature counts; columns run through the blocks."""

    columns: dict[str, dict[str, int]]  # block -> feature -> column
    value: NDArray[np.float64]  # (feature,): idf times the scale of the block

    def encode(self, pieces: Sequence[Sequence[str]]) -> tuple[list[int], list[float]]:
        """The columns that are not zero in a text cut into lists of words, and their values."""
        counts = Counter(
            column
            for block, features in occurrences(pieces).items()
            for feature in features
            if (column := self.columns[block].get(feature)) is not None
        )
        norm = math.sqrt(max(sum(map(len, pieces)), 1))
        return list(counts), [n * float(self.value[column]) / norm for column, n in counts.items()]


def occurrences(pieces: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Every occurrence of a feature in lists of words, by block; no pair reaches over the end of a list."""
    return {
        "word": [word for piece in pieces for word in piece],
        "pair": [f"{a} {b}" for piece in pieces for a, b in zip(piece, piece[1:], strict=False)],
        "run": [run for piece in pieces for word in piece for run in runs(word)],
    }


def learn(texts: Sequence[Sequence[Sequence[str]]], least: dict[str, int]) -> Vocabulary:
    """The features that at least `least` texts hold, by block, with smoothed inverse document frequencies.

    Words with pairs, and runs, are each scaled so that the mean square norm of a text is one: both views of a text start
    out equally loud.
    """
    documents: dict[str, Counter[str]] = {block: Counter() for block in BLOCKS}
    for pieces in texts:
        for block, features in occurrences(pieces).items():
            documents[block].update(set(features))
    columns: dict[str, dict[str, int]] = {}
    value: list[float] = []
    for block in BLOCKS:
        kept = sorted(f for f, n in documents[block].items() if n >= least[block])
        columns[block] = {feature: len(value) + i for i, feature in enumerate(kept)}
        value.extend(math.log((1 + len(texts)) / (1 + documents[block][f])) + 1.0 for f in kept)
    plain = Vocabulary(columns, np.array(value))
    first_run = len(columns["word"]) + len(columns["pair"])
    square = np.zeros(2)  # words with pairs, runs
    for pieces in texts:
        for column, v in zip(*plain.encode(pieces), strict=True):
            square[int(column >= first_run)] += v * v
    scale = 1.0 / np.sqrt(np.maximum(square / max(len(texts), 1), 1e-12))
    return Vocabulary(columns, plain.value * np.where(np.arange(len(value)) >= first_run, scale[1], scale[0]))
