"""One training = one job: a plain function of picklable data, so that any executor can run it and the result never depends on which.

Torch and the reference implementations are imported inside, in the worker. Each training returns its outcomes: the returns (stage, task) of
one or more candidates on the held-out tasks of its seed, which are the same for all trainings of that seed.
"""

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import concerns as diagnosis
from . import shift
from .families import BELIEVED
from .shift import Measured, Play

Returns = NDArray[np.float64]  # (stage, task), undiscounted
HELD_OUT = 10_000  # added to the seed, so that test tasks and training tasks never come from the same stream
TUNING = 20_000  # the same for the training tasks on which step sizes and the like are chosen
TUNING_TASKS = 20
WIDTHS = (0.5, 1.0)  # to which the training distribution is widened where a shift is expected
REPEATS = 4  # episodes behind the return of a policy that doesn't adapt: families may be noisy
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
    shift: Mapping[str, Any] = field(default_factory=dict)  # arguments of shift.measure; empty: nothing is moved
    concerns: Mapping[str, Any] = field(default_factory=dict)  # arguments of concerns.measured, for that training alone

    @property
    def adapt(self) -> int:
        """Episodes to adapt in before the one that is scored."""
        return int(self.test.get("episodes", 0) * self.test.get("steps", 1))


@dataclass(frozen=True)
class Outcome:
    """What a job brought: returns (stage, task) by outcome name, and what it took."""

    returns: Mapping[str, Returns]
    environment_steps: (
        int  # granted to the training, not to adapting; an episode that ends early leaves its rest unused
    )
    learning: tuple[float, ...] = ()  # mean return of an episode after each iteration of the training
    shifted: Measured = field(default_factory=dict)  # what shift.measure found
    concerns: Mapping[str, float] = field(default_factory=dict)  # what concerns.measured found
    cpu_seconds: float = field(default=0.0, compare=False)


def implementation(name: str) -> Any:
    """The module of a reference implementation, plain torch and so untyped here."""
    return importlib.import_module(f"reference_impls.{name}")


def family_of(job: Job, continuous: bool = False) -> Any:
    """The job's task family; with `continuous`, one of discrete actions is played by scores."""
    module, name = job.family.split(":")
    family = getattr(implementation(f"tasks.{module}"), name)(**job.family_settings)
    return implementation("tasks.scores").Scores(family) if continuous and family.discrete else family


def test_tasks(job: Job, family: Any, which: str = "held_out") -> Any:
    """The tasks (task, parameter) tested on: the catalogue, or `job.tasks` new ones of the distribution or `shifted` off it."""
    import torch

    if job.tasks == 0:
        return family.catalogue()
    generator = torch.Generator().manual_seed(HELD_OUT + job.seed)
    return (family.shifted if which == "shifted" else family.sample)(job.tasks, generator)


def on_test_sets(job: Job, family: Any, outcome: str, play: Play) -> dict[str, Returns]:
    """Returns (stage, task) on each set of test tasks, `outcome` on the held-out ones and "shifted" off the distribution."""
    names = {"held_out": outcome, "shifted": "shifted"}
    return {names[s]: stages(play(family, test_tasks(job, family, s), HELD_OUT + job.seed)) for s in job.test_sets}


def off_distribution(job: Job, family: Any, play: Play) -> Measured:
    """What a trained agent does on moved tasks, where the job asks for it."""
    return shift.measure(family, play, seed=job.seed, **job.shift) if job.shift else {}


def run(job: Job) -> Outcome:
    """Trains and tests one job on one thread. CPU seconds are those of the process, so they ask for one job a process at a time."""
    import torch

    from .controls import CONTROLS
    from .in_context import TRAININGS as IN_CONTEXT

    torch.set_num_threads(1)
    start = time.process_time()
    outcome = {**TRAININGS, **CONTROLS, **IN_CONTEXT}[job.training](job)
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
    algorithm, family = implementation("multi_task"), family_of(job, continuous=True)
    config = algorithm.Config(seed=job.seed, **job.settings, **options)
    trained, learning = trained_on(algorithm, config, family)

    def play(family: Any, tasks: Any, seed: int) -> Any:
        ids = family.ids(tasks) if hasattr(family, "ids") else None  # a task that was moved keeps its number
        return algorithm.evaluate(trained, config, family, tasks, seed, ids, episodes=REPEATS)

    returns = {outcome: stages(play(family, test_tasks(job, family), HELD_OUT + job.seed))}
    return Outcome(returns, trained.environment_steps, learning, off_distribution(job, family, play))


def maml(job: Job) -> Outcome:
    """MAML after 0 to `steps` gradient steps."""
    algorithm, family = implementation("maml"), family_of(job)
    config = algorithm.Config(seed=job.seed, episodes=job.test["episodes"], **job.settings)
    trained, learning = trained_on(algorithm, config, family)
    granted = config.iterations * config.tasks * config.episodes * (1 + config.inner_steps) * family.horizon
    found = fine_tuned(job, algorithm, trained, config, family)
    returns = {**found.returns, "unadapted": found.returns["adapted"][:1]}
    return replace(found, returns=returns, environment_steps=granted, learning=learning)


