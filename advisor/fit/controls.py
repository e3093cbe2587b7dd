"""The plain rivals: each gets the environment steps and the adaptation data of the recommended, and chooses its settings on training tasks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .families import KNOWN_TASKS
from .train import (
    TUNING,
    Job,
    Outcome,
    Returns,
    family_of,
    fine_tuned,
    implementation,
    multi_task,
    off_distribution,
    on_test_sets,
    rl2,
    stages,
    trained_on,
)


def hidden(job: Job) -> Outcome:
    """Multi-task training that is not told the task."""
    return multi_task(job, "hidden", task_id=False)


def separate(job: Job) -> Outcome:
    """A network for each task."""
    return multi_task(job, "separate", separate=True)


def memoryless(job: Job) -> Outcome:
    """Multi-task training of a policy without memory."""
    return rl2(job, memory=False)


def scratch(job: Job) -> Outcome:
    """An untrained policy that takes the same gradient steps on as many episodes."""
    algorithm, family = implementation("maml"), family_of(job)
    config = algorithm.Config(seed=job.seed, episodes=job.test["episodes"], **job.settings)
    return fine_tuned(job, algorithm, algorithm.init(config, family), config, family)


def pretrained(job: Job) -> Outcome:
    """One policy for all tasks, trained without adaptation and then fine-tuned on each."""
    algorithm, family = implementation("maml"), family_of(job)
    config = algorithm.Config(seed=job.seed, episodes=job.test["episodes"], **job.settings)
    trained, learning = trained_on(algorithm, config, family)
    granted = config.iterations * config.tasks * config.episodes * family.horizon
    found = fine_tuned(job, algorithm, trained, config, family)
    return replace(found, environment_steps=granted, learning=learning)


def dictionary(job: Job) -> Outcome:
    """Policies for some known tasks, tried one an episode on the new one; the last episode plays the best again."""
    import torch

    algorithm, family = implementation("multi_task"), family_of(job, continuous=True)
    config = algorithm.Config(seed=job.seed, **job.settings)
    known = family.sample(KNOWN_TASKS, torch.Generator().manual_seed(TUNING + job.seed))
    trained, learning = trained_on(algorithm, config, family, known)
    tried = min(job.adapt, KNOWN_TASKS)
    order = best_order(stages(algorithm.try_each(trained, config, family, known, TUNING + job.seed)), tried)

    def play(family: Any, tasks: Any, seed: int) -> Any:
        returns = algorithm.try_each(trained, config, family, tasks, seed)[:, order]  # (task, try)
        best = torch.tensor(order)[returns.argmax(1)]  # the id to keep, (task,)
        again = algorithm.evaluate(
            trained, config, family, tasks, seed + 1, best
        )  # anew: the best of noisy tries was lucky, too
        return torch.cat([returns, again], 1)

    returns = on_test_sets(job, family, "tried", play)
    return Outcome(returns, trained.environment_steps, learning, off_distribution(job, family, play))


def best_order(returns: Returns, length: int) -> list[int]:
    """The first `length` ids to try, from returns (id, task) on training tasks: each adds most to the best found so far (greedy)."""
    order: list[int] = []
    best = np.full(returns.shape[1], -np.inf)
    for _ in range(min(length, len(returns))):
        rest = [i for i in range(len(returns)) if i not in order]
        order.append(max(rest, key=lambda i: float(np.maximum(best, returns[i]).mean())))
        best = np.maximum(best, returns[order[-1]])
    return order


CONTROLS: dict[str, Callable[[Job], Outcome]] = {
    "multi_task_hidden": hidden,
    "multi_task_separate": separate,
    "rl2_memoryless": memoryless,
    "maml_scratch": scratch,
    "maml_pretrained": pretrained,
    "dictionary": dictionary,
}
