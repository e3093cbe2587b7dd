"""2D navigation: a point has to find a goal that it cannot see (Finn et al. 2017, section 5.3 and appendix A.2).

A task is the position of the goal. The agent observes its own position only, so one fixed policy can hardly do better
than wait near the middle; the rewards of a few episodes tell where the goal lies.

Reward: minus the distance to the goal after the step. The paper's text says minus the *squared* distance; the public
code of the environment and of its successors uses the plain distance, and only that agrees with the paper's table
(about -40 before adaptation: waiting at the start costs 38 by distance, 17 by its square). Figures of the two rewards
cannot be compared.

Ends: within `goal_radius` of the goal the episode is over (`terminated`). The limit of `horizon` steps is the caller's
to keep.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

RANDOM_EPISODES = 20  # episodes per task behind `random_return`


@dataclass(frozen=True)
class Navigation:
    """Goals uniform in the square [-goal_range, goal_range]^2; lengths in the paper's unit, speeds per step."""

    horizon: int = 100  # steps per episode
    goal_range: float = 0.5  # half the side of the square of goals
    max_speed: float = 0.1  # largest move per step along each axis; actions are in this unit, so that +-1 is full speed
    goal_radius: float = 0.01  # nearer than this, the episode ends
    shifted_radius: tuple[float, float] = (0.8, 1.2)  # ring of goals off the distribution; the square ends at 0.71
    outwards: float = 0.0  # share of the way from the square to that ring that each goal is moved
    observation_size: int = 2
    action_size: int = 2
    discrete: bool = False

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` goals of the distribution: (n, 2)."""
        goals = self.goal_range * (2 * torch.rand(n, 2, generator=generator, device=generator.device) - 1)
        return goals if self.outwards == 0 else torch.lerp(goals, self.shifted(n, generator), self.outwards)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` goals on a ring that lies wholly outside the square, in all directions alike: (n, 2)."""
        inner, outer = self.shifted_radius
        radius = inner + (outer - inner) * torch.rand(n, 1, generator=generator, device=generator.device)
        angle = 2 * torch.pi * torch.rand(n, 1, generator=generator, device=generator.device)
        return radius * torch.cat([angle.cos(), angle.sin()], dim=-1)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {
            "ring": "the goals move out of the square they were drawn from, at distance 1 on to a ring around it",
            "radius": "the square of goals grows, at distance 1 to twice the side, so that a quarter of the goals stays within the old one",
        }

    def moved(self, distance: float, what: str = "ring") -> "Navigation":
        """The family at a distance from 0, this one, to 1."""
        if what == "radius":
            return replace(self, goal_range=self.goal_range * (1 + distance))
        return replace(self, outwards=distance)

    def reset(self, tasks: Tensor) -> Tensor:
        """Start every environment at the origin: goals (..., 2) -> positions (..., 2)."""
        return torch.zeros_like(tasks)

    def observe(self, state: Tensor) -> Tensor:
        """Show the position (..., 2) and never the goal."""
        return state

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move by `max_speed` times the action, each axis clipped to +-1; no chance, so `generator` is not used.

        Goals, positions and actions (..., 2) -> new positions (..., 2), reward (...), terminated (...) bool.
        """
        state = state + self.max_speed * action.clamp(-1, 1)
        distance = (state - tasks).norm(dim=-1)
        return state, -distance, distance < self.goal_radius

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return per episode of moves drawn uniformly, over 20 episodes of each task: (n, 2) -> (n,)."""
        return self._return(tasks.expand(RANDOM_EPISODES, *tasks.shape), generator, random=True).mean(dim=0)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Return of the best policy that knows the goal, exact: (n, 2) -> (n,).

        The axes have separate speed limits, so full speed along each of them is nearest to the goal at every step.
        """
        return self._return(tasks, generator, random=False)

    def _return(self, tasks: Tensor, generator: torch.Generator, random: bool) -> Tensor:
        """Undiscounted return (...) of one episode in each of the environments (..., 2)."""
        state = self.reset(tasks)
        alive = tasks.new_ones(tasks.shape[:-1])
        total = tasks.new_zeros(tasks.shape[:-1])
        for _ in range(self.horizon):
            if random:
                action = 2 * torch.rand(tasks.shape, generator=generator, device=generator.device) - 1
            else:
                action = (tasks - state) / self.max_speed  # `step` clips it
            state, reward, terminated = self.step(tasks, state, action, generator)
            total += alive * reward
            alive *= ~terminated
        return total
