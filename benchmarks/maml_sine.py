"""MAML on sine regression: squared error on 2,000 unseen curves after one gradient step on 5 points of each."""

import time
from dataclasses import asdict, replace
from typing import Any

import torch

from reference_impls.maml_sine import Config, evaluate, train
from reference_impls.tasks.sine import Sine

CASE = "maml-sine"
UNIT = "mean squared error after one gradient step on 5 points"
STEPS = (1, 5, 10)
TEST_TASKS = 2000
VARIANTS = {  # what is trained beside the default settings
    "10 points": {"points": 10},
    "step sizes fixed, one inner step (the paper's algorithm)": {"learn_step_sizes": False, "inner_steps": 1},
    "pretrained on all curves": {"learn_step_sizes": False, "inner_steps": 0},
}
PAPER = {  # Finn et al. 2017, Table 2
    "paper, MAML": (0.67, 0.38, 0.35),
    "paper, pretrained on all curves": (2.41, 2.23, 2.19),
}


def run(seed: int) -> dict[str, Any]:
    """Train with 5 points, and each variant as long; `cpu_seconds` is the training with 5 points alone."""
    torch.set_num_threads(1)
    family, config = Sine(), Config(seed=seed)
    tasks = family.sample(TEST_TASKS, torch.Generator().manual_seed(10_000 + seed))
    reference: dict[str, float] = {"answer 0": float(family.zero_error(tasks).mean())}
    start = time.process_time()
    trained = train(config, family)
    seconds = time.process_time() - start
    errors = evaluate(trained, config, family, tasks, seed=20_000 + seed, steps=max(STEPS)).mean(0).tolist()
    reference["before adaptation"] = errors[0]
    reference |= {f"after {step} steps": errors[step] for step in STEPS[1:]}
    for name, changes in VARIANTS.items():
        varied = replace(config, **changes)
        scores = evaluate(train(varied, family), varied, family, tasks, seed=20_000 + seed, steps=max(STEPS)).mean(0)
        reference |= {f"{name}, after {step}": float(scores[step]) for step in STEPS}
    for name, figures in PAPER.items():
        reference |= {f"{name}, after {step}": figure for step, figure in zip(STEPS, figures, strict=True)}
    return {"figure": errors[1], "cpu_seconds": seconds, "settings": asdict(config), "reference": reference}
