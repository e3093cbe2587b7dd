"""Objects: a gripper on two axes has to find where an object it has never met is held best, and what it weighs.

The gripper sees its own position; the grip point and the weight are hidden and new in each task. The weight slows every move, the
reward is minus the distance to the grip point after the move. Short episodes, so that ten trial trajectories are really little: 20 steps.
No state is terminal; the horizon is a time limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

STEP = 0.1  # farthest move along each axis in one step, with an object of weight 1
RANDOM_EPISODES = 64  # of each task behind `random_return`


@dataclass(frozen=True)
class Objects:
    """A task is a row (grip x, grip y, weight); lengths in the same unit as the reward. Raises ValueError for an odd range."""

    horizon: int = 20
    reach: float = 0.7  # grip points lie uniformly in [-reach, reach]^2
    weight: tuple[float, float] = (0.7, 1.4)  # uniform; a move is divided by it
    observation_size: int = 2
    action_size: int = 2
    discrete: bool = False

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.reach <= 0 or not 0 < self.weight[0] <= self.weight[1]:
            raise ValueError(f"there is at least one step, and reach and weights are above 0; got {self}")

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n objects (n, 3) of the distribution."""
        u = torch.rand(n, 3, generator=generator, device=generator.device)
        low, high = self.weight
        return torch.cat([self.reach * (2 * u[:, :2] - 1), low + (high - low) * u[:, 2:]], -1)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n objects (n, 3) off the distribution: to be held at the rim, where at least one axis lies beyond `reach`."""
        tasks = self.sample(n, generator)
        beyond = 1.2 + 0.5 * torch.rand(n, 1, generator=generator, device=generator.device)
        tasks[:, :2] = self.reach * beyond * tasks[:, :2] / tasks[:, :2].abs().amax(-1, keepdim=True)
        return tasks

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"reach": "objects are to be held farther out, at distance 1 up to twice as far"}

    def moved(self, distance: float, what: str = "reach") -> Objects:
        """The family at a distance from 0, this one, to 1."""
        return replace(self, reach=self.reach * (1 + distance))

    def reset(self, tasks: Tensor) -> Tensor:
        """Start in the middle: objects (..., 3) -> positions (..., 2)."""
        return torch.zeros_like(tasks[..., :2])

    def observe(self, state: Tensor) -> Tensor:
        """Show the position (..., 2), never the object."""
        return state

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move by action (..., 2), each axis clipped to +-1: next position (..., 2), reward (...), terminated (...); nothing is drawn."""
        state = state + STEP * action.clamp(-1, 1) / tasks[..., 2:]
        reward = -(state - tasks[..., :2]).norm(dim=-1)
        return state, reward, torch.zeros_like(reward, dtype=torch.bool)

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return of uniformly random moves, over 64 episodes of each task: (n, 3) -> (n,)."""
        rows = tasks.expand(RANDOM_EPISODES, *tasks.shape)
        state, total = self.reset(rows), torch.zeros(rows.shape[:-1])
        for _ in range(self.horizon):
            action = 2 * torch.rand(state.shape, generator=generator, device=generator.device) - 1
            state, reward, _ = self.step(rows, state, action, generator)
            total = total + reward
        return total.mean(0)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Return (n,) of the best policy that knows the object: exact, for the axes move independently."""
        state, total = self.reset(tasks), torch.zeros_like(tasks[..., 0])
        for _ in range(self.horizon):
            state, reward, _ = self.step(tasks, state, (tasks[..., :2] - state) * tasks[..., 2:] / STEP, generator)
            total = total + reward
        return total
