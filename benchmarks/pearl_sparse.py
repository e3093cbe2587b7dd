"""PEARL on the sparse semicircle: the tenth episode on held-out goals over the oracle (case `pearl-sparse`)."""

import time
from dataclasses import asdict

import torch

from reference_impls.pearl import Config, evaluate, train
from reference_impls.tasks.semicircle import Semicircle

CASE = "pearl-sparse"
UNIT = "return of episode 10 over the oracle's (mean over held-out goals)"
TEST_TASKS = 1000
EPISODES = 10


def play(seed: int, **changes: float) -> tuple[dict[str, float], dict]:
    """Train with one seed and `changes` of the settings; return what came out, by name, and the settings."""
    torch.set_num_threads(1)
    start = time.process_time()
    family = Semicircle(sparse=True)
    config = Config.for_family(family, seed=seed, **changes)
    trained = train(config, family)
    seconds = time.process_time() - start
    generator = torch.Generator().manual_seed(10_000 + seed)  # held-out goals
    tasks = family.sample(TEST_TASKS, generator)
    each = evaluate(trained, config, family, tasks, seed, EPISODES, greedy=False)  # (task, episode)
    found = {f"episode_{i}": figure for i, figure in enumerate(each.mean(dim=0).tolist(), start=1)}
    found |= {
        "episode_10_over_episode_1": found["episode_10"] / found["episode_1"],
        "rewarded_in_episode_10": float((each[:, -1] > 0.0).float().mean()),
        "greedy_episode_10": float(evaluate(trained, config, family, tasks, seed, EPISODES)[:, -1].mean()),
        "unadapted": float(
            evaluate(trained, config, family, tasks, seed, EPISODES, adapt=False, greedy=False)[:, -1].mean()
        ),
        "random": float(family.random_return(tasks, generator).mean()),
        "oracle": float(family.oracle_return(tasks, generator).mean()),
        "training_seconds": seconds,
    }
    return found, {"test_tasks": TEST_TASKS, **asdict(config)}


def run(seed: int) -> dict:
    """Train with one seed; the reference holds every episode, the unadapted control, random and the exact oracle."""
    found, settings = play(seed)
    seconds = found.pop("training_seconds")
    return {
        "figure": found["episode_10"] / found["oracle"],
        "cpu_seconds": seconds,
        "settings": settings,
        "reference": found,
    }
