"""Linear heads over words, word beginnings and concepts: how likely a text voices each concern and each mistake.

A text is a set: its words and pairs of neighbours, the same by their first five letters, the concepts of the lexicon and the cues that hold.
The heads are logistic models; what they say is weighed together with the cues and with the encoder's own heads, which read on. `train.py`
makes all of it, reading needs NumPy and two files in the reader's weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .match import Hit, Word

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABELS = (
    "capacity_limits", "catastrophic_interference", "gradient_interference", "task_imbalance",
    "assuming_positive_transfer", "conflating", "icl_replaces_finetuning", "maml_by_default", "underestimating_shift",
)  # fmt: skip
CONCERNS = LABELS[:4]
CONCEPT_SCALE = 0.3
FOLDER = Path(__file__).parent.parent / "weights"
TABLE, ARRAYS = "beliefs.json", "beliefs.npz"
BEGINNING = 5  # letters; a cheap stem


class BeliefWeightsError(RuntimeError):
    """The shipped heads are missing or do not fit together; `python -m advisor.reader train` rebuilds them."""


@dataclass(frozen=True)
class Heads:
    """Weights (feature, label) and biases; how heads, encoder and cues are weighed; the probabilities from which on a label is proposed."""

    columns: dict[str, int]
    weights: NDArray[Any]
    bias: NDArray[Any]
    mix: dict[str, list[float]]  # of "heads", "encoder", "cue" and "bias" a weight for each label
    thresholds: dict[str, float]  # "head": without a cue; "cue": with one

    def scores(self, words: set[str], others: set[str]) -> list[float]:
        """The log-odds of each label for the features of a text (see `word_features`, `other_features`)."""
        import numpy as np

        columns = self.columns
        told = [columns[f] for f in words if f in columns]
        seen = [columns[f] for f in others if f in columns]
        score = self.bias.copy()
        if told:
            score += self.weights[told].sum(axis=0) / np.sqrt(len(words))
        if seen:
            score += CONCEPT_SCALE * self.weights[seen].sum(axis=0)
        found: list[float] = score.tolist()
        return found

    def probabilities(self, scores: Sequence[float], encoded: Sequence[float], cued: set[str]) -> dict[str, float]:
        """The probability of each label from the heads' scores, the encoder's, and the labels for which a cue holds."""
        found = {}
        for i, label in enumerate(LABELS):
            parts = {"heads": scores[i], "encoder": encoded[i], "cue": float(label in cued), "bias": 1.0}
            found[label] = 1.0 / (1.0 + math.exp(-sum(self.mix[name][i] * x for name, x in parts.items())))
        return found


def word_features(sentences: list[list[Word]]) -> set[str]:
    """Words, pairs of neighbours, and both again by the words' beginnings."""
    found = set()
    for sentence in sentences:
        words = [word.text for word in sentence]
        begun = [f"{word[:BEGINNING]}*" for word in words]
        for row in (words, begun):
            found.update(row)
            found.update([f"{a} {b}" for a, b in zip(row, row[1:], strict=False)])
    return found


def other_features(hits: list[list[Hit]], cues: list[str]) -> set[str]:
    """Concepts and the cues that hold, by names that no word has."""
    return {f"={hit.concept}" for sentence in hits for hit in sentence} | {f"#{cue}" for cue in cues}


def load(folder: Path = FOLDER) -> Heads:
    """The heads in a folder. Raises BeliefWeightsError."""
    import numpy as np

    try:
        table = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            weights, bias = arrays["weights"].astype(np.float32), arrays["bias"].astype(np.float32)
        if weights.shape != (len(table["features"]), len(LABELS)) or table["labels"] != list(LABELS):
            raise ValueError("the two files do not belong together")
        columns = {feature: column for column, feature in enumerate(table["features"])}
        return Heads(columns, weights, bias, table["mix"], table["thresholds"])
    except (OSError, ValueError, KeyError) as fault:
        raise BeliefWeightsError(f"{folder}: {fault}") from fault


@lru_cache(maxsize=1)
def shipped_heads() -> Heads:
    """The heads that travel with the package, loaded once. Raises BeliefWeightsError."""
    return load()
