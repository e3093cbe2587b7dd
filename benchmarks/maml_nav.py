"""MAML on 2D navigation: return on 200 unseen goals after one gradient step.

Sampling policy; reward = minus distance, so that the paper's table compares (see the docstring of the family).
"""

import math
import time
from dataclasses import asdict
from typing import Any

import torch

from reference_impls.maml import Config, evaluate, init, train
from reference_impls.tasks.navigation import Navigation

CASE = "maml-nav"
UNIT = "undiscounted return per episode after one gradient step"
TEST_TASKS = 200


def run(seed: int) -> dict[str, Any]:
    """Train with the default settings and measure; `cpu_seconds` is the training alone."""
    torch.set_num_threads(1)
    config, family = Config(seed=seed), Navigation()
    start = time.process_time()
    trained = train(config, family)
    seconds = time.process_time() - start

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
            "after 2 steps": means[2],
            "after 3 steps": means[3],
            "untrained, after 1 step": float(scratch[:, 1].mean()),
            "goals off the distribution, after 1 step": float(off[:, 1].mean()),
            "oracle": float(family.oracle_return(tasks, generator).mean()),
            "paper (Finn et al. 2017, Table 4), after 1 step": -11.68,
        },
        "standard_error": float(returns[:, 1].std()) / math.sqrt(TEST_TASKS),
        "steps_per_cpu_second": trained.steps / seconds,
    }
