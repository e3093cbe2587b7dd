"""A task family over copies of a gymnasium environment: batched tensors in and out, the environments stepped side by side.

An environment remembers and is one; the algorithms step many at once, a row each. So a state here is a row with the number of an episode,
and each episode has a copy of the environment to itself. Nothing resets by itself (gymnasium's autoreset mode DISABLED): an episode that has
ended stays as it is, for no reward, until the algorithm begins another; the value after a time limit then belongs to what was really seen.

Nothing of gymnasium is imported here: the factory brings it. The environment's part is described in docs/own-environment.md.
"""

import importlib
import math
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

RANDOM_EPISODES = 5  # of each task behind `random_return`
SEEN = 10.0  # standardised observations are cut to +-this


class Faulty(ValueError):
    """An environment that breaks the protocol or its own spaces; the message names what, where, and in which task."""


@dataclass
class Episode:
    """An episode that is being played, with the copy it is played in."""

    environment: Any
    task: Any
    observation: Tensor  # (obs,), as the environment showed it
    steps: int = 0
    ended: bool = False


class Gym:
    """The environments of `factory`, "package.module:name" or a callable without arguments, each with `sample_tasks` and `set_task`.

    `horizon`: time limit in steps. `tasks`: how many known tasks `catalogue` has where the environment lists none. `scores`: discrete
    actions are taken as a score each in [-1, 1], of which the highest is played, for algorithms with continuous actions. Observations are
    shown as (seen - centre) / spread, rewards as reward / reward_unit: constants, for a running mean would shift them between tasks.
    Raises Faulty, here and in each method.
    """

    def __init__(self, factory: str | Callable[[], Any], horizon: int, tasks: int = 10, scores: bool = False,
                 centre: tuple[float, ...] = (0.0,), spread: tuple[float, ...] = (1.0,), reward_unit: float = 1.0) -> None:
        self._make, self.horizon, self._known = factory if callable(factory) else load(factory), horizon, tasks
        self._centre, self._spread, self._unit, self._scores = torch.tensor(centre), torch.tensor(spread), reward_unit, scores
        first = called(self._make, "the factory")
        for name in ("sample_tasks", "set_task", "reset", "step", "observation_space", "action_space"):
            if method(first, name) is None:
                raise Faulty(f"{type(first).__name__} has no `{name}`; the protocol: gymnasium's methods, sample_tasks(n, seed), set_task(task)")
        seen, moves = first.observation_space, first.action_space
        if not is_a(seen, "Box"):
            raise Faulty(f"observations must be a Box of numbers, not {seen}: gymnasium.wrappers.FlattenObservation makes one")
        self._shape = tuple(seen.shape)
        self.observation_size = int(torch.Size(self._shape).numel())
        self._moves, self._by_number = moves, is_a(moves, "Discrete")
        self.discrete = self._by_number and not scores
        if self._by_number:
            self.action_size = int(moves.n)
        elif is_a(moves, "Box") and bool(torch.isfinite(torch.as_tensor(moves.low + moves.high)).all()):
            self._low, self._high = (torch.as_tensor(x, dtype=torch.float32).flatten() for x in (moves.low, moves.high))
            self.action_size = len(self._low)
        else:
            raise Faulty(f"actions must be Discrete or a Box with bounds, not {moves}")
        self._free: list[Any] = [first]
        self._tasks: dict[tuple[float, ...], Any] = {}  # row of numbers -> the task as the environment gave it
        self._catalogue: Tensor | None = None  # kept: a task has one row, and by it one id
        self._waiting: dict[int, tuple[tuple[float, ...], int]] = {}  # episodes not begun: task and seed
        self._playing: dict[int, Episode] = {}
        self._count = 0
        self._random = random.Random(0)

    # Tasks ------------------------------------------------------------------------------------------------------------
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n tasks of the training distribution: (n, task)."""
        return self._drawn("sample_tasks", n, generator)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """n tasks off that distribution: (n, task)."""
        return self._drawn("shifted_tasks", n, generator)

    def catalogue(self) -> Tensor:
        """All known tasks in the order of their ids, (tasks, task): those of `known_tasks`, else the first that are sampled."""
        self._random = random.Random(0)
        if self._catalogue is None:
            known = method(self._free[0], "known_tasks")
            self._catalogue = self._rows(called(known, "known_tasks") if known else self._asked("sample_tasks", self._known, 0))
        return self._catalogue

    def _drawn(self, name: str, n: int, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        self._random = random.Random(seed)  # of the episodes to come: the same generator plays the same ones
        return self._rows(self._asked(name, n, seed))

    def _asked(self, name: str, n: int, seed: int) -> Any:
        ask = method(self._free[0], name)
        if ask is None:
            raise Faulty(f"{type(self._free[0]).__name__} has no `{name}(n, seed)`, which this fit needs")
        tasks = called(ask, name, n, seed)
        if not hasattr(tasks, "__len__") or len(tasks) != n:
            raise Faulty(f"{name}({n}, seed) must give {n} tasks, not {str(tasks)[:200]}")
        return tasks

    def _rows(self, tasks: Any) -> Tensor:
        """Tasks as rows of numbers (n, task): numbers as they are, anything else by its place among the tasks met so far."""
        try:
            rows = torch.stack([torch.as_tensor(task, dtype=torch.float32).flatten() for task in tasks])
        except (TypeError, ValueError, RuntimeError):
            rows = torch.arange(len(self._tasks), len(self._tasks) + len(tasks), dtype=torch.float32).unsqueeze(1)
        self._tasks |= dict(zip(map(tuple, rows.tolist()), tasks, strict=True))
        return rows

    # Episodes ---------------------------------------------------------------------------------------------------------
    def reset(self, tasks: Tensor) -> Tensor:
        """An episode for each row, tasks (..., task) -> state (..., 1). It begins when it is first looked at."""
        rows = tasks.reshape(-1, tasks.shape[-1]).tolist()
        first, self._count = self._count, self._count + len(rows)
        self._waiting |= {first + i: (tuple(row), self._random.getrandbits(31)) for i, row in enumerate(rows)}
        return torch.arange(first, self._count).reshape(*tasks.shape[:-1], 1)

    def observe(self, state: Tensor) -> Tensor:
        """What each episode shows now, standardised: state (..., 1) -> (..., obs)."""
        return ((self.seen(state) - self._centre) / self._spread).clamp(-SEEN, SEEN)

    def seen(self, state: Tensor) -> Tensor:
        """The same as the environments show it."""
        seen = torch.stack([self._episode(name).observation for name in state.flatten().tolist()])
        return seen.reshape(*state.shape[:-1], -1)

    def step(self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One step of each episode: state (..., 1), action (...) or (..., action) -> state, reward (...), terminated (...).

        Episodes that are in no row are over, and their copies are free. An episode that has ended stays as it is, for no reward.
        """
        names = state.flatten().tolist()
        self._release(set(names))
        rewards, ended = [0.0] * len(names), [False] * len(names)
        for row, (name, chosen) in enumerate(zip(names, self._chosen(action), strict=True)):
            episode = self._episode(name)
            if not episode.ended:
                rewards[row] = self._play(episode, chosen) / self._unit
            ended[row] = episode.ended
        shape = state.shape[:-1]
        return state, torch.tensor(rewards).reshape(shape), torch.tensor(ended).reshape(shape)

    def _play(self, episode: Episode, chosen: Any) -> float:
        """One step of one episode; its reward."""
        episode.steps += 1
        try:
            result = called(episode.environment.step, "step", chosen)
            if not isinstance(result, tuple) or len(result) != 5:
                raise Faulty(f"step must give (observation, reward, terminated, truncated, info), not {str(result)[:200]}")
            seen, reward, terminated, truncated, _ = result
            episode.observation, episode.ended = self._flat(seen), bool(terminated)
            try:
                number = float(reward)
            except (TypeError, ValueError):
                raise Faulty(f"the reward must be a number, not {str(reward)[:200]}") from None
            if not math.isfinite(number):
                raise Faulty(f"the reward is {number}")
            if truncated and not terminated and episode.steps < self.horizon:
                raise Faulty(f"cut off (truncated) before the time limit of {self.horizon} steps: name the limit that holds, --horizon N")
        except Faulty as fault:
            raise Faulty(f"step {episode.steps} of an episode of task {str(episode.task)[:80]}: {fault}") from fault
        return number

    def _chosen(self, action: Tensor) -> Any:
        """Actions as the environments take them, a row each."""
        if self._by_number:
            numbers = action.reshape(-1, self.action_size).argmax(-1) if self._scores else action.flatten()
            return (numbers + int(getattr(self._moves, "start", 0))).tolist()
        share = (action.reshape(-1, self.action_size).clamp(-1, 1) + 1) / 2
        moves = (self._low + share * (self._high - self._low)).reshape(-1, *self._moves.shape)
        return moves.numpy().astype(self._moves.dtype)

    def _episode(self, name: int) -> Episode:
        if name not in self._playing:
            row, seed = self._waiting.pop(name)
            # The first copy stays, to be asked for tasks.
            environment = self._free.pop() if len(self._free) > 1 else called(self._make, "the factory")
            task = self._tasks[row] if row in self._tasks else torch.tensor(row).numpy()
            self._playing[name] = Episode(environment, task, self.begin(environment, task, seed))
        return self._playing[name]

    def begin(self, environment: Any, task: Any, seed: int) -> Tensor:
        """Sets the task and resets: the first observation (obs,)."""
        called(method(environment, "set_task"), "set_task", task)
        begun = called(environment.reset, "reset", seed=seed)
        if not isinstance(begun, tuple) or len(begun) != 2:
            raise Faulty(f"reset must give (observation, info), not {str(begun)[:200]}")
        try:
            return self._flat(begun[0])
        except Faulty as fault:
            raise Faulty(f"reset in task {str(task)[:80]}: {fault}") from fault

    def _flat(self, observation: Any) -> Tensor:
        """An observation as (obs,) float."""
        try:
            seen = torch.as_tensor(observation)
        except (TypeError, ValueError, RuntimeError):
            raise Faulty(f"the observation must be an array, not {str(observation)[:200]}") from None
        if tuple(seen.shape) != self._shape:
            raise Faulty(f"the observation has shape {tuple(seen.shape)}, the observation space says {self._shape}")
        seen = seen.flatten().float().clone()  # some environments show one array again and again, and change it
        if not math.isfinite(float(seen.sum())):
            raise Faulty(f"the observation is no finite number: {seen.tolist()[:10]}")
        return seen

    def _release(self, playing: set[int]) -> None:
        self._waiting = {name: episode for name, episode in self._waiting.items() if name in playing}
        for name in self._playing.keys() - playing:
            self._free.append(self._playing.pop(name).environment)

    # References -------------------------------------------------------------------------------------------------------
    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return of uniformly random actions: (n, task) -> (n,)."""
        rows = tasks.repeat_interleave(RANDOM_EPISODES, 0)
        state, total = self.reset(rows), torch.zeros(len(rows))
        for _ in range(self.horizon):
            state, reward, _ = self.step(rows, state, self.random_action(len(rows), generator), generator)
            total += reward
        return total.view(-1, RANDOM_EPISODES).mean(1)

    def random_action(self, n: int, generator: torch.Generator) -> Tensor:
        """Uniformly random actions: (n,) or (n, action)."""
        if self.discrete:
            return torch.randint(self.action_size, (n,), generator=generator)
        return 2 * torch.rand(n, self.action_size, generator=generator) - 1

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """The environment's `best_return(task)` of each task, (n, task) -> (n,); not a number where it can't tell."""
        best = method(self._free[0], "best_return")
        if best is None:
            return torch.full((len(tasks),), float("nan"))
        asked = [self._tasks[row] for row in map(tuple, tasks.tolist())]
        return torch.tensor([float(called(best, "best_return", task)) / self._unit for task in asked])


def load(factory: str) -> Callable[[], Any]:
    """The callable that "package.module:name" names. Raises Faulty."""
    module, _, name = factory.partition(":")
    if not module or not name:
        raise Faulty(f"`{factory[:200]}` is no package.module:factory")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise Faulty(f"{module} can't be imported: {told(error)}") from error
    if not callable(getattr(found, name, None)):
        raise Faulty(f"{module} has no callable `{name}`")
    return getattr(found, name)


def method(environment: Any, name: str) -> Any:
    """The attribute of the environment or of one that it wraps, the outermost first; None where there is none."""
    while environment is not None:
        if hasattr(environment, name):
            return getattr(environment, name)
        environment = environment.__dict__.get("env") if hasattr(environment, "__dict__") else None
    return None


def called(function: Any, what: str, *arguments: Any, **named: Any) -> Any:
    """What the user's function gives; what it raises becomes Faulty, with the line that raised it."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        raise Faulty(f"{what} raised {told(error)}") from error


def told(error: BaseException) -> str:
    """An exception in one line: its type, words, and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    return f"{type(error).__name__}: {str(error)[:300]}{place}"


def is_a(space: Any, name: str) -> bool:
    """Whether a gymnasium space is of the class of that name."""
    return any(kind.__name__ == name for kind in type(space).__mro__)
