"""One training = one job: a plain function of picklable data, so that any executor can run it and the result never depends on which.

Torch and the reference implementations are imported inside, in the worker. Each training returns its outcomes: the returns (stage, task) of
one or more candidates on the held-out tasks of its seed, which are the same for all trainings of that seed.
"""

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Returns = NDArray[np.float64]  # (stage, task), undiscounted
HELD_OUT = 10_000  # added to the seed, so that test tasks and training tasks never come from the same stream
TUNING = 20_000  # the same for the training tasks on which step sizes and the like are chosen
TUNING_TASKS = 20
STEP_SIZES = (0.03, 0.1, 0.3, 1.0)  # of the gradient steps at test time, to choose from


@dataclass(frozen=True)
class Job:
    """What a worker needs to know. `test` says how to adapt; `tasks` 0 tests on all of the family's catalogue."""

    training: str
    family: str  # module:class under reference_impls.tasks
    family_settings: Mapping[str, Any]
    settings: Mapping[str, Any]  # of the algorithm's Config
    test: Mapping[str, Any]
    tasks: int
    seed: int
    test_sets: tuple[str, ...] = ("held_out",)


@dataclass(frozen=True)
class Outcome:
    """What a job brought: returns (stage, task) by outcome name, and what it took."""

    returns: Mapping[str, Returns]
    environment_steps: int  # of training, not of adapting
    learning: tuple[float, ...] = ()  # mean return of an episode after each iteration of the training
    cpu_seconds: float = field(default=0.0, compare=False)


def implementation(name: str) -> Any:
    """The module of a reference implementation, plain torch and so untyped here."""
    return importlib.import_module(f"reference_impls.{name}")


def family_of(job: Job) -> Any:
    """The job's task family."""
    module, name = job.family.split(":")
    return getattr(implementation(f"tasks.{module}"), name)(**job.family_settings)


def test_tasks(job: Job, family: Any, which: str = "held_out") -> Any:
    """The tasks (task, parameter) tested on: the catalogue, or `job.tasks` new ones of the distribution or `shifted` off it."""
    import torch

    if job.tasks == 0:
        return family.catalogue()
    generator = torch.Generator().manual_seed(HELD_OUT + job.seed)
    return (family.shifted if which == "shifted" else family.sample)(job.tasks, generator)


def run(job: Job) -> Outcome:
    """Trains and tests one job on one thread. CPU seconds are those of the process, so they ask for one job a process at a time."""
    import torch

    from .controls import CONTROLS

    torch.set_num_threads(1)
    start = time.process_time()
    outcome = {**TRAININGS, **CONTROLS}[job.training](job)
    return replace(outcome, cpu_seconds=time.process_time() - start)


def stages(returns: Any) -> Returns:
    """A tensor (task, stage) as an array (stage, task)."""
    return np.asarray(returns.detach().numpy().T, dtype=np.float64)


def trained_on(algorithm: Any, config: Any, family: Any, *tasks: Any) -> tuple[Any, tuple[float, ...]]:
    """What `algorithm.train` gives, and its learning curve: the figure that it tells after each iteration."""
    told: list[float] = []
    trained = algorithm.train(config, family, *tasks, progress=lambda done, total, figure: told.append(float(figure)))
    return trained, tuple(told)


def multi_task(job: Job, outcome: str = "known", **options: Any) -> Outcome:
    """One policy for the whole catalogue."""
    algorithm, family = implementation("multi_task"), family_of(job)
    config = algorithm.Config(seed=job.seed, **job.settings, **options)
    trained, learning = trained_on(algorithm, config, family)
    returns = algorithm.evaluate(trained, config, family, test_tasks(job, family), HELD_OUT + job.seed)
    return Outcome({outcome: stages(returns)}, trained.environment_steps, learning)


