"""MAML on 2D navigation: return on 200 unseen goals after one gradient step.

Sampling policy; reward = minus distance, so that the paper's table compares (see the docstring of the family).
"""

import math
import time
from dataclasses import asdict
from statistics import mean
from typing import Any

import torch

from reference_impls.maml import Config, evaluate, init, train
from reference_impls.tasks.navigation import Navigation

CASE = "maml-nav"
UNIT = "undiscounted return per episode after one gradient step"
ITERATIONS = 80  # about 40 CPU seconds
TEST_TASKS = 200
WINDOW = 5  # iterations whose mean is the return underway; each plays goals drawn anew, so these are unseen, too


def run(seed: int) -> dict[str, Any]:
    """Train with the default settings, but longer, and measure; `cpu_seconds` is the training alone."""
    torch.set_num_threads(1)
    config, family = Config(seed=seed, iterations=ITERATIONS), Navigation()
    underway: list[tuple[float, float]] = []  # CPU seconds of training, return after the step
    start = time.process_time()
    trained = train(config, family, lambda done, total, value: underway.append((time.process_time() - start, value)))
    seconds = time.process_time() - start

    def reached(limit: float) -> float:
        """Mean return after adaptation of the last iterations within so many CPU seconds."""
        return mean([value for at, value in underway if at <= limit][-WINDOW:])

    generator = torch.Generator().manual_seed(10_000 + seed)
    tasks = family.sample(TEST_TASKS, generator)
    returns = evaluate(trained, config, family, tasks, seed=20_000 + seed)  # (task, step)
    means = returns.mean(dim=0).tolist()
    scratch = evaluate(init(config, family), config, family, tasks, seed=20_000 + seed, steps=1)
    off = evaluate(trained, config, family, family.shifted(TEST_TASKS, generator), seed=20_000 + seed, steps=1)
    return {
        "figure": means[1],
        "cpu_seconds": seconds,
        "settings": asdict(config),
        "reference": {
            "random": float(family.random_return(tasks, generator).mean()),
            "before adaptation": means[0],
            "gain of the step": means[1] - means[0],
            "in training, within 10 CPU seconds": reached(10),
            "in training, within 30 CPU seconds": reached(30),
            "after 2 steps": means[2],
            "after 3 steps": means[3],
            "untrained, after 1 step": float(scratch[:, 1].mean()),
            "goals off the distribution, after 1 step": float(off[:, 1].mean()),
            "oracle": float(family.oracle_return(tasks, generator).mean()),
            "paper (Finn et al. 2017, Table 4), after 1 step": -11.68,
            "standard error": float(returns[:, 1].std()) / math.sqrt(TEST_TASKS),
            "steps per CPU second": trained.steps / seconds,
        },
    }
