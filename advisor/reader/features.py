"""Text -> clauses with offsets, and text -> TF-IDF features, without scikit-learn.

The features are those of two `TfidfVectorizer`s side by side: words 1-2 and, inside words, characters 3-5; sublinear
term frequency, smoothed inverse document frequency, each block of unit length. A test holds the two implementations equal.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKEN_PATTERN = r"(?u)\b\w+\b"
WORD_NGRAMS = (1, 2)
CHARACTER_NGRAMS = (3, 5)

_token = re.compile(TOKEN_PATTERN)
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


def word_ngrams(text: str) -> list[str]:
    """Words and pairs of neighbouring words, lower case."""
    words = _token.findall(text.lower())
    return words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]


def character_ngrams(text: str) -> list[str]:
    """Runs of 3 to 5 characters inside each blank-padded word, lower case; a word shorter than a run counts once."""
    shortest, longest = CHARACTER_NGRAMS
    grams = []
    for word in text.lower().split():
        padded = f" {word} "
        for size in range(shortest, longest + 1):
            if len(padded) <= size:
                grams.append(padded)
                break
            grams.extend([padded[i : i + size] for i in range(len(padded) - size + 1)])
    return grams


@dataclass(frozen=True)
class Vectoriser:
    """A fixed vocabulary with its inverse document frequencies; character columns follow the word columns."""

    words: dict[str, int]
    characters: dict[str, int]
    idf: NDArray[Any]  # (feature,)

    def encode(self, text: str) -> tuple[list[int], list[float]]:
        """Return the columns that are not zero and their values."""
        columns: list[int] = []
        values: list[float] = []
        for vocabulary, grams in ((self.words, word_ngrams(text)), (self.characters, character_ngrams(text))):
            known = [(vocabulary[gram], n) for gram, n in Counter(grams).items() if gram in vocabulary]
            weights = [(1.0 + math.log(n)) * float(self.idf[column]) for column, n in known]
            norm = math.sqrt(sum(w * w for w in weights)) or 1.0
            columns.extend(column for column, _ in known)
            values.extend(w / norm for w in weights)
        return columns, values
