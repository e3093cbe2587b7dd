"""Catalogue: a point robot and a short, known list of goals; the goal is given as a number, never seen.

The plainest case of "the known set, tested on the same": 10 goals on a circle of radius 1, dense reward, 20 steps. The
observation is the position only, so a policy that is not told which task it is in can do no better than a compromise.

A task is a row (goal x, goal y, id): id is the goal's place in the catalogue, and -1 for a goal that is not in it.
Lengths are in units of the circle's radius, the return is the sum of the negative distances of one episode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

STEP = 0.1  # farthest move in one step, along each axis
RANDOM_EPISODES = 200  # episodes a task behind `random_return`; its standard error is then about 0.3


class Family(Protocol):
    """What a task family must offer; states, observations and actions are tensors with any leading axes."""

    @property
    def horizon(self) -> int: ...
    @property
    def observation_size(self) -> int: ...
    @property
    def action_size(self) -> int: ...
    @property
    def discrete(self) -> bool: ...
    def reset(self, tasks: Tensor) -> Tensor: ...
    def observe(self, state: Tensor) -> Tensor: ...
    def step(self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]: ...


@dataclass(frozen=True)
class Catalogue:
    """`tasks` goals at distance 1 from the start, evenly spaced by `arc / tasks` radians, the first one at angle 0."""

    tasks: int = 10
    arc: float = 2 * math.pi  # radians; 0.6 makes the goals so similar that what helps one helps all
    horizon: int = 20  # steps per episode; the end of an episode is a time limit, no state of this family is terminal
    radius: float = 1.0  # distance of the goals from the start
    turned: float = 0.0  # by so much of the way to its neighbour each goal is turned

    observation_size = 2  # position (x, y)
    action_size = 2  # move along each axis in units of STEP, cut to [-1, 1]
    discrete = False

    def __post_init__(self) -> None:
        if self.tasks < 1 or self.horizon < 1 or not 0 < self.arc <= 2 * math.pi:
            raise ValueError(f"tasks and horizon must be at least 1, arc above 0 and at most 2 pi; got {self}")

    def catalogue(self) -> Tensor:
        """All known tasks in the order of their ids: (tasks, 3)."""
        id = torch.arange(self.tasks)
        goal = self.radius * self._on_circle((id + self.turned) * self.arc / self.tasks)
        return torch.cat([goal, id[:, None].float()], -1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n known tasks, drawn with replacement: (n, 3)."""
        return self.catalogue()[torch.randint(self.tasks, (n,), generator=generator)]

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """n goals that are not in the catalogue: half way between two neighbours, at distance 1 to 1.5: (n, 3)."""
        between = torch.randint(self.tasks, (n,), generator=generator) + 0.5
        distance = 1 + 0.5 * torch.rand(n, 1, generator=generator)
        goal = distance * self._on_circle(between * self.arc / self.tasks)
        return torch.cat([goal, torch.full((n, 1), -1.0)], -1)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {
            "goals": "each goal moves, its number stays: at distance 1 half way to its neighbour and 1.5 times as far out",
            "radius": "the goals move outwards, at distance 1 to twice the radius; their numbers stay",
        }

    def moved(self, distance: float, what: str = "goals") -> Catalogue:
        """The family at a distance from 0, this one, to 1."""
        if what == "radius":
            return replace(self, radius=self.radius * (1 + distance))
        return replace(self, radius=self.radius * (1 + 0.5 * distance), turned=self.turned + 0.5 * distance)

    def ids(self, tasks: Tensor) -> Tensor:
        """The id of each task, -1 where it is not in the catalogue: (..., 3) -> (...) long."""
        return tasks[..., 2].long()

    def reset(self, tasks: Tensor) -> Tensor:
        """Every episode starts in the middle: (..., 3) -> (..., 2)."""
        return torch.zeros_like(tasks[..., :2])

    def observe(self, state: Tensor) -> Tensor:
        """The position: (..., 2) -> (..., 2)."""
        return state

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tasks (..., 3), state and action (..., 2) -> state (..., 2), reward (...), terminated (...), always False.

        The reward belongs to the position after the move. There is no noise, so `generator` is not used.
        """
        state = state + STEP * action.clamp(-1, 1)
        reward = -(state - tasks[..., :2]).norm(dim=-1)
        return state, reward, torch.zeros_like(reward, dtype=torch.bool)

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return of uniformly random actions: (n, 3) -> (n,)."""
        rows = tasks.expand(RANDOM_EPISODES, *tasks.shape)  # (episode, n, 3)
        state, total = self.reset(rows), torch.zeros(rows.shape[:-1])
        for _ in range(self.horizon):
            action = 2 * torch.rand(state.shape, generator=generator) - 1
            state, reward, _ = self.step(rows, state, action, generator)
            total = total + reward
        return total.mean(0)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """The exact optimum of a robot that knows its goal: (n, 3) -> (n,).

        The axes move independently, so going along each as fast as it allows makes the distance the least possible at
        every step. A goal on an axis costs 4.5, one on a diagonal less, as both axes move at once.
        """
        k = torch.arange(1, self.horizon + 1)
        left: Tensor = (tasks[..., None, :2].abs() - STEP * k[:, None]).clamp(min=0)  # (n, step, axis)
        return -torch.linalg.vector_norm(left, dim=-1).sum(-1)

    def _on_circle(self, angle: Tensor) -> Tensor:
        return torch.stack([angle.cos(), angle.sin()], -1)
