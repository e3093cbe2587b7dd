"""The linear models: clause heads and a whole-text head, stacked into one calibrated posterior for each fact.

Each head is a multinomial logistic model over a fact's values and "not mentioned". The stack of a fact sees, for every
value of every fact, the largest clause probability and the whole-text probability, both as log-odds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import Span
from .features import Vectoriser, clauses

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


class ReaderWeightsError(RuntimeError):
    """The shipped weights are missing or do not fit together; `python -m advisor.reader train` rebuilds them."""


@dataclass(frozen=True)
class Posterior:
    """What the models believe of one text: probabilities for each fact and its best clause for each value."""

    text: str
    clauses: tuple[Span, ...]
    probability: dict[str, dict[str, float]]
    best_clause: dict[tuple[str, str], Span]
    thresholds: dict[str, float]


def softmax_by_fact(scores: NDArray[Any]) -> NDArray[Any]:
    """(..., column) scores -> probabilities that sum to one within each fact."""
    import numpy as np

    out = np.empty_like(scores, dtype=np.float64)
    start = 0
    for values in CLASSES.values():
        part = scores[..., start : start + len(values)]
        e = np.exp(part - part.max(axis=-1, keepdims=True))
        out[..., start : start + len(values)] = e / e.sum(axis=-1, keepdims=True)
        start += len(values)
    return out


def pool(clause_probability: NDArray[Any], text_probability: NDArray[Any]) -> NDArray[Any]:
    """(clause, column) and (column,) probabilities -> (2 * stated values,) log-odds for the stack."""
    import numpy as np

    strongest = clause_probability[:, STATED].max(axis=0)
    p = np.clip(np.concatenate([strongest, text_probability[STATED]]), 1e-6, 1 - 1e-6)
    log_odds: NDArray[Any] = np.clip(np.log(p / (1 - p)), -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)
    return log_odds


def corpus_hash(folder: Path = CORPUS) -> str:
    """SHA-256 over the corpus files in name order."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.jsonl")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Model:
    """Everything that reading needs, as arrays."""

    vectoriser: Vectoriser
    clause_weights: NDArray[Any]  # (feature, column)
    clause_bias: NDArray[Any]  # (column,)
    text_weights: NDArray[Any]  # (feature, column)
    text_bias: NDArray[Any]  # (column,)
    stack_weights: NDArray[Any]  # (log-odds, column)
    stack_bias: NDArray[Any]  # (column,)
    thresholds: dict[str, float]

    def head(self, text: str, weights: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
        """Scores of one head for one piece of text: (column,)."""
        import numpy as np

        columns, values = self.vectoriser.encode(text)
        if not columns:
            return bias.astype(np.float64)
        scores: NDArray[Any] = np.asarray(values, dtype=np.float32) @ weights[columns] + bias
        return scores

    def posterior(self, text: str) -> Posterior:
        """Read one text; a text without a word has an empty posterior."""
        import numpy as np

        spans = clauses(text)
        if not spans:
            return Posterior(text, (), {}, {}, self.thresholds)
        by_clause = softmax_by_fact(
            np.stack([self.head(span.text, self.clause_weights, self.clause_bias) for span in spans])
        )  # (clause, column)
        whole = softmax_by_fact(self.head(text, self.text_weights, self.text_bias))  # (column,)
        scores = pool(by_clause, whole) @ self.stack_weights + self.stack_bias
        p = softmax_by_fact(scores)
        probability: dict[str, dict[str, float]] = {fact: {} for fact in FACTS}
        for i, (fact, value) in enumerate(COLUMNS):
            probability[fact][value] = float(p[i])
        best = {COLUMNS[i]: spans[int(by_clause[:, i].argmax())] for i in STATED}
        return Posterior(text, spans, probability, best, self.thresholds)


def load(folder: Path = WEIGHTS) -> Model:
    """Read `model.json` and `model.npz`. Raises `ReaderWeightsError` when they cannot be used."""
    import numpy as np

    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        with np.load(folder / "model.npz") as arrays:
            a = {name: arrays[name] for name in arrays.files}
        words = bytes(a["words"]).decode("utf-8").split("\n")
        characters = bytes(a["characters"]).decode("utf-8").split("\n")
        if about["classes"] != {fact: list(values) for fact, values in CLASSES.items()}:
            raise ReaderWeightsError("the reader's weights were trained for other facts: run advisor.reader train")
        vectoriser = Vectoriser(
            {w: i for i, w in enumerate(words)}, {c: len(words) + i for i, c in enumerate(characters)}, a["idf"]
        )
        floats = {name: a[name].astype(np.float32) for name in a if name.endswith(("weights", "bias"))}
        return Model(vectoriser, **floats, thresholds=about["thresholds"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ReaderWeightsError(f"the reader's weights in {folder} cannot be used ({error}); rebuild them") from error


@lru_cache(maxsize=1)
def shipped_model() -> Model:
    """The model that travels with the package, loaded once."""
    return load()
