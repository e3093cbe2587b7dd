"""`Heads.read` for many texts at once, in NumPy: the same sums, taken over all clauses together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .features import clauses, of_word, words
from .model import BOUNDS, COLUMNS, LEAST, STATED, Heads, Reading

Array = NDArray[Any]
REMEMBERED = 100_000  # words whose vectors are kept


class Table:
    """All rows of the heads' table in memory, and the vectors of the words met so far."""

    def __init__(self, heads: Heads) -> None:
        heads.index()
        self.heads = heads
        self.rows = np.frombuffer(heads.rows, dtype=np.float16).reshape(-1, heads.outputs).astype(np.float32)
        self.bias = np.array(heads.bias, dtype=np.float32)
        self.words: dict[str, int] = {}
        self.vectors: Array = np.zeros((1024, heads.outputs), dtype=np.float32)

    def place(self, word: str) -> int:
        """Where the vector of a new word is kept from now on."""
        place = self.words[word] = len(self.words)
        if place == len(self.vectors):
            self.vectors = np.concatenate([self.vectors, np.zeros_like(self.vectors)])
        self.vectors[place] = self.heads.vector(of_word(word))
        return place

    def sums(self, pieces: Sequence[Sequence[str]]) -> Array:
        """What the features of each list of words weigh together (piece, head output)."""
        if len(self.words) + sum(map(len, pieces)) > REMEMBERED:
            self.words.clear()
        found, pairs = [], []
        word_ends, pair_ends = [0], [0]
        seen, known = self.words, self.heads.places
        for piece in pieces:
            for word in piece:
                place = seen.get(word)
                found.append(self.place(word) if place is None else place)
            for a, b in pairwise(piece):
                place = known.get(crc32(f"{a} {b}".encode()))
                if place is not None:
                    pairs.append(place)
            word_ends.append(len(found))
            pair_ends.append(len(pairs))
        total = np.zeros((len(pieces), self.heads.outputs), dtype=np.float32)
        for table, places, ends in ((self.vectors, found, word_ends), (self.rows, pairs, pair_ends)):
            full = np.flatnonzero(np.diff(ends))
            if len(full):
                total[full] += np.add.reduceat(table[places], np.array(ends)[full], axis=0)
        return total


@lru_cache(maxsize=1)
def _table(heads: Heads) -> Table:
    return Table(heads)


def read_many(heads: Heads, texts: Sequence[str]) -> list[Reading]:
    """All heads over every text, in order."""
    if not texts:
        return []
    table, half = _table(heads), len(COLUMNS)
    spans = [clauses(text) for text in texts]
    pieces = [[words(span.text) for span in found] or [[]] for found in spans]
    flat = [piece for found in pieces for piece in found]
    starts = np.cumsum([0, *map(len, pieces)])
    sums = table.sums(flat)
    length = np.array([len(piece) for piece in flat], dtype=np.float32)
    whole_length = np.add.reduceat(length, starts[:-1])
    by_clause = _softmax_by_fact(sums[:, :half] / np.sqrt(np.maximum(length, 1))[:, None] + table.bias[:half])
    whole = np.add.reduceat(sums[:, half:], starts[:-1], axis=0) / np.sqrt(np.maximum(whole_length, 1))[:, None]
    whole += table.bias[half:]
    strongest = np.maximum.reduceat(by_clause, starts[:-1], axis=0)
    pooled = np.concatenate([_log_odds(strongest), _log_odds(_softmax_by_fact(whole[:, :half]))], axis=1).tolist()
    verdict, listed = _softmax(whole[:, half:]).tolist(), by_clause.tolist()
    return [
        Reading(spans[i], listed[start:end], pooled[i], verdict[i])
        for i, (start, end) in enumerate(pairwise(starts.tolist()))
    ]


def _softmax(scores: Array) -> Array:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    out: Array = e / e.sum(axis=-1, keepdims=True)
    return out


def _softmax_by_fact(scores: Array) -> Array:
    return np.concatenate([_softmax(scores[:, first:end]) for first, end in BOUNDS], axis=1)


def _log_odds(probability: Array) -> Array:
    p = np.clip(probability[:, STATED], LEAST, 1 - LEAST)
    out: Array = np.log(p / (1 - p))
    return out