def fine_tuned(job: Job, algorithm: Any, trained: Any, config: Any, family: Any) -> Outcome:
    """Gradient steps with the step size that is best on tasks drawn for training; alike for MAML and its rivals.

    Whether it then acts as the policy draws or by the likeliest action, as the other algorithms do, is chosen there, too.
    """
    import torch

    seen = family.sample(TUNING_TASKS, torch.Generator().manual_seed(TUNING + job.seed))
    choices = list(product(STEP_SIZES, (False, True)))

    def reached(choice: tuple[float, bool]) -> float:
        return float(
            adapted(algorithm, trained, config, family, seen, TUNING + job.seed, job.test["steps"], *choice)[
                :, -1
            ].mean()
        )

    best = max(choices, key=reached)

    def play(family: Any, tasks: Any, seed: int) -> Any:
        return adapted(algorithm, trained, config, family, tasks, seed, job.test["steps"], *best)

    return Outcome(on_test_sets(job, family, "adapted", play), 0, (), off_distribution(job, family, play))


def adapted(
    algorithm: Any, trained: Any, config: Any, family: Any, tasks: Any, seed: int, steps: int, size: float, still: bool
) -> Any:
    """Returns (task, 1 + steps) after each gradient step, of the policy that samples or of one that is `still`.

    Both adapt on episodes of the sampling policy: without its noise there is no policy gradient.
    """
    import torch

    if not still:
        return algorithm.evaluate(trained, config, family, tasks, seed, steps, step_size=size)
    generator = torch.Generator(config.device).manual_seed(seed)
    params = [algorithm.per_task(trained.params, len(tasks))]
    for step in range(steps):  # later steps are half as long, as in `evaluate`
        batch, _ = algorithm.collect(params[-1], config, family, tasks, generator)
        params.append(algorithm.adapt_tasks(params[-1], batch, size if step == 0 else size / 2))
    played = [algorithm.rollout(_stilled(p), config, family, tasks, generator) for p in params]
    return torch.stack([episodes.rewards.sum(1).mean(1) for episodes in played], 1)


def _stilled(params: Mapping[str, Any]) -> dict[str, Any]:
    """The same policy without noise: no spread, or logits so far apart that the highest is always drawn."""
    if "log_std" in params:
        return {**params, "log_std": params["log_std"] * 0 - 10}
    last = max(int(name.removeprefix("weight")) for name in params if name.startswith("weight"))
    return {**params, **{name: 1e4 * params[name] for name in (f"weight{last}", f"bias{last}")}}


def rl2(job: Job, **options: Any) -> Outcome:
    """RL² over a whole trial, with its memory and with the memory cleared at every step."""
    algorithm, family = implementation("rl2"), family_of(job)
    config = algorithm.Config(seed=job.seed, **job.settings, **options)
    trained, learning = trained_on(algorithm, config, family)

    def play(family: Any, tasks: Any, seed: int, forget: bool = False) -> Any:
        return algorithm.evaluate(trained, config, family, tasks, seed, forget=forget)

    returns = on_test_sets(job, family, "remembering", play)
    returns["forgetting"] = stages(play(family, test_tasks(job, family), HELD_OUT + job.seed, forget=True))
    granted = config.iterations * config.tasks * config.episodes * family.horizon
    return Outcome(returns, granted, learning, off_distribution(job, family, play))


def pearl(job: Job, width: float = 0.0) -> Outcome:
    """PEARL over its episodes, with its posterior and with the belief held at the prior; `width` widens the tasks it is trained on."""
    algorithm = implementation("pearl")
    family = family_of(job, continuous=not job.family.startswith("diagnosis"))  # that one has a form of its own there
    config = algorithm.Config.for_family(family, seed=job.seed, **job.settings)
    trained, learning = trained_on(algorithm, config, shift.widened(family, width) if width else family)
    episodes = 1 + min(job.adapt, BELIEVED)

    def play(family: Any, tasks: Any, seed: int, adapt: bool = True) -> Any:
        return algorithm.evaluate(trained, config, family, tasks, seed, episodes, adapt)

    returns = on_test_sets(job, family, "believing", play)
    returns["unadapted"] = stages(play(family, test_tasks(job, family), HELD_OUT + job.seed, adapt=False))
    per_task = config.initial_episodes + config.iterations * (1 + config.posterior_episodes)
    granted = config.train_tasks * per_task * family.horizon
    return Outcome(returns, granted, learning, off_distribution(job, family, play))


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
    moved = shift.references(family, tasks=job.shift["tasks"], seed=job.seed) if job.shift else {}
    return Outcome(returns, 0, (), moved)


def concerns(job: Job) -> Outcome:
    """What the concerns of multi-task training are diagnosed by; nobody is scored by these trainings, so they grant no steps."""
    family = family_of(job, continuous=True)
    return Outcome({}, 0, concerns=diagnosis.measured(family, job.settings, job.seed, **job.concerns))


TRAININGS: dict[str, Callable[[Job], Outcome]] = {
    "multi_task": multi_task,
    "maml": maml,
    "rl2": rl2,
    "pearl": pearl,
    "references": references,
    "concerns": concerns,
    **{f"pearl_wide_{width:g}": partial(pearl, width=width) for width in WIDTHS},
}
