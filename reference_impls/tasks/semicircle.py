"""A point robot that walks to a hidden goal on a semicircle.

The robot starts at the origin and sees its own position, never the goal. The reward is minus the distance to the goal,
so one episode of rewards tells where the goal is: this is what a task belief has to find out. After Rakelly et al.
2019 (arXiv 1903.08254), section 6.3, whose reward is the sparse one (`sparse=True`); the dense one is the default here.
Nothing ever terminates: the horizon is a time limit, and the value after it counts.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Semicircle:
    """Tasks are goals (n, 2), in the plane; length unit is the distance of the goals from the start."""

    radius: float = 1.0  # distance of every goal from the start
    step_size: float = 0.1  # length of a full step along each axis
    horizon: int = 20  # steps per episode; 10 or less bring the robot to any goal
    sparse: bool = False  # reward only within `goal_radius`: 1 - distance there, 0 elsewhere
    goal_radius: float = 0.2
    turned: float = 0.0  # radians by which the half circle of goals is turned clockwise; 0 is the upper half
    observation_size: int = 2
    action_size: int = 2
    discrete: bool = False

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return n goals (n, 2), uniform on the semicircle, the upper one where nothing is turned."""
        return self._goals(math.pi * torch.rand(n, generator=generator, device=generator.device))

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Return n goals (n, 2) that training never shows: uniform on the lower semicircle."""
        return self._goals(-math.pi * torch.rand(n, generator=generator, device=generator.device))

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {
            "angle": "the half circle of goals turns round the start, at distance 1 on to the other half",
            "radius": "the goals move outwards, at distance 1 to twice the radius",
        }

    def moved(self, distance: float, what: str = "angle") -> "Semicircle":
        """Return the family at a distance from 0, this one, to 1."""
        if what == "radius":
            return replace(self, radius=self.radius * (1.0 + distance))
        return replace(self, turned=self.turned + math.pi * distance)

    def _goals(self, angle: Tensor) -> Tensor:
        angle = angle - self.turned
        return self.radius * torch.stack([angle.cos(), angle.sin()], dim=-1)  # (n, 2)

    def reset(self, tasks: Tensor) -> Tensor:
        """Return the start (..., 2), the origin, for goals (..., 2)."""
        return torch.zeros_like(tasks)

    def observe(self, state: Tensor) -> Tensor:
        """Return what the robot sees of the state (..., 2): its position (..., 2)."""
        return state

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move by action (..., 2), clipped to [-1, 1] per axis; return next state, reward (...,), terminated (...,).

        The dynamics are deterministic; the generator is there because every family's step takes one.
        """
        state = state + self.step_size * action.clamp(-1.0, 1.0)
        distance = (state - tasks).norm(dim=-1)  # (...,)
        if self.sparse:
            reward = torch.where(distance <= self.goal_radius, 1.0 - distance, torch.zeros_like(distance))
        else:
            reward = -distance
        return state, reward, torch.zeros_like(distance, dtype=torch.bool)

    def training_reward(self, tasks: Tensor, position: Tensor) -> Tensor:
        """Return what a critic learns from in training, (...,): minus the distance of `position` (..., 2), sparse or not.

        Goals are known in training, so the reward may be dense there; context and test keep the sparse one.
        """
        return -(position - tasks).norm(dim=-1)

    def random_return(self, tasks: Tensor, generator: torch.Generator, episodes: int = 64) -> Tensor:
        """Return the mean return (n,) of uniformly random actions over `episodes` simulated episodes of each task."""
        goals = tasks.expand(episodes, *tasks.shape)  # (episode, n, 2)
        state, total = self.reset(goals), torch.zeros_like(goals[..., 0])
        for _ in range(self.horizon):
            action = 2.0 * torch.rand(goals.shape, generator=generator, device=goals.device) - 1.0
            state, reward, _ = self.step(goals, state, action)
            total = total + reward
        return total.mean(dim=0)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the exact best return (n,) of an agent that knows the goal.

        The axes move independently, so closing in on both as fast as possible is best at every step at once.
        """
        state, total = self.reset(tasks), torch.zeros_like(tasks[..., 0])
        for _ in range(self.horizon):
            state, reward, _ = self.step(tasks, state, (tasks - state) / self.step_size)
            total = total + reward
        return total
