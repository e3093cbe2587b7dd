"""Cities: a car drives to the same kind of place in a few known cities, each with dynamics of its own; the city is given.

Cities differ in grip (how far a full step brings the car), in the side of the road (the car's second axis is mirrored in every other
city), in slope (a drift that never stops) and in where the destination lies. The observation is the position only: without the
city's number a policy can't know which way its own steering goes. Dense reward, 20 steps; no state is terminal.

A task is a row (destination x, y, grip, side, slope x, y, id); id is the city's place in the list, and -1 for a city that is not in it.
Lengths are in units of the distance from start to destination, the return is the sum of the negative distances of one episode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

STEP = 0.12  # farthest move in one step along each axis, at grip 1 on level ground
RANDOM_EPISODES = 200  # of each task behind `random_return`


@dataclass(frozen=True)
class Cities:
    """`tasks` cities, the same in every process. Raises ValueError for fewer than one city or step."""

    tasks: int = 10
    horizon: int = 20  # steps per episode: a time limit
    grip: tuple[float, float] = (0.7, 1.3)
    slope: float = 0.03  # largest drift per step along each axis

    observation_size = 2  # position (x, y)
    action_size = 2  # steering along each axis, cut to [-1, 1]
    discrete = False

    def __post_init__(self) -> None:
        if self.tasks < 1 or self.horizon < 1:
            raise ValueError(f"there is at least one city and one step; got {self}")

    def catalogue(self) -> Tensor:
        """All cities in the order of their ids: (tasks, 7)."""
        id = torch.arange(self.tasks)
        rows = self._cities(id * 2 * math.pi / self.tasks, torch.Generator().manual_seed(10))  # one list for all seeds
        rows[:, 3] = 1.0 - 2.0 * (id % 2)
        return torch.cat([rows, id[:, None].float()], -1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n known cities, drawn with replacement: (n, 7)."""
        return self.catalogue()[torch.randint(self.tasks, (n,), generator=generator)]

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """n cities that are not in the list, icy: half the grip that any known city has, on either side of the road: (n, 7)."""
        rows = self._cities(2 * math.pi * torch.rand(n, generator=generator), generator)
        rows[:, 2] = 0.5 * self.grip[0]
        return torch.cat([rows, torch.full((n, 1), -1.0)], -1)

    def _cities(self, angle: Tensor, generator: torch.Generator) -> Tensor:
        """Cities (n, 6) with destinations at these angles (n,), the rest drawn."""
        n, (low, high) = len(angle), self.grip
        grip = low + (high - low) * torch.rand(n, 1, generator=generator)
        side = 1.0 - 2.0 * torch.randint(2, (n, 1), generator=generator)
        slope = self.slope * (2 * torch.rand(n, 2, generator=generator) - 1)
        return torch.cat([torch.stack([angle.cos(), angle.sin()], -1), grip, side, slope], -1)

    def ids(self, tasks: Tensor) -> Tensor:
        """The id of each task, -1 where it is not in the list: (..., 7) -> (...) long."""
        return tasks[..., 6].long()

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"grip": "every road gets slippery, at distance 1 with half the grip; the cities' numbers stay"}

    def moved(self, distance: float, what: str = "grip") -> Cities:
        """The family at a distance from 0, this one, to 1."""
        return replace(self, grip=(self.grip[0] * (1 - 0.5 * distance), self.grip[1] * (1 - 0.5 * distance)))

    def reset(self, tasks: Tensor) -> Tensor:
        """Every drive starts in the middle: (..., 7) -> (..., 2)."""
        return torch.zeros_like(tasks[..., :2])

    def observe(self, state: Tensor) -> Tensor:
        """The position: (..., 2) -> (..., 2)."""
        return state

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Steer by action (..., 2): the next position (..., 2), reward (...), terminated (...), always False; nothing is drawn."""
        sides = torch.stack([torch.ones_like(tasks[..., 3]), tasks[..., 3]], -1)
        state = state + STEP * tasks[..., 2:3] * sides * action.clamp(-1, 1) + tasks[..., 4:6]
        reward = -(state - tasks[..., :2]).norm(dim=-1)
        return state, reward, torch.zeros_like(reward, dtype=torch.bool)

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return of uniformly random steering: (n, 7) -> (n,)."""
        return self._return(tasks.expand(RANDOM_EPISODES, *tasks.shape), generator).mean(0)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """The exact optimum of a driver who knows the city: (n, 7) -> (n,).

        The axes are independent, and grip beats slope, so closing in on both as fast as possible is best at every step.
        """
        return self._return(tasks, None)

    def _return(self, tasks: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return (...) of one episode of random steering, or without a generator of the best."""
        state, total = self.reset(tasks), torch.zeros_like(tasks[..., 0])
        sides = torch.stack([torch.ones_like(tasks[..., 3]), tasks[..., 3]], -1)
        for _ in range(self.horizon):
            if generator is None:
                action = (tasks[..., :2] - state - tasks[..., 4:6]) / (STEP * tasks[..., 2:3]) * sides  # `step` cuts it
            else:
                action = 2 * torch.rand(state.shape, generator=generator) - 1
            state, reward, _ = self.step(tasks, state, action, generator or torch.Generator())
            total = total + reward
        return total
