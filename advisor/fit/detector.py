"""Has this task left the training distribution? Asked of the adaptation data alone: what the agent saw and did in its first episodes.

`watch` writes those data down while any agent adapts in any family. `Detector` needs them of training tasks only. It learns what one
step usually brings, reward and change of observation given observation and action, and sums up each task by three numbers: its return,
and how far reward and change were from what was expected. How unusual the three are together is their Mahalanobis distance (1936) from
the training tasks. The threshold is an order statistic on further training tasks, as in split conformal prediction (Vovk et al. 2005), so
no distribution is assumed. Several tasks of one deployment are judged together by the mean of their numbers.

Tried and left, on agents of other seeds than are reported (benchmarks/shift_detector.py compares some of them): the return alone sees no
change that leaves rewards as they were; nearest neighbours, isolation forests, trees in the place of the linear model, and more numbers
a task were no better on the whole, or slower.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEPS = 40  # steps of each task that are looked at, at least one episode
LONGEST = 200  # or as much of a longer one
EPISODES = 4  # of those that are played side by side in one task
AIM = 0.025  # false alarms that the threshold aims at, for it is itself a draw and should seldom give more than 5 %
GROUPS = (1, 2, 3, 5, 10)  # numbers of tasks that are judged together
RESAMPLED = 2000  # groups of calibration tasks behind the threshold of each number
ROWS = 20_000  # transitions that the linear model is fitted to, at most


@dataclass(frozen=True)
class Seen:
    """Transitions of each task, a row each; `valid` is 0 for rows after the end of an episode."""

    observation: Array  # (task, row, obs)
    action: Array  # (task, row, action): as the agent chose it, one-hot where discrete
    reward: Array  # (task, row)
    change: Array  # (task, row, obs): next observation minus observation
    valid: Array  # (task, row), 0 or 1


class _Enough(Exception):
    """The adaptation data is complete; what the agent would do next is of no interest."""


class Around:
    """A family as it is; whoever inherits changes a method. Passes for the family in isinstance, which some implementations ask."""

    def __init__(self, family: Any) -> None:
        self._family = family

    @property  # type: ignore[misc]  # object has it writable
    def __class__(self) -> Any:
        return self._family.__class__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._family, name)


class Turned(Around):
    """The family with actions turned round: left is right, the first of a number of actions is the last."""

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if name == "expected_reward":  # some families have it, and returns are counted in it
            return lambda tasks, state, action: found(tasks, state, self._opposite(action))
        return found

    def step(self, tasks: Any, state: Any, action: Any, generator: Any) -> Any:
        """As the family's, for the opposite action."""
        return self._family.step(tasks, state, self._opposite(action), generator)

    def _opposite(self, action: Any) -> Any:
        return self._family.action_size - 1 - action if self._family.discrete else -action


class Shifted(Around):
    """The family with the tasks that it calls shifted in the place of its own."""

    def sample(self, n: int, generator: Any) -> Any:
        """As the family's `shifted`."""
        return self._family.shifted(n, generator)


class Recorder(Around):
    """The family, writing down what an agent sees and does in it, and stopping the agent after so many steps."""

    def __init__(self, family: Any, steps: int) -> None:
        super().__init__(family)
        self._steps = steps
        self._rows: list[tuple[Any, ...]] = []
        self._alive: Any = None

    def reset(self, tasks: Any) -> Any:
        """As the family's; whatever had ended may go on."""
        self._alive = None
        return self._family.reset(tasks)

    def step(self, tasks: Any, state: Any, action: Any, generator: Any) -> Any:
        """As the family's."""
        import torch

        before = self._family.observe(state)
        state, reward, terminated = self._family.step(tasks, state, action, generator)
        alive = torch.ones_like(terminated) if self._alive is None else self._alive
        self._alive = alive & ~terminated  # until the next reset: some step on after an end and count nothing
        if self._family.discrete:
            action = torch.nn.functional.one_hot(action, self._family.action_size).to(reward.dtype)
        self._rows.append((before, action, reward, self._family.observe(state) - before, alive))
        if len(self._rows) == self._steps:
            raise _Enough
        return state, reward, terminated

    def points(self, tasks: Any, k: int, generator: Any) -> Any:
        """As the family's; in regression the first points are what is adapted to, and all there is to see."""
        import torch

        x, y = self._family.points(tasks, k, generator)
        no_action, alive = torch.zeros(len(x), 0), torch.ones(len(x), dtype=torch.bool)
        self._rows = [(x[:, i], no_action, y[:, i, 0], x[:, i, :0], alive) for i in range(k)]
        raise _Enough

    def seen(self) -> Seen:
        """What was written down."""
        import torch

        columns = [torch.stack([c.detach() for c in column], 1).double() for column in zip(*self._rows, strict=True)]
        if columns[2].dim() == 3:  # (task, step, episode): episodes side by side
            columns = [x[:, :, :EPISODES].transpose(1, 2).flatten(1, 2) for x in columns]
        return Seen(*(x.numpy() for x in columns))


