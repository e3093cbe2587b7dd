"""The settings of an encoder's fine-tuning, apart from it so that they can be read without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of the fine-tuning."""

    epochs: int = 2
    batch: int = 32  # texts
    step_size: float = 2e-4  # of the layers, AdamW
    head_step_size: float = 1e-3
    warm_up: float = 0.1  # share of the steps in which the step size grows; it falls to zero after
    clause_weight: float = 0.5  # weight of a clause row beside a description
    verdict_weight: float = 1.0  # of the loss over verdicts, beside 1 for each fact
    belief_weight: float = 0.5  # of the loss over concerns and beliefs
    belief_positive: float = 5.0  # weight of a text that voices one: few do
    label_smoothing: float = 0.05
    dropout: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0
