"""What PEARL's departures for sparse rewards are worth, and its ablation of section 6.3 (case `pearl-ablation`).

Every variant changes one thing on the sparse semicircle and has half of the iterations of `pearl-sparse`, the whole
method included. The deterministic latent is the mean of the belief, in training and at test, without any KL term.
"""

import torch

from reference_impls.pearl import Config
from reference_impls.tasks.semicircle import Semicircle

from .pearl_sparse import play

CASE = "pearl-ablation"
UNIT = "sparse semicircle, deterministic latent: return of episode 10 over the oracle's"
VARIANTS: dict[str, dict[str, float]] = {
    "whole": {},
    "deterministic": {"deterministic": True, "kl_weight": 0.0, "calibration_weight": 0.0},
    "uncalibrated": {"calibration_weight": 0.0},
    "hints_for_most": {"hint_share": 0.85},
    "kl_from_the_start": {"kl_from": 0.0},
    "without_wandering": {"wander_episodes": 0, "initial_episodes": 80},
    "fixed_prior": {"learned_prior": False},
}


def run(seed: int) -> dict:
    """Train each variant with one seed; the reference holds the first, the fifth and the tenth episode of each."""
    iterations = Config.for_family(Semicircle(sparse=True)).iterations // 2
    torch.set_num_threads(1)
    reference: dict[str, float] = {}
    seconds = 0.0
    for name, changes in VARIANTS.items():
        found, settings = play(seed, iterations=iterations, **changes)
        reference |= {f"{name}_episode_{i}": found[f"episode_{i}"] for i in (1, 5, 10)}
        reference["oracle"] = found["oracle"]
        seconds += found["training_seconds"]
    return {
        "figure": reference["deterministic_episode_10"] / reference["oracle"],
        "cpu_seconds": seconds,
        "settings": {"variants": VARIANTS, **settings},
        "reference": reference,
    }
