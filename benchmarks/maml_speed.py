"""MAML on 2D navigation: environment steps per CPU second, rollouts and meta-gradient together, and where the time goes."""

import time
from dataclasses import asdict, replace
from typing import Any

import torch

from reference_impls.maml import Config, collect, init, per_task, train
from reference_impls.tasks.navigation import Navigation

from .maml_products import meta_gradient, products, seconds_of

CASE = "maml-speed"
UNIT = "environment steps per CPU second, meta-gradient included"
ITERATIONS = (
    10  # the last ones of which are still short of the goal, so that no episode ends early and makes it look slow
)


def run(seed: int) -> dict[str, Any]:
    """Time some iterations with the default settings, and one rollout and the bare matrix products by themselves."""
    torch.set_num_threads(1)
    config, family = Config(seed=seed, iterations=ITERATIONS), Navigation()
    train(replace(config, iterations=1), family)  # what the first call sets up does not count
    start = time.process_time()
    trained = train(config, family)
    seconds = time.process_time() - start
    first = time.process_time()
    without = train(replace(config, first_order=True), family)
    first_order = without.steps / (time.process_time() - first)

    generator = torch.Generator().manual_seed(seed)
    tasks = family.sample(config.tasks, generator)
    own = per_task(init(config, family).params, config.tasks)
    played = seconds_of(lambda: collect(own, config, family, tasks, generator), 5)
    rows, sizes = config.episodes * family.horizon, (family.observation_size, *config.hidden, family.action_size)
    floor = config.outer_epochs * seconds_of(products(meta_gradient(config.tasks, rows, sizes)), 5)
    iteration = seconds / config.iterations
    return {
        "figure": trained.steps / seconds,
        "cpu_seconds": seconds,
        "settings": asdict(config),
        "reference": {
            "first order": first_order,
            "seconds of an iteration": iteration,
            "seconds of its rollouts, baseline and advantages": 2 * played,
            "floor: seconds of the matrix products of its meta-gradients": floor,
            "meta-gradients and updates over the floor": (iteration - 2 * played) / floor,
        },
        "ratio": iteration / floor,
    }
