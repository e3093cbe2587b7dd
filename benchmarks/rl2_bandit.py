"""RL² on Bernoulli bandits: how far from random to the exact Bayes optimum (10 pulls), and the return beside Gittins (100 pulls)."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch

from reference_impls import rl2
from reference_impls.tasks.bandit import Bandit

SHARE = "share of the way from random to the exact optimum, likeliest action"
RETURN = "return of a trial, drawn actions"
CASES = {
    "rl2-bandit-n10-k5": SHARE,
    "rl2-bandit-n10-k5-gru": SHARE,
    "rl2-bandit-n10-k10": SHARE,
    "rl2-bandit-n100-k5": RETURN,
    "rl2-bandit-n100-k5-teacher": "return of a trial, likeliest action, by imitation of the Gittins index",
    "rl2-bandit-n100-k10": RETURN,
}
GRU = {"core": "gru", "tasks": 1024, "entropy": 0.05}
LONG_TRIALS = {
    "tasks": 200,
    "growth": 0.5,
    "discount": 0.97,
    "gae_lambda": 0.95,
    "entropy": 0.08,
    "privileged": True,  # a pull that explores pays off so late that the luck of a hundred draws hides it otherwise
    "regret": True,  # and so do the riches of the task
}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {  # case -> budget -> what differs from the defaults of Config
    "rl2-bandit-n10-k5": {
        "short": {"iterations": 340},
        "long": {"iterations": 2500},
    },
    "rl2-bandit-n10-k5-gru": {"short": {**GRU, "iterations": 320}, "long": {**GRU, "iterations": 1100}},
    "rl2-bandit-n10-k10": {"short": {"iterations": 500}, "long": {"iterations": 2500}},
    "rl2-bandit-n100-k5": {
        "short": {**LONG_TRIALS, "iterations": 660},
        "long": {**LONG_TRIALS, "tasks": 400, "discount": 0.98, "iterations": 1800},
    },
    "rl2-bandit-n100-k5-teacher": {
        "short": {"tasks": 256, "teacher": 1.0, "iterations": 500},
        "long": {"tasks": 256, "teacher": 1.0, "iterations": 1500},
    },
    "rl2-bandit-n100-k10": {"short": {**LONG_TRIALS, "iterations": 1000}, "long": {**LONG_TRIALS, "iterations": 3000}},
}
TEST_TASKS = {10: 40_000, 100: 20_000}  # standard error: about 0.4 % of the share, and 0.1 of the return at 100 pulls


def run(case: str, seed: int, budget: str) -> dict[str, Any]:
    """Train once, score on held-out tasks by the mean reward of the chosen arms."""
    torch.set_num_threads(1)
    family = Bandit(arms=10 if "k10" in case else 5, pulls=100 if "n100" in case else 10)
    config = rl2.Config(seed=seed, episodes=family.pulls, **SETTINGS[case][budget])
    start = time.process_time()
    trained = rl2.train(config, family)
    training = time.process_time() - start
    generator = torch.Generator().manual_seed(seed + 1_000_000)
    tasks = family.sample(TEST_TASKS[family.pulls], generator)

    def score(returns: torch.Tensor) -> float:
        return returns.sum(1).mean().item()

    returns = {
        f"return, {name}": score(rl2.evaluate(trained, config, family, tasks, seed + 2_000_000, greedy=greedy))
        for name, greedy in (("likeliest action", True), ("drawn actions", False))
    }
    # Where exploring is still being learned, drawn actions do some of it.
    reached = returns["return, drawn actions" if CASES[case] == RETURN else "return, likeliest action"]
    reference = {
        **returns,
        "random": family.random_return(tasks, generator).mean().item() * family.pulls,
        "greedy": score(family.greedy_return(tasks, generator)),
        "gittins": score(family.gittins_return(tasks, generator)),
    }
    figure = reached
    if family.pulls == 10:
        reference["optimum"] = family.bayes_optimum()
        # Random on the same tasks above, for less noise; below its exact mean over the distribution.
        figure = (reached - reference["random"]) / (reference["optimum"] - family.pulls / 2)
    return {
        "figure": figure,
        "cpu_seconds": training,
        "settings": {**asdict(config), "budget": budget, "test_tasks": len(tasks)},
        "reference": reference,
    }
