"""PEARL on the dense semicircle: return of the fourth episode on held-out goals (case `pearl-dense`)."""

import time
from dataclasses import asdict

import torch

from reference_impls.pearl import Config, evaluate, train
from reference_impls.tasks.semicircle import Semicircle

CASE = "pearl-dense"
UNIT = "return of episode 4 (mean over held-out goals)"
TEST_TASKS = 1000


def run(seed: int) -> dict:
    """Train with one seed; the reference holds every episode, the unadapted control, random, and the exact oracle."""
    torch.set_num_threads(1)
    start = time.process_time()
    family = Semicircle()
    config = Config.for_family(family, seed=seed)
    trained = train(config, family)
    generator = torch.Generator().manual_seed(10_000 + seed)  # held-out goals
    tasks = family.sample(TEST_TASKS, generator)
    returns = evaluate(trained, config, family, tasks, seed).mean(dim=0).tolist()
    unadapted = evaluate(trained, config, family, tasks, seed, adapt=False)[:, -1]
    off_distribution = family.shifted(TEST_TASKS, generator)
    reference = {f"episode_{i}": figure for i, figure in enumerate(returns, start=1)}
    reference |= {
        "unadapted": float(unadapted.mean()),
        "shifted_episode_4": float(evaluate(trained, config, family, off_distribution, seed)[:, -1].mean()),
        "random": float(family.random_return(tasks, generator).mean()),
        "oracle": float(family.oracle_return(tasks, generator).mean()),
    }
    return {
        "figure": returns[3],
        "cpu_seconds": time.process_time() - start,
        "settings": {"test_tasks": TEST_TASKS, **asdict(config)},
        "reference": reference,
    }
