"""Text -> clauses with offsets, and words -> features, the same for training and reading. Needs the standard library only.

A feature is a word, a pair of neighbouring words, or a run of 3 to 5 characters inside a word. Each occurrence counts
its inverse document frequency, and the sum is divided by the root of the number of words. So a word adds the same vector
wherever it stands and can be looked up whole, which is what makes reading quick. A feature is known by its checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from zlib import crc32

from . import Span

CHARACTER_RUNS = (3, 5)  # shortest and longest run of characters

_token = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_letter = re.compile(r"[^\W\d_]")
# A clause ends with a sentence, a semicolon, a dash, a bracket, or a comma before a word that turns the thought.
# The first character stands apart so that a search skips from one candidate to the next.
_boundary = re.compile(
    r"[\s.!?;:,()\[\]](?:(?<=[.!?])\s+|(?<=[;\n\r()\[\]])|(?<=:)\s+|(?<=\s)[-\u2013\u2014]+\s"
    r"|(?<=,)\s+(?=(?i:but|and|so|while|whereas|though|although|yet|because|since|which|where|then|or|nor|not|no|never)\b)"
    r"|(?<=\s)(?=(?i:but|whereas|although)\b))"
)


def clauses(text: str) -> tuple[Span, ...]:
    """Cut a text into clauses in order; pieces without any letter are dropped."""
    spans = []
    start = 0
    for match in [*_boundary.finditer(text), None]:
        if match is None:
            end = following = len(text)
        else:
            end, following = match.span()
            end += text[end] in ".!?"  # the mark stays with its sentence
        piece = text[start:end]
        if _letter.search(piece):
            left = start + len(piece) - len(piece.lstrip(" \t\n\r,.'\"*#>-"))
            right = start + len(piece.rstrip())
            spans.append(Span(left, right, text[left:right]))
        start = following
    return tuple(spans)


def words(text: str) -> list[str]:
    """Lower-case words in order; an apostrophe inside a word stays."""
    found: list[str] = _token.findall(text.lower().replace("\u2019", "'"))
    return found


def runs(word: str) -> list[str]:
    """The character runs of one word, its edges marked by blanks; a short word is one run."""
    padded = f" {word} "
    shortest, longest = CHARACTER_RUNS
    sizes = range(shortest, min(longest, len(padded)) + 1)
    return [padded[i : i + size] for size in sizes for i in range(len(padded) - size + 1)]


def of_word(word: str) -> list[str]:
    """The features that a word has by itself; no run begins with an equals sign."""
    return [f"={word}", *runs(word)]


def occurrences(pieces: Iterable[Sequence[str]]) -> list[str]:
    """Every occurrence of a feature in lists of words; no pair reaches over the end of a list."""
    found: list[str] = []
    for piece in pieces:
        for word in piece:
            found += of_word(word)
        found += [f"{a} {b}" for a, b in pairwise(piece)]
    return found


def key(feature: str) -> int:
    """The checksum (32 bits) by which a feature is known."""
    return crc32(feature.encode())
