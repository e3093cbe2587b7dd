"""RL² on Bernoulli bandits with 5 arms and 10 pulls: how far from random to the exact Bayes optimum."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch

from reference_impls import rl2
from reference_impls.tasks.bandit import Bandit

CASE = "rl2-bandit-n10-k5"
UNIT = "share of the way from random to the exact optimum"
TEST_TASKS = 100_000  # the standard error of the share is then about 0.3 %


def run(seed: int) -> dict[str, Any]:
    """Train once, score the likeliest action on held-out tasks by the mean reward of the chosen arms.

    `cpu_seconds` is the whole run, evaluation included, on one thread.
    """
    torch.set_num_threads(1)
    family = Bandit(arms=5, pulls=10)
    config = rl2.Config(seed=seed, episodes=family.pulls)
    start = time.process_time()
    trained = rl2.train(config, family)
    training = time.process_time() - start
    generator = torch.Generator().manual_seed(seed + 1_000_000)
    tasks = family.sample(TEST_TASKS, generator)
    reached = rl2.evaluate(trained, config, family, tasks, seed + 2_000_000).sum(1).mean().item()
    random = family.random_return(tasks, generator).mean().item() * family.pulls
    optimum = family.bayes_optimum()
    chance = family.pulls / 2  # exact mean of random over the distribution
    return {
        "figure": (reached - random) / (optimum - chance),  # against random on the same tasks: less noise
        "cpu_seconds": time.process_time() - start,
        "unit": UNIT,
        "settings": {**asdict(config), "test_tasks": TEST_TASKS, "training_cpu_seconds": training},
        "reference": {
            "return": reached,
            "random": random,
            "greedy": family.greedy_return(tasks, generator).sum(1).mean().item(),
            "optimum": optimum,
            "oracle": family.oracle_return(tasks, generator).mean().item() * family.pulls,
        },
    }
