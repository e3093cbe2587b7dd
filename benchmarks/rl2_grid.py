"""RL² on grids and random mazes with a hidden goal: how many steps each episode of a trial takes, beside the shortest way."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch

from reference_impls import rl2
from reference_impls.tasks.grid import Grid
from reference_impls.tasks.maze import Maze

CASES = {
    "rl2-grid": "steps of episode 3 over those of the shortest way, time-outs counted in full",
    "rl2-maze": "steps of episode 3 in 5x5 mazes, time-outs counted in full",
}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "rl2-grid": {"short": {"iterations": 400}, "long": {"iterations": 1500}},
    "rl2-maze": {"short": {"iterations": 300}, "long": {"iterations": 2000}},
}
COMMON: dict[str, Any] = {
    "episodes": 3,
    "tasks": 256,
    "hidden": 64,
    "learning_rate": 5e-3,
    "discount": 0.97,
    "gae_lambda": 0.9,
    "entropy": 0.05,
    "value_weight": 0.1,
}
TEST_TASKS = 10_000


def one(family: Grid | Maze, seed: int, settings: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any], float]:
    """Figures by name, settings, and CPU seconds of training in one family."""
    size = family.observation_size  # a key with room for every place, a value with room for most of an event
    config = rl2.Config(seed=seed, key=size, value=2 * size + 4, **COMMON, **settings)
    start = time.process_time()
    trained = rl2.train(config, family)
    training = time.process_time() - start
    generator = torch.Generator().manual_seed(seed + 1_000_000)
    tasks = family.sample(TEST_TASKS, generator)
    returns = rl2.evaluate(trained, config, family, tasks, seed + 2_000_000)
    steps, success = family.steps_and_success(returns)
    # Episode 3 with the memory cleared at every step: what the same weights do unadapted.
    forgetting = family.steps_and_success(
        rl2.evaluate(trained, config, family, tasks, seed + 2_000_000, greedy=False, forget=True)
    )[0]
    figures = {
        **{f"steps of episode {i + 1}": steps[:, i].mean().item() for i in range(3)},
        **{f"success of episode {i + 1}": success[:, i].double().mean().item() for i in range(3)},
        "steps unadapted": forgetting.mean().item(),
        "shortest": family.shortest(tasks).mean().item(),
        "return of episode 3": returns[:, 2].mean().item(),
        "random return": family.random_return(tasks, generator).mean().item(),
        "oracle return": family.oracle_return(tasks, generator).mean().item(),
    }
    return figures, {**asdict(config), "test_tasks": TEST_TASKS}, training


def run(case: str, seed: int, budget: str) -> dict[str, Any]:
    """Train once a family, score the likeliest action on held-out tasks."""
    torch.set_num_threads(1)
    settings = SETTINGS[case][budget]
    if case == "rl2-grid":
        reference, used, training = one(Grid(), seed, settings)
        figure = reference["steps of episode 3"] / reference["shortest"]
    else:
        reference, training = {}, 0.0
        for family in (Maze(4, 16), Maze(5, 25)):
            figures, used, seconds = one(family, seed, settings)
            training += seconds
            reference |= {f"{family.size}x{family.size} {name}": value for name, value in figures.items()}
        figure = reference["5x5 steps of episode 3"]
    return {
        "figure": figure,
        "cpu_seconds": training,
        "settings": {**used, "budget": budget},
        "reference": reference,
    }
