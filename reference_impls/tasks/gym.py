"""A task family over copies of a gymnasium environment: batched tensors in and out, the environments stepped side by side.

An environment remembers and is one; the algorithms step many at once, a row each. So a state here is a row with the number of an episode,
and each episode has a copy of the environment to itself. Nothing resets by itself (gymnasium's autoreset mode DISABLED): an episode that has
ended stays as it is, for no reward, until the algorithm begins another; the value after a time limit then belongs to what was really seen.

Nothing of gymnasium is imported here: the factory brings it. The environment's part is described in docs/own-environment.md.
"""

import copy
import importlib
import inspect
import itertools
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
        self._off = moves_of(method(first, "shifted_tasks"))
        self._distance = 0.0  # from the training distribution, of the tasks that are drawn
        self._free: list[Any] = [first]
        self._tasks: dict[tuple[float, ...], Any] = {}  # row of numbers -> the task as the environment gave it
        self._catalogue: Tensor | None = None  # kept: a task has one row, and by it one id
        self._ids: dict[tuple[float, ...], int] = {}
        self._waiting: dict[int, tuple[tuple[float, ...], int]] = {}  # episodes not begun: task and seed
        self._playing: dict[int, Episode] = {}
        self._names = itertools.count()
        self._random = random.Random(0)

    # Tasks ------------------------------------------------------------------------------------------------------------
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n tasks of the training distribution: (n, task)."""
        return self._drawn(n, generator, self._distance)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """n tasks off that distribution, as far as the environment draws them: (n, task)."""
        return self._drawn(n, generator, 1.0)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words; empty where the environment has no `shifted_tasks`."""
        return self._off[0]

    @property
    def distances(self) -> tuple[float, ...]:
        """The distances that `moved` is asked for."""
        return self._off[1]

    def moved(self, distance: float, what: str = "tasks") -> "Gym":
        """This family where tasks are drawn at a distance of `distances`, 0 for the training distribution; copies and tasks are shared."""
        there = copy.copy(self)
        there._distance, there._catalogue = distance, None
        return there

    def catalogue(self) -> Tensor:
        """All known tasks in the order of their ids, (tasks, task): those of `known_tasks`, else the first that are sampled.

        Moved, as many tasks at that distance, each with the id of the known one in whose place it stands.
        """
        self._random.seed(0)
        if self._catalogue is None:
            known = method(self._free[0], "known_tasks")
            listed = called(known, "known_tasks") if known else None
            if listed is None or self._distance:
                listed = self._asked(self._known if listed is None else len(listed), 0, self._distance)
            self._catalogue = self._rows(listed)
            for i, row in enumerate(self._catalogue.tolist()):
                self._ids.setdefault(tuple(row), i)
        return self._catalogue

    def ids(self, tasks: Tensor) -> Tensor:
        """The id of each task, -1 for one that is in no catalogue: (..., task) -> (...) long."""
        found = [self._ids.get(tuple(row), -1) for row in tasks.reshape(-1, tasks.shape[-1]).tolist()]
        return torch.tensor(found, dtype=torch.long).reshape(tasks.shape[:-1])

    def sample_known(self, n: int, generator: torch.Generator) -> Tensor:
        """n tasks of the catalogue, drawn with replacement: (n, task)."""
        rows = self.catalogue()[torch.randint(len(self.catalogue()), (n,), generator=generator)]
        self._random.seed(int(torch.randint(2**31 - 1, (), generator=generator)))
        return rows

    def _drawn(self, n: int, generator: torch.Generator, distance: float) -> Tensor:
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        self._random.seed(seed)  # of the episodes to come: the same generator plays the same ones
        return self._rows(self._asked(n, seed, distance))

    def _asked(self, n: int, seed: int, distance: float = 0.0) -> Any:
        """n tasks as the environment gives them."""
        name = "shifted_tasks" if distance else "sample_tasks"
        ask = method(self._free[0], name)
        if ask is None:
            raise Faulty(f"{type(self._free[0]).__name__} has no `{name}(n, seed)`, which this fit needs")
        far = {"distance": distance} if distance and self._off[2] else {}
        tasks = called(fitting(ask, name, n, seed, **far), name, n, seed, **far)
        if not hasattr(tasks, "__len__") or len(tasks) != n:
            raise Faulty(f"{name}({n}, seed{''.join(f', {k}={v:g}' for k, v in far.items())}) must give {n} tasks, not {str(tasks)[:200]}")
        return tasks

    def _rows(self, tasks: Any) -> Tensor:
        """Tasks as rows of numbers (n, task): numbers as they are, anything else by its place among the tasks met so far."""
        try:
            rows = torch.stack([torch.as_tensor(task, dtype=torch.float32).flatten() for task in tasks])
        except (TypeError, ValueError, RuntimeError):
            rows = torch.arange(len(self._tasks), len(self._tasks) + len(tasks), dtype=torch.float32).unsqueeze(1)
        before = next(iter(self._tasks), None)
        if before is not None and len(before) != rows.shape[1]:
            raise Faulty(f"a task of {rows.shape[1]} numbers where others have {len(before)}: {str(tasks[0])[:80]}")
        self._tasks |= dict(zip(map(tuple, rows.tolist()), tasks, strict=True))
        return rows

    # Episodes ---------------------------------------------------------------------------------------------------------
    def reset(self, tasks: Tensor) -> Tensor:
        """An episode for each row, tasks (..., task) -> state (..., 1). It begins when it is first looked at."""
        rows = tasks.reshape(-1, tasks.shape[-1]).tolist()
        names = [next(self._names) for _ in rows]
        self._waiting |= {name: (tuple(row), self._random.getrandbits(31)) for name, row in zip(names, rows, strict=True)}
        return torch.tensor(names, dtype=torch.long).reshape(*tasks.shape[:-1], 1)

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
        for name in self._waiting.keys() - playing:
            del self._waiting[name]
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
        told = [called(best, "best_return", self._tasks[row]) for row in map(tuple, tasks.tolist())]
        try:
            return torch.tensor([float(number) / self._unit for number in told])
        except (TypeError, ValueError):
            raise Faulty(f"best_return must give a number, not {str(told[0])[:200]}") from None


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


