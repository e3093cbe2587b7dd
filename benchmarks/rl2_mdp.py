"""RL² on the random tabular MDPs of its paper: return of a whole trial of 10 or 25 episodes, beside planners that keep a posterior."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch

from reference_impls import rl2
from reference_impls.tasks.mdp import TabularMDP

UNIT = "return of a trial, drawn actions"
CASES = {"rl2-mdp-n10": UNIT, "rl2-mdp-n25": UNIT}
PAPER = {10: {"paper RL²": 156.2, "paper PSRL": 138.1}, 25: {"paper RL²": 445.7, "paper PSRL": 408.8}}  # its Table 2
BONUS = {10: 0.6, 25: 1.0}  # posterior deviations; the best of 0, 0.3, 0.6 and 1 on other tasks
SETTINGS: dict[str, Any] = {
    "hidden": 64,
    "key": 10,  # one for each state
    "learning_rate": 3e-3,
    "discount": 0.97,
    "gae_lambda": 0.9,
    "entropy": 0.03,
}
OF_EPISODES: dict[int, dict[str, Any]] = {
    10: {"tasks": 256, "value_weight": 0.002, "reward_shift": 1.0},  # the shift is the mean of the distribution
    # Trials grow from 10 episodes; the shift is about what a good policy gets, so that values stay small.
    25: {
        "tasks": 144,
        "growth": 0.5,
        "discount": 0.98,
        "critic_apart": True,
        "value_weight": 0.5,
        "reward_shift": 1.75,
    },
}
ITERATIONS = {10: {"short": 180, "long": 600}, 25: {"short": 740, "long": 2400}}
TEST_TASKS = 4000  # the standard error is then about 0.4 at 10 episodes and 1 at 25


def run(case: str, seed: int, budget: str) -> dict[str, Any]:
    """Train once, score on held-out MDPs by mean rewards."""
    torch.set_num_threads(1)
    family, episodes = TabularMDP(), int(case.removeprefix("rl2-mdp-n"))
    config = rl2.Config(
        seed=seed, episodes=episodes, iterations=ITERATIONS[episodes][budget], **{**SETTINGS, **OF_EPISODES[episodes]}
    )
    start = time.process_time()
    trained = rl2.train(config, family)
    training = time.process_time() - start
    generator = torch.Generator().manual_seed(seed + 1_000_000)
    tasks = family.sample(TEST_TASKS, generator)
    reached = rl2.evaluate(trained, config, family, tasks, seed + 2_000_000, greedy=False).sum(1).mean().item()
    some = tasks[:1000]  # planning is slow; the standard error of these two is twice that of the figure
    return {
        "figure": reached,
        "cpu_seconds": training,
        "settings": {**asdict(config), "budget": budget, "test_tasks": TEST_TASKS},
        "reference": {
            "random": family.random_return(tasks, generator).mean().item() * episodes,
            "PSRL": family.posterior_return(some, generator, episodes).sum(1).mean().item(),
            "posterior mean with bonus": family.posterior_return(some, generator, episodes, BONUS[episodes])
            .sum(1)
            .mean()
            .item(),
            "oracle": family.oracle_return(tasks, generator).mean().item() * episodes,
            **PAPER[episodes],
        },
    }
