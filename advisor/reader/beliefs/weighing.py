"""How likely a text voices each concern and each mistake, from what the encoder hears in the whole text and in its sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LABELS = (
    "capacity_limits", "catastrophic_interference", "gradient_interference", "task_imbalance",
    "assuming_positive_transfer", "conflating", "icl_replaces_finetuning", "maml_by_default", "underestimating_shift",
)  # fmt: skip
CONCERNS = LABELS[:4]


@dataclass(frozen=True)
class Weighing:
    """How both are weighed, alike for all labels but for a bias, and the probabilities from which on a label is proposed."""

    text: float  # weight of what the encoder says of the whole text
    sentence: float  # of the most that it says of a sentence
    bias: Sequence[float]  # (label,)
    alone: float  # the threshold without a cue
    cued: float  # with one

    def probabilities(self, text: Sequence[float], sentences: Sequence[Sequence[float]]) -> dict[str, float]:
        """The probability of each label from the encoder's log-odds for the text (label,) and for its sentences (sentence, label)."""
        found = {}
        for i, label in enumerate(LABELS):
            said = self.text * text[i] + self.sentence * max(each[i] for each in sentences) + self.bias[i]
            found[label] = 1.0 / (1.0 + math.exp(-said))
        return found