def maml(job: Job) -> Outcome:
    """MAML after 0 to `steps` gradient steps."""
    algorithm, family = implementation("maml"), family_of(job)
    config = algorithm.Config(seed=job.seed, episodes=job.test["episodes"], **job.settings)
    trained, learning = trained_on(algorithm, config, family)
    returns = fine_tune(job, algorithm, trained, config, family)
    return Outcome({"adapted": returns, "unadapted": returns[:1]}, trained.steps, learning)


def fine_tune(job: Job, algorithm: Any, trained: Any, config: Any, family: Any) -> Returns:
    """Returns (stage, task) on the test tasks with the step size that is best on tasks drawn for training; alike for MAML and its rivals."""
    import torch

    seen = family.sample(TUNING_TASKS, torch.Generator().manual_seed(TUNING + job.seed))

    def adapted(tasks: Any, seed: int, step_size: float) -> Any:
        return algorithm.evaluate(trained, config, family, tasks, seed, job.test["steps"], step_size=step_size)

    best = max(STEP_SIZES, key=lambda size: float(adapted(seen, TUNING + job.seed, size)[:, -1].mean()))
    return stages(adapted(test_tasks(job, family), HELD_OUT + job.seed, best))


def rl2(job: Job, **options: Any) -> Outcome:
    """RL² over a whole trial, with its memory and with the memory cleared at every step."""
    algorithm, family = implementation("rl2"), family_of(job)
    config = algorithm.Config(seed=job.seed, **job.settings, **options)
    trained, learning = trained_on(algorithm, config, family)
    tasks = test_tasks(job, family)
    returns = {
        name: stages(algorithm.evaluate(trained, config, family, tasks, HELD_OUT + job.seed, forget=forget))
        for name, forget in (("remembering", False), ("forgetting", True))
    }
    return Outcome(returns, config.iterations * config.tasks * config.episodes * family.horizon, learning)


def pearl(job: Job) -> Outcome:
    """PEARL over its episodes, with its posterior, with the belief held at the prior and, where asked for, on shifted tasks."""
    algorithm, family = implementation("pearl"), family_of(job)
    config = algorithm.Config.for_family(family, seed=job.seed, **job.settings)
    trained, learning = trained_on(algorithm, config, family)

    def episodes(which: str, adapt: bool) -> Returns:
        tasks = test_tasks(job, family, which)
        return stages(
            algorithm.evaluate(trained, config, family, tasks, HELD_OUT + job.seed, job.test["episodes"], adapt)
        )

    returns = {"believing": episodes("held_out", True), "unadapted": episodes("held_out", False)}
    if "shifted" in job.test_sets:
        returns["shifted"] = episodes("shifted", True)
    per_task = config.initial_episodes + config.iterations * (1 + config.posterior_episodes)
    return Outcome(returns, config.train_tasks * per_task * family.horizon, learning)


def references(job: Job) -> Outcome:
    """Random policy, oracle (or exact optimum) and what else the family knows, on each test set: `random`, `shifted/random`, ..."""
    import torch

    family = family_of(job)
    returns = {}
    for which in job.test_sets:
        tasks, generator = test_tasks(job, family, which), torch.Generator().manual_seed(job.seed)
        prefix = "" if which == "held_out" else f"{which}/"
        returns[f"{prefix}random"] = stages(family.random_return(tasks, generator)[:, None])
        if hasattr(family, "pulls"):  # what can't be known has no place in the oracle: the exact optimum, a pull
            best = torch.full((len(tasks), 1), family.bayes_optimum() / family.pulls)
            returns[f"{prefix}greedy"] = stages(family.greedy_return(tasks, generator))
        else:
            best = family.oracle_return(tasks, generator)[:, None]
        returns[f"{prefix}oracle"] = stages(best)
    return Outcome(returns, 0)


TRAININGS: dict[str, Callable[[Job], Outcome]] = {
    "multi_task": multi_task,
    "maml": maml,
    "rl2": rl2,
    "pearl": pearl,
    "references": references,
}
