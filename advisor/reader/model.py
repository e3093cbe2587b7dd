"""The quick half of the reader: clause heads and whole-text heads, stacked into one posterior for each fact.

Each head is a multinomial logistic model over a fact's values and "not mentioned"; one more whole-text head is over the
verdicts. The stack of a fact sees, for every value of every fact, the largest clause log-odds and the whole-text log-odds.
All in plain Python over a table of features that is looked into where needed: a single text is read before NumPy would be loaded.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from math import exp, log
from pathlib import Path
from typing import Any

from . import Span
from .features import clauses, key, of_word, words

NOT_MENTIONED = "not_mentioned"
FACTS: dict[str, tuple[str, ...]] = {
    "training_tasks": ("known_set", "distribution", "single"),
    "test_tasks": ("same_as_training", "new_same_distribution", "shifted"),
    "adaptation_gradients": ("allowed", "not_allowed"),
    "task_belief": ("required", "not_required"),
}
CLASSES: dict[str, tuple[str, ...]] = {fact: (*values, NOT_MENTIONED) for fact, values in FACTS.items()}
COLUMNS = [
    (fact, value) for fact, values in CLASSES.items() for value in values
]  # a head's outputs for facts, in order
_ENDS = [0, *accumulate(map(len, CLASSES.values()))]
BOUNDS = list(pairwise(_ENDS))  # of each fact the first column and the one after its last
PLACES = [range(first, end) for first, end in BOUNDS]
STATED = [i for i, (_, value) in enumerate(COLUMNS) if value != NOT_MENTIONED]
VERDICTS = (
    "maml",
    "multi_task",
    "none_reliable",
    "out_of_scope",
    "pearl",
    "rl2",
    "undecided",
)  # outputs of a verdict head
OUTPUTS = len(COLUMNS) + len(VERDICTS)
CORPUS = Path(__file__).parent / "corpus"
WEIGHTS = Path(__file__).parent / "weights"
LEAST = 0.0067  # of a probability where log-odds are taken, about 5: keeps one very sure clause from outvoting everything else
REMEMBERED_WORDS = 20_000  # words whose vectors are kept; texts are untrusted, so the memory is bounded
MANY = 100  # texts from which on NumPy and an index of all features pay

Row = Sequence[float]


class ReaderWeightsError(RuntimeError):
    """The shipped weights are missing or do not fit together; `python -m advisor.reader train` rebuilds them."""


def softmax(scores: Row) -> list[float]:
    """Scores -> probabilities that sum to one."""
    top = max(scores)
    e = [exp(s - top) for s in scores]
    total = sum(e)
    return [x / total for x in e]


def softmax_by_fact(scores: Row) -> list[float]:
    """(column,) scores -> probabilities that sum to one within each fact."""
    try:
        e = [exp(s) for s in scores]
    except OverflowError:
        return [p for first, end in BOUNDS for p in softmax(scores[first:end])]
    out: list[float] = []
    for first, end in BOUNDS:
        total = sum(e[first:end])
        out += [x / total for x in e[first:end]]
    return out


def log_odds(probability: Row) -> list[float]:
    """(column,) probabilities -> (stated value,) log-odds, limited on both sides; "not mentioned" has none."""
    stated = [min(max(probability[i], LEAST), 1 - LEAST) for i in STATED]
    return [log(p / (1 - p)) for p in stated]


def corpus_files(folder: Path = CORPUS) -> list[Path]:
    """The corpus files in name order; the folder of a file is the origin of its rows."""
    return sorted(folder.rglob("*.jsonl"))


def corpus_hash(folder: Path = CORPUS) -> str:
    """SHA-256 over the corpus files in name order."""
    import hashlib

    digest = hashlib.sha256()
    for path in corpus_files(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Reading:
    """What the heads found in a text, before the stack."""

    clauses: tuple[Span, ...]
    by_clause: list[list[float]]  # (clause, column) probabilities
    pooled: list[float]  # (2 * stated value,) log-odds: the strongest clause, then the whole text
    verdict: list[float]  # (verdict,) probabilities of the whole-text head over the verdicts


class Heads:
    """Clause heads and whole-text heads over a table of features, with the vectors of the words met so far.

    A row of the table holds what one occurrence of a feature adds to the clause heads (column), the whole-text heads
    (column) and the verdict head (verdict), in float16; rows are sorted by the features' keys.
    """

    def __init__(self, keys: memoryview, rows: memoryview, bias: Row) -> None:
        """`keys` (feature,) of 32-bit integers, `rows` the bytes of (feature, head output), `bias` (head output,)."""
        self.keys, self.rows, self.bias, self.outputs = keys, rows, list(bias), len(bias)
        self.places: dict[int, int] = {}
        self._row = struct.Struct(f"<{len(bias)}e")
        self._words: dict[str, list[float]] = {}

    def index(self) -> None:
        """Index all features at once, which pays from some hundred texts on."""
        if not self.places:
            self.places = dict(zip(self.keys, range(len(self.keys)), strict=True))

    def _place(self, code: int) -> int | None:
        """Which row a key has, if any."""
        if self.places:
            return self.places.get(code)
        place = bisect_left(self.keys, code)
        return place if place < len(self.keys) and self.keys[place] == code else None

    def _rows_of(self, features: Iterable[str]) -> list[Row]:
        places = [place for feature in features if (place := self._place(key(feature))) is not None]
        return [self._row.unpack_from(self.rows, place * self._row.size) for place in places]

    def vector(self, features: Iterable[str]) -> list[float]:
        """What features add together (head output,)."""
        return [sum(column) for column in zip(*self._rows_of(features), strict=True)] or [0.0] * self.outputs

    def _sums(self, piece: Sequence[str]) -> list[float]:
        """What the features of a list of words weigh together, before the root of the length: (head output,)."""
        known = self._words
        if len(known) + len(piece) > REMEMBERED_WORDS:
            known.clear()
        for word in piece:
            if word not in known:
                known[word] = self.vector(of_word(word))
        rows: list[Row] = [known[word] for word in piece]
        rows += self._rows_of(f"{a} {b}" for a, b in pairwise(piece))
        return [sum(column) for column in zip(*rows, strict=True)] or [0.0] * self.outputs

    def read(self, text: str) -> Reading:
        """All heads over a text; a text without a clause counts as one empty clause."""
        spans, half = clauses(text), len(COLUMNS)
        pieces = [words(span.text) for span in spans] or [[]]
        sums = [self._sums(piece) for piece in pieces]
        by_clause = []
        for piece, row in zip(pieces, sums, strict=True):
            root = max(len(piece), 1) ** 0.5
            by_clause.append(softmax_by_fact([s / root + b for s, b in zip(row[:half], self.bias[:half], strict=True)]))
        root = max(sum(map(len, pieces)), 1) ** 0.5
        columns = zip(*[row[half:] for row in sums], strict=True)
        whole = [sum(column) / root + b for column, b in zip(columns, self.bias[half:], strict=True)]
        strongest = [max(column) for column in zip(*by_clause, strict=True)]
        pooled = log_odds(strongest) + log_odds(softmax_by_fact(whole[:half]))
        return Reading(spans, by_clause, pooled, softmax(whole[half:]))


@dataclass(frozen=True)
class Stack:
    """One small logistic model for each fact over log-odds, its temperature folded in."""

    weights: list[list[float]]  # (log-odds, column)
    bias: list[float]  # (column,)

    def __call__(self, pooled: Row) -> list[float]:
        """(log-odds,) -> calibrated probabilities (column,)."""
        scores = self.bias.copy()
        for x, row in zip(pooled, self.weights, strict=True):
            scores = [s + x * w for s, w in zip(scores, row, strict=True)]
        return softmax_by_fact(scores)


@dataclass(frozen=True)
class Model:
    """Everything that quick reading needs; `about` holds what was settled for both readers."""

    heads: Heads
    about: dict[str, Any]

    def stack(self, reader: str) -> Stack:
        """The stack of a reader, `quick` or `careful`."""
        return Stack(**self.about[reader]["stack"])


def tensors(path: Path) -> dict[str, memoryview]:
    """The bytes of each array in a safetensors file: eight bytes of length, a table in JSON, the arrays."""
    content = memoryview(path.read_bytes())
    start = 8 + struct.unpack_from("<Q", content)[0]
    table = json.loads(bytes(content[8:start]))
    places = {name: entry["data_offsets"] for name, entry in table.items() if name != "__metadata__"}
    return {name: content[start + first : start + end] for name, (first, end) in places.items()}


def load(folder: Path = WEIGHTS) -> Model:
    """Read `model.json` and `quick.safetensors`. Raises `ReaderWeightsError` when they cannot be used."""
    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        found = tensors(folder / "quick.safetensors")
        keys, rows, bias = found["keys"].cast("I"), found["weights"], about["bias"]
        if about["classes"] != {fact: list(values) for fact, values in CLASSES.items()}:
            raise ReaderWeightsError("the reader's weights were trained for other facts: run advisor.reader train")
        if len(bias) != len(COLUMNS) + OUTPUTS or len(rows) != 2 * len(bias) * len(keys):
            raise ValueError("the two files do not belong together")
        return Model(Heads(keys, rows, bias), about)
    except (OSError, KeyError, ValueError, TypeError, struct.error) as error:
        raise ReaderWeightsError(f"the reader's weights in {folder} cannot be used ({error}); rebuild them") from error


@lru_cache(maxsize=1)
def shipped_model() -> Model:
    """The model that travels with the package, loaded once."""
    return load()