def moves_of(shifted_tasks: Any) -> tuple[dict[str, str], tuple[float, ...], bool]:
    """What an environment's `shifted_tasks` moves, in words (the first line of its docstring), how far, and whether it takes a `distance`.

    Without that parameter all its tasks count as distance 1; without the method nothing can be moved.
    """
    if shifted_tasks is None:
        return {}, (0.0,), False
    says = " ".join((getattr(shifted_tasks, "__doc__", None) or "").strip().partition("\n")[0].split()).rstrip(".")[:150]
    try:
        asks = "distance" in inspect.signature(shifted_tasks).parameters
    except (TypeError, ValueError):  # of what is not written in Python nothing is known
        asks = False
    far = (0.0, 0.25, 0.5, 0.75, 1.0) if asks else (0.0, 1.0)
    return {"tasks": says or "tasks as your shifted_tasks draws them"}, far, asks


def method(environment: Any, name: str) -> Any:
    """The attribute of the environment or of one that it wraps, the outermost first; None where there is none."""
    while environment is not None:
        if hasattr(environment, name):
            return getattr(environment, name)
        environment = environment.__dict__.get("env") if hasattr(environment, "__dict__") else None
    return None


def fitting(function: Any, what: str, *arguments: Any, **named: Any) -> Any:
    """The function; Faulty where it takes other arguments."""
    try:
        asked = inspect.signature(function)
    except (TypeError, ValueError):  # written in C, or no function: calling it will tell
        return function
    try:
        asked.bind(*arguments, **named)
    except TypeError:
        takes = "(n, seed) or (n, seed, distance)" if what == "shifted_tasks" else "(n, seed)"
        raise Faulty(f"{what} must take {takes}, not {asked}") from None
    return function


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
