"""Linear heads over features of text: vocabulary, encoding and fitting. Needs SciPy; for training only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from .features import key, occurrences

Array = NDArray[Any]
Pieces = Sequence[Sequence[str]]  # a text, cut into lists of words


def kind(feature: str) -> str:
    """`word`, `pair` or `run`, as `features.occurrences` writes them."""
    return "word" if feature[0] == "=" else "pair" if " " in feature[1:-1] else "run"


@dataclass(frozen=True)
class Vocabulary:
    """The known features in the order of their keys, and what one occurrence of each counts."""

    columns: dict[str, int]
    value: Array  # (feature,): inverse document frequency times the scale of its kind

    def encode(self, pieces: Pieces) -> tuple[list[int], list[float]]:
        """The columns that are not zero in a text, in order, and their values."""
        counts = Counter(c for f in occurrences(pieces) if (c := self.columns.get(f)) is not None)
        norm = math.sqrt(max(sum(map(len, pieces)), 1))
        found = sorted(counts)
        return found, [counts[column] * float(self.value[column]) / norm for column in found]

    def keys(self) -> Array:
        """(feature,) 32-bit keys, ascending."""
        keys = np.array([key(feature) for feature in self.columns], dtype=np.uint32)
        return keys


def learn(texts: Sequence[Pieces], least: dict[str, int]) -> Vocabulary:
    """The features that at least `least` texts hold, by kind, with smoothed inverse document frequencies.

    Words with pairs, and runs, are each scaled so that the mean square norm of a text is one: both views of a text start
    out equally loud. Of features with the same key the commonest is kept.
    """
    documents: Counter[str] = Counter()
    for pieces in texts:
        documents.update(set(occurrences(pieces)))
    by_key: dict[int, str] = {}
    for feature, n in sorted(documents.items(), key=lambda item: (item[1], item[0])):
        if n >= least[kind(feature)]:
            by_key[key(feature)] = feature
    kept = [by_key[code] for code in sorted(by_key)]
    value = np.array([math.log((1 + len(texts)) / (1 + documents[f])) + 1.0 for f in kept])
    plain = Vocabulary({feature: column for column, feature in enumerate(kept)}, value)
    is_run = np.array([kind(feature) == "run" for feature in kept])
    x = matrix(plain, texts)
    square = np.asarray(x.multiply(x).sum(axis=0)).ravel() / max(len(texts), 1)
    scale = [1.0 / math.sqrt(max(float(square[of].sum()), 1e-12)) for of in (~is_run, is_run)]
    return Vocabulary(plain.columns, value * np.where(is_run, scale[1], scale[0]))


def matrix(vocabulary: Vocabulary, texts: Sequence[Pieces]) -> Any:
    """Encoded texts as a sparse (text, feature) matrix."""
    encoded = [vocabulary.encode(pieces) for pieces in texts]
    ends = np.cumsum([0, *(len(columns) for columns, _ in encoded)])
    columns = np.array([c for found, _ in encoded for c in found], dtype=np.int32)
    values = np.array([v for _, found in encoded for v in found], dtype=np.float32)
    return sparse.csr_matrix((values, columns, ends), shape=(len(texts), len(vocabulary.value)))


def fit(
    x: Any, targets: Sequence[Array], sizes: Sequence[int], inverse_penalty: float, steps: int
) -> tuple[Array, Array]:
    """Multinomial logistic models over the same rows, all at once -> weights (feature, output) and bias (output,).

    `targets` holds for each model the class of every row, `sizes` how many classes it has. The objective is that of scikit-learn's
    `LogisticRegression`; L-BFGS (Liu and Nocedal 1989) stops after `steps`, which regularises a little further.
    """
    rows, features = x.shape
    total, ends = sum(sizes), np.cumsum([0, *sizes])
    hot = np.zeros((rows, total), dtype=np.float32)
    for start, target in zip(ends, targets, strict=False):
        hot[np.arange(rows), start + target] = 1.0
    turned = x.T.tocsr()

    def loss(theta: Array) -> tuple[float, Array]:
        weights, bias = theta[: features * total].reshape(features, total), theta[features * total :]
        scores = x @ weights.astype(np.float32) + bias.astype(np.float32)
        value = 0.0
        for start, end in zip(ends, ends[1:], strict=False):
            part = scores[:, start:end]
            part -= part.max(axis=1, keepdims=True)
            value -= float((part * hot[:, start:end]).sum(dtype=np.float64))
            np.exp(part, out=part)
            normal = part.sum(axis=1, keepdims=True)
            value += float(np.log(normal).sum(dtype=np.float64))
            part /= normal
        scores -= hot
        slope = (turned @ scores).astype(np.float64) * inverse_penalty + weights
        gradient = np.concatenate([slope.ravel(), scores.sum(axis=0, dtype=np.float64) * inverse_penalty])
        return inverse_penalty * value + 0.5 * float((weights * weights).sum()), gradient

    start_at = np.zeros(features * total + total)
    with threadpool_limits(1):
        found = minimize(loss, start_at, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 8}).x
    return found[: features * total].reshape(features, total), found[features * total :]