def watch(family: Any, play: Callable[[Any, Any, int], Any], tasks: Any, seed: int) -> Seen:
    """What an agent sees and does while it adapts to `tasks` (task, parameter), for the first STEPS steps, an episode at the least,
    but at most LONGEST steps of it.

    `play(family, tasks, seed)` has to play all tasks side by side.
    """
    recorder = Recorder(family, max(STEPS, min(getattr(family, "horizon", 1), LONGEST)))
    with suppress(_Enough):
        play(recorder, tasks, seed)
    return recorder.seen()


class Detector:
    """Judges the adaptation data of tasks; `learned` and `calibration` are those of training tasks, and no task is in both.

    Raises ValueError where there are too few calibration tasks for false alarms as rare as AIM.
    """

    def __init__(self, learned: Seen, calibration: Seen) -> None:
        if len(calibration.reward) < round(1 / AIM):
            raise ValueError(f"{len(calibration.reward)} tasks are too few to calibrate on: at least {round(1 / AIM)}")
        rng = np.random.default_rng(0)  # a fixed seed: the same data give the same alarms
        inputs, outcomes = (x[learned.valid > 0] for x in (_inputs(learned), _outcomes(learned)))
        if len(inputs) > ROWS:
            chosen = rng.choice(len(inputs), ROWS, replace=False)
            inputs, outcomes = inputs[chosen], outcomes[chosen]
        ridge = 1e-3 * np.eye(inputs.shape[1])  # inputs may say the same twice
        self._usual = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ outcomes)  # (input, outcome): least squares
        spread = outcomes.std(0)
        error = (outcomes - inputs @ self._usual).std(0)
        # What never varies can't be standardised by its spread; where the model is exact, a thousandth of the spread is error enough.
        self._error = np.where(spread > 1e-9, np.maximum(error, 1e-3 * spread), 1.0)
        numbers = self.numbers(learned)
        self._centre, self._scale = numbers.mean(0), numbers.std(0) + 1e-6
        correlation = np.cov((numbers - self._centre) / self._scale, rowvar=False)
        self._precision = np.linalg.inv(correlation + 1e-3 * np.eye(len(correlation)))
        known = self.numbers(calibration)
        self._thresholds = {}
        for size in GROUPS:
            groups = known if size == 1 else known[rng.integers(len(known), size=(RESAMPLED, size))].mean(1)
            distances = np.sort(self._distance(groups))
            self._thresholds[size] = distances[min(int(np.ceil((1 - AIM) * (len(groups) + 1))), len(groups)) - 1]

    def unusual(self, seen: Seen) -> Array:
        """How unusual the data of each task are, (task,): 0 is the centre of the training tasks, no unit."""
        return self._distance(self.numbers(seen))

    def alarms(self, seen: Seen, together: int = 1) -> NDArray[np.bool_]:
        """Alarm or not for each group of so many tasks, one after another, (task // together,). `together` is one of GROUPS."""
        numbers = self.numbers(seen)
        whole = len(numbers) // together * together
        groups = numbers[:whole].reshape(-1, together, numbers.shape[1]).mean(1)
        found: NDArray[np.bool_] = self._distance(groups) > self._thresholds[together]
        return found

    def _distance(self, numbers: Array) -> Array:
        off = (numbers - self._centre) / self._scale
        found: Array = np.einsum("ni,ij,nj->n", off, self._precision, off)
        return found

    def numbers(self, seen: Seen) -> Array:
        """Return, and the logarithms of the mean squared surprise at rewards and at changes: (task, 3), without changes (task, 2)."""
        inputs, outcomes = _inputs(seen), _outcomes(seen)
        surprise = ((outcomes - inputs @ self._usual) / self._error) ** 2 * seen.valid[..., None]
        mean = surprise.sum(1) / seen.valid.sum(1, keepdims=True)  # (task, outcome)
        numbers = [(seen.reward * seen.valid).sum(1), np.log(1e-2 + mean[:, 0])]
        if mean.shape[1] > 1:
            numbers.append(np.log(1e-2 + mean[:, 1:].mean(1)))
        return np.stack(numbers, 1)


def _outcomes(seen: Seen) -> Array:
    """What a step brings, (task, row, 1 + obs): reward and change."""
    return np.concatenate([seen.reward[..., None], seen.change], 2)


def _inputs(seen: Seen) -> Array:
    """What it is expected from, (task, row, input): observation and action, where few their squares and limits, and their products."""
    observation, action = seen.observation, seen.action
    parts = [np.ones((*seen.reward.shape, 1)), observation, action]
    if observation.shape[2] <= 4:
        parts.append(observation**2)
    if 0 < action.shape[2] <= 4:
        parts.append(action.clip(-1, 1))  # many environments cut actions off there
    if 0 < action.shape[2] * observation.shape[2] <= 100:
        parts.append((observation[..., :, None] * action[..., None, :]).reshape(*action.shape[:2], -1))
    return np.concatenate(parts, 2)
