"""PEARL on the dense semicircle: return of the fourth episode on held-out goals (case `pearl-dense`)."""

import math
import time
from dataclasses import asdict

import torch
from torch import Tensor

from reference_impls.pearl import Config, Encoder, Networks, evaluate, rollout, train
from reference_impls.tasks.semicircle import Semicircle

CASE = "pearl-dense"
UNIT = "return of episode 4 (mean over held-out goals)"
TEST_TASKS = 1000


@torch.no_grad()
def entropies(networks: Networks, family: Semicircle, tasks: Tensor, seed: int, episodes: int = 3) -> Tensor:
    """Return the belief's differential entropy in nats (task, transition + 1), from the prior to the last transition.

    The tasks (task, 2) are played as at test time: a z for each episode, the belief kept across episodes.
    """
    encoder, generator = networks.encoder, torch.Generator().manual_seed(seed)
    natural, factors = encoder.prior(len(tasks)), []
    for _ in range(episodes):
        episode, natural = rollout(networks, family, tasks, natural, generator)
        factors.append(encoder(episode.context()))
    prior = encoder.prior(len(tasks)).unsqueeze(1)
    growing = torch.cat(
        [prior, prior + torch.cat(factors, dim=1).cumsum(dim=1)], dim=1
    )  # (task, transition + 1, natural)
    return gaussian_entropy(encoder, growing)


def gaussian_entropy(encoder: Encoder, natural: Tensor) -> Tensor:
    """Return the differential entropy (...,) in nats of Gaussian beliefs (..., natural); it can be negative."""
    return 0.5 * (2.0 * math.pi * math.e * encoder.moments(natural)[1]).log().sum(dim=-1)


def run(seed: int) -> dict:
    """Train with one seed; the reference holds every episode, the unadapted control, random, oracle and the entropy."""
    torch.set_num_threads(1)
    start = time.process_time()
    family = Semicircle()
    config = Config.for_family(family, seed=seed)
    trained = train(config, family)
    training_seconds = time.process_time() - start
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
    entropy = entropies(trained.networks, family, tasks, seed)  # (task, transition + 1)
    reference |= {f"entropy_after_{n}": float(entropy[:, n].mean()) for n in (0, 1, 5, 20, 40, 60)}
    reference["largest_change_of_entropy"] = float(entropy.diff(dim=1).max())  # of any task at any transition: below 0
    return {
        "figure": returns[3],
        "cpu_seconds": training_seconds,
        "settings": {"test_tasks": TEST_TASKS, **asdict(config)},
        "reference": reference,
    }
