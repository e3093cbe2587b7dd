"""The quick half of the reader: clause heads and a whole-text head, stacked into one posterior for each fact.

Each head is a multinomial logistic model over a fact's values and "not mentioned". The stack of a fact sees, for every
value of every fact, the largest clause probability and the whole-text probability, both as log-odds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Span
from .features import BLOCKS, Vocabulary, clauses, runs, words

NOT_MENTIONED = "not_mentioned"
FACTS: dict[str, tuple[str, ...]] = {
    "training_tasks": ("known_set", "distribution", "single"),
    "test_tasks": ("same_as_training", "new_same_distribution", "shifted"),
    "adaptation_gradients": ("allowed", "not_allowed"),
    "task_belief": ("required", "not_required"),
}
CLASSES: dict[str, tuple[str, ...]] = {fact: (*values, NOT_MENTIONED) for fact, values in FACTS.items()}
COLUMNS = [(fact, value) for fact, values in CLASSES.items() for value in values]  # the outputs of a head, in order
STATED = [i for i, (_, value) in enumerate(COLUMNS) if value != NOT_MENTIONED]
CORPUS = Path(__file__).parent / "corpus"
WEIGHTS = Path(__file__).parent / "weights"
LOG_ODDS_LIMIT = 5.0  # keeps one very sure clause from outvoting everything else
REMEMBERED_WORDS = 100_000  # words whose vectors are kept; texts are untrusted, so the memory is bounded


class ReaderWeightsError(RuntimeError):
    """The shipped weights are missing or do not fit together; `python -m advisor.reader train` rebuilds them."""


def softmax_by_fact(scores: NDArray[Any]) -> NDArray[Any]:
    """(..., column) scores -> probabilities that sum to one within each fact."""
    out = np.empty(scores.shape, dtype=np.float64)
    start = 0
    for values in CLASSES.values():
        part = scores[..., start : start + len(values)]
        e = np.exp(part - part.max(axis=-1, keepdims=True))
        out[..., start : start + len(values)] = e / e.sum(axis=-1, keepdims=True)
        start += len(values)
    return out


def log_odds(probability: NDArray[Any]) -> NDArray[Any]:
    """(..., column) probabilities -> (..., stated value) log-odds, limited on both sides."""
    p = np.clip(probability[..., STATED], 1e-6, 1 - 1e-6)
    limited: NDArray[Any] = np.clip(np.log(p / (1 - p)), -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)
    return limited


def corpus_files(folder: Path = CORPUS) -> list[Path]:
    """The corpus files in name order; the folder of a file is the origin of its rows."""
    return sorted(folder.rglob("*.jsonl"))


def corpus_hash(folder: Path = CORPUS) -> str:
    """SHA-256 over the corpus files in name order."""
    digest = hashlib.sha256()
    for path in corpus_files(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Reading:
    """What the heads found in some texts, before the stack."""

    clauses: list[tuple[Span, ...]]
    by_clause: list[NDArray[Any]]  # for each text (clause, column) probabilities
    pooled: NDArray[Any]  # (text, 2 * stated value) log-odds: the strongest clause, then the whole text


@dataclass
class Heads:
    """Clause and whole-text heads over one vocabulary, with the vectors of the words met so far."""

    vocabulary: Vocabulary
    weights: NDArray[Any]  # (feature, 2 * column): clause head, then whole-text head
    bias: NDArray[Any]  # (2 * column,)
    _words: dict[str, int] = field(default_factory=dict)
    _vectors: list[NDArray[Any]] = field(default_factory=list)
    _pairs: dict[str, int] = field(default_factory=dict)
    _table: Any = None

    def __post_init__(self) -> None:
        self._scored = (self.weights * self.vocabulary.value[:, None]).astype(np.float32)  # (feature, 2 * column)
        self._pairs = self.vocabulary.columns["pair"]

    def _row(self, word: str) -> int:
        """The row of a word that is new: its own weight and those of its character runs, summed."""
        known, inner = self.vocabulary.columns["word"], self.vocabulary.columns["run"]
        rows = [inner[run] for run in runs(word) if run in inner]
        if word in known:
            rows.append(known[word])
        self._words[word] = len(self._vectors)
        self._vectors.append(self._scored[rows].sum(axis=0))
        return self._words[word]

    def _forget(self) -> None:
        self._words.clear()
        self._vectors.clear()
        self._table = None

    def scores(self, pieces: Sequence[Sequence[str]]) -> NDArray[Any]:
        """Lists of words -> sums of what their features weigh, before the root of the length: (piece, 2 * column)."""
        if len(self._words) + sum(map(len, pieces)) > REMEMBERED_WORDS:
            self._forget()
        rows: list[int] = []
        pairs: list[int] = []
        row_ends, pair_ends = [0], [0]
        seen, known_pairs = self._words, self._pairs
        for piece in pieces:
            for word in piece:
                row = seen.get(word)
                rows.append(self._row(word) if row is None else row)
            for a, b in zip(piece, piece[1:], strict=False):
                column = known_pairs.get(f"{a} {b}")
                if column is not None:
                    pairs.append(column)
            row_ends.append(len(rows))
            pair_ends.append(len(pairs))
        if self._table is None or len(self._table) != len(self._vectors):
            self._table = np.array(self._vectors, dtype=np.float32)
        total = np.zeros((len(pieces), self._scored.shape[1]), dtype=np.float32)
        for table, flat, ends in ((self._table, rows, row_ends), (self._scored, pairs, pair_ends)):
            full = np.flatnonzero(np.diff(ends))
            if len(full):
                total[full] += np.add.reduceat(table[flat], np.array(ends)[full], axis=0)
        return total

    def read(self, texts: Sequence[str]) -> Reading:
        """Both heads over every text; a text without a clause counts as one empty clause."""
        spans = [clauses(text) for text in texts]
        pieces = [words(span.text) for found in spans for span in found]
        sums = self.scores(pieces)
        lengths = np.array([len(piece) for piece in pieces], dtype=np.float32)
        columns = len(COLUMNS)
        by_clause = softmax_by_fact(sums[:, :columns] / np.sqrt(np.maximum(lengths, 1))[:, None] + self.bias[:columns])
        empty = softmax_by_fact(self.bias[None, :columns])
        separate, whole_sum, whole_length, start = [], [], [], 0
        for found in spans:
            end = start + len(found)
            separate.append(by_clause[start:end] if found else empty)
            whole_sum.append(sums[start:end, columns:].sum(axis=0))
            whole_length.append(lengths[start:end].sum())
            start = end
        root = np.sqrt(np.maximum(np.array(whole_length), 1))[:, None]
        whole = softmax_by_fact(np.array(whole_sum) / root + self.bias[columns:])
        strongest = np.array([log_odds(p).max(axis=0) for p in separate])
        return Reading(spans, separate, np.concatenate([strongest, log_odds(whole)], axis=1))


@dataclass(frozen=True)
class Stack:
    """One small logistic model for each fact over the pooled log-odds, its temperature folded in."""

    weights: NDArray[Any]  # (log-odds, column)
    bias: NDArray[Any]  # (column,)

    def __call__(self, pooled: NDArray[Any]) -> NDArray[Any]:
        """(text, log-odds) -> calibrated probabilities (text, column)."""
        return softmax_by_fact(pooled @ self.weights + self.bias)


@dataclass(frozen=True)
class Model:
    """Everything that quick reading needs; `about` holds what was settled for both readers."""

    heads: Heads
    stack: Stack
    about: dict[str, Any]


def load(folder: Path = WEIGHTS) -> Model:
    """Read `model.json` and `model.npz`. Raises `ReaderWeightsError` when they cannot be used."""
    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        with np.load(folder / "model.npz") as arrays:
            a = {name: arrays[name] for name in arrays.files}
        if about["classes"] != {fact: list(values) for fact, values in CLASSES.items()}:
            raise ReaderWeightsError("the reader's weights were trained for other facts: run advisor.reader train")
        columns: dict[str, dict[str, int]] = {}
        start = 0
        for block in BLOCKS:
            listed = bytes(a[block]).decode("utf-8").split("\n") if a[block].size else []
            columns[block] = {feature: start + i for i, feature in enumerate(listed)}
            start += len(listed)
        heads = Heads(Vocabulary(columns, a["value"]), a["weights"].astype(np.float32), a["bias"])
        return Model(heads, Stack(a["stack_weights"], a["stack_bias"]), about)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ReaderWeightsError(f"the reader's weights in {folder} cannot be used ({error}); rebuild them") from error


@lru_cache(maxsize=1)
def shipped_model() -> Model:
    """The model that travels with the package, loaded once."""
    return load()
