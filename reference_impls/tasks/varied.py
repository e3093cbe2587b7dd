"""Varied: the catalogue's point robot, made harder in one way at a time, so that each concern of multi-task training bites.

`FAMILIES` names the five cases: `imbalance` (rewards of one task 10-fold, of three a tenth), `interference` (one goal, 8
tasks whose dynamics are turned by an eighth from one to the next), `capacity` (10 tasks that differ in goal and
dynamics, for a narrow network), `sequence` (4 goals, to be learned one after another) and `similar` (10 goals so close
together that what helps one helps all).

A task is a row (goal x, goal y, m11, m12, m21, m22, scale, id): an action a moves the robot by STEP times M a, M orthogonal,
and the reward is scale times the negative distance to the goal. The returns of tasks of other scales are compared after
division by `scale(tasks)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .catalogue import STEP, Catalogue


@dataclass(frozen=True)
class Varied(Catalogue):
    """`tasks` goals on an arc as in `Catalogue`; the observation is the position only. Raises ValueError out of range."""

    spread: float = 1.0  # reward scale of the last task over that of all the others, which lie around 1
    turn: float = 0.0  # radians over which the dynamics are turned, evenly spaced as the goals are
    diverse: int | None = None  # seed; random goals at distance 1, random turns, every second task mirrored

    def __post_init__(self) -> None:
        if self.tasks < 1 or self.horizon < 1 or not 0 <= self.arc <= 2 * math.pi:
            raise ValueError(f"tasks and horizon must be at least 1, arc from 0 to 2 pi; got {self}")
        if self.spread < 1 or not 0 <= self.turn <= 2 * math.pi:
            raise ValueError(f"spread must be at least 1, turn from 0 to 2 pi; got {self}")

    def catalogue(self) -> Tensor:
        """All known tasks in the order of their ids: (tasks, 8)."""
        plain = super().catalogue()  # (tasks, 3): goal x, goal y, id
        goal, turned, mirrored = plain[:, :2], plain[:, 2] * self.turn / self.tasks, torch.zeros(self.tasks)
        if self.diverse is not None:
            generator = torch.Generator().manual_seed(self.diverse)
            angle, turned = 2 * math.pi * torch.rand(2, self.tasks, generator=generator)
            goal, mirrored = self.radius * self._on_circle(angle), torch.arange(self.tasks) % 2
        flip = 1.0 - 2 * mirrored  # -1 mirrors the second axis of the action
        dynamics = torch.stack([turned.cos(), -turned.sin() * flip, turned.sin(), turned.cos() * flip], -1)
        scale = torch.full((self.tasks, 1), self.spread**-0.5)
        scale[-1] = self.spread**0.5
        return torch.cat([goal, dynamics, scale, plain[:, 2:]], -1)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """n goals half again as far away, half way to the next one, with a known task's dynamics and no id: (n, 8)."""
        tasks = self.sample(n, generator)
        half = 0.5 * (self.arc or 2 * math.pi) / self.tasks
        turn = torch.tensor([[math.cos(half), math.sin(half)], [-math.sin(half), math.cos(half)]])
        return torch.cat([1.5 * tasks[:, :2] @ turn, tasks[:, 2:7], torch.full((n, 1), -1.0)], -1)

    def ids(self, tasks: Tensor) -> Tensor:
        """The id of each task, -1 where it is not in the catalogue: (..., 8) -> (...) long."""
        return tasks[..., 7].long()

    def scale(self, tasks: Tensor) -> Tensor:
        """Factor of each task's rewards: (..., 8) -> (...)."""
        return tasks[..., 6]

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tasks (..., 8), state and action (..., 2) -> state (..., 2), reward (...), terminated (...), always False."""
        dynamics = tasks[..., 2:6].unflatten(-1, (2, 2))
        state = state + STEP * (dynamics * action.clamp(-1, 1)[..., None, :]).sum(-1)
        reward = -(state - tasks[..., :2]).norm(dim=-1) * self.scale(tasks)
        return state, reward, torch.zeros_like(reward, dtype=torch.bool)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """The exact optimum of a robot that knows its task: (n, 8) -> (n,), in the task's own reward scale.

        M is orthogonal, so in the frame of the action the robot is the catalogue's, with the goal at M^T times the goal.
        """
        dynamics = tasks[..., 2:6].unflatten(-1, (2, 2))
        goal = (dynamics * tasks[..., :2, None]).sum(-2)  # (n, 2)
        return super().oracle_return(goal, generator) * self.scale(tasks)


FAMILIES = {
    "imbalance": Varied(tasks=4, spread=100.0),
    "interference": Varied(tasks=8, arc=0.0, turn=2 * math.pi),
    "capacity": Varied(tasks=10, diverse=0),
    "sequence": Varied(tasks=4),
    "similar": Varied(tasks=10, arc=0.6),
}
