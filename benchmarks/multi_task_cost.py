"""What a gradient step costs with each mitigation, against plain training on the same 10 tasks (case `multi-task-cost`).

The trainings take turns, step by step, so that whatever else the machine does slows all of them alike; medians of CPU seconds.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from reference_impls.mitigations import Learner
from reference_impls.multi_task import MLP, Batch, Config, Twin, update

CASE = "multi-task-cost"
UNIT = "CPU seconds of a step with PCGrad over those of a plain one"
TASKS, STEPS = 10, 100
TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "PCGrad": {"surgery": True},
    "GradNorm": {"balance": "gradnorm"},
    "weights by inverse loss": {"balance": "inverse_loss"},
    "heads": {"heads": True},
    "mixture of 4": {"experts": 4},
    "width 128": {"hidden": (128, 128)},
}


def step_of(seed: int, **changes: Any) -> Callable[[], None]:
    """One gradient step of critic and actor on a fixed batch of 10 tasks."""
    config, generator = Config(seed=seed, **changes), torch.Generator().manual_seed(seed)
    actor = Learner(MLP(2, 4, config, TASKS, generator), config, TASKS)
    critic = Learner(Twin(4, config, TASKS, generator), config, TASKS)
    rows = (TASKS, config.batch)
    wide = [torch.randn(*rows, 2, generator=generator) for _ in range(3)]
    batch = Batch(wide[0], wide[1].tanh(), torch.randn(rows, generator=generator), wide[2], torch.zeros(rows))
    target = copy.deepcopy(critic.network)
    return lambda: update(actor, critic, target, batch, torch.arange(TASKS), config, generator)


def run(seed: int) -> dict[str, Any]:
    """Medians of `STEPS` steps of each."""
    torch.set_num_threads(1)
    begin = time.process_time()
    steps = {name: step_of(seed, **changes) for name, changes in TRAININGS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(STEPS):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    medians = {name: median(values) for name, values in seconds.items()}
    return {
        "figure": medians["PCGrad"] / medians["plain"],
        "cpu_seconds": time.process_time() - begin,
        "settings": asdict(Config()) | {"tasks": TASKS},
        "reference": {f"{name} over plain": value / medians["plain"] for name, value in medians.items()}
        | {"plain, ms": 1000 * medians["plain"]},
    }
