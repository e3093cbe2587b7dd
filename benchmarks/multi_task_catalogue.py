"""Return with the task id on the 10 tasks of the catalogue, and what the controls reach on the same environment steps."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch

from reference_impls.multi_task import Config, evaluate, train
from reference_impls.tasks.catalogue import Catalogue

CASE = "multi-task-catalogue"
UNIT = "undiscounted return per episode, mean over the 10 known tasks"


def run(seed: int) -> dict[str, Any]:
    """Train and evaluate one seed; `cpu_seconds` covers the policy with the id, the controls are not counted."""
    torch.set_num_threads(1)
    family = Catalogue()
    tasks, generator = family.catalogue(), torch.Generator().manual_seed(seed)

    def returns(config: Config) -> torch.Tensor:
        return evaluate(train(config, family), config, family, tasks, seed)  # (task, 1)

    config = Config(seed=seed)
    start = time.process_time()
    with_id = returns(config)
    cpu_seconds = time.process_time() - start
    return {
        "figure": with_id.mean().item(),
        "cpu_seconds": cpu_seconds,
        "settings": asdict(config),
        "reference": {
            "oracle": family.oracle_return(tasks, generator).mean().item(),
            "random": family.random_return(tasks, generator).mean().item(),
            "worst task": with_id.min().item(),
            "id hidden": returns(Config(seed=seed, task_id=False)).mean().item(),
            "separate networks": returns(Config(seed=seed, separate=True)).mean().item(),
        },
    }
