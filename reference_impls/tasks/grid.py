"""An open grid with a hidden goal, a batch of them at a time; a small stand-in for the mazes of the RL² paper (Duan et al. 2016).

A task is a start and a goal in a square grid, two different cells drawn uniformly, the same in every episode of a trial. The agent sees
its own cell and never the goal: the first episode has to search, the next can walk straight. A step costs 0.04, the goal pays 1 and
ends the episode (terminated); the horizon is a time limit. A move against the border stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # north, east, south, west: row and column
STEP_COST = 0.04


@dataclass(frozen=True)
class Grid:
    """Grids of `size` x `size` cells. Raises ValueError for a size below two or no step."""

    size: int = 5
    horizon: int = 15  # steps per episode; no goal is further than 2 (size - 1)
    action_size: int = len(MOVES)
    discrete: bool = True
    turned: float = 0.0  # share of the tasks whose controls are turned round

    def __post_init__(self) -> None:
        if self.size < 2 or self.horizon < 1 or self.action_size != len(MOVES) or not self.discrete:
            raise ValueError(f"a grid has a side of at least 2 cells, at least one step and 4 moves; got {self}")

    @property
    def observation_size(self) -> int:
        """Row and column, each one-hot."""
        return 2 * self.size

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n tasks (n, 5) of the distribution trained on: row and column of start and goal, and 1 for true controls."""
        order = torch.rand(n, self.size**2, generator=generator, device=generator.device)
        cells = order.topk(2, -1).indices  # (n, 2): start and goal, different
        places = torch.stack([cells // self.size, cells % self.size], -1).flatten(1)
        controls = places.new_ones(n, 1, dtype=torch.get_default_dtype())
        if self.turned:
            controls[torch.rand(n, generator=generator, device=generator.device) < self.turned] = -1
        return torch.cat([places.to(controls.dtype), controls], 1)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n tasks (n, 5) off that distribution: the controls are turned round, north moves south and east west."""
        return replace(self, turned=1.0).sample(n, generator)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"controls": "in more and more tasks north moves south and east west, at distance 1 in all"}

    def moved(self, distance: float, what: str = "controls") -> Grid:
        """The grids at a distance from 0, these, to 1."""
        return replace(self, turned=distance)

    def reset(self, tasks: Tensor) -> Tensor:
        """Tasks (..., 5) to states (..., 2): row and column of the start."""
        return tasks[..., :2]

    def observe(self, state: Tensor) -> Tensor:
        """States (..., 2) to observations (..., 2 x size): row and column one-hot; never the goal."""
        return F.one_hot(state.long(), self.size).flatten(-2).to(state.dtype)

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move by `action` (...,), a long: the next state (..., 2), reward (...,), terminated (...,); nothing is drawn."""
        move = torch.tensor(MOVES, dtype=state.dtype, device=state.device)[action] * tasks[..., 4:]
        state = (state + move).clamp(0, self.size - 1)
        found = (state == tasks[..., 2:4]).all(-1)
        return state, found.to(state.dtype) - STEP_COST, found

    def shortest(self, tasks: Tensor) -> Tensor:
        """Steps (n,) of the shortest way from start to goal: exact."""
        return (tasks[..., :2] - tasks[..., 2:4]).abs().sum(-1)

    def steps_and_success(self, returns: Tensor) -> tuple[Tensor, Tensor]:
        """Episode returns (...,) to steps made (...,) and whether the goal was found (...,): a return says both."""
        success = returns > 0.5 - STEP_COST * self.horizon
        return ((success.to(returns.dtype) - returns) / STEP_COST).round(), success

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return per episode (n,) of moves drawn all alike: exact, from the probability of every cell after every step."""
        n, size = len(tasks), self.size
        start, goal = ((tasks[:, i] * size + tasks[:, i + 1]).long() for i in (0, 2))
        cells = torch.arange(size**2)
        place = torch.stack([cells // size, cells % size], -1)  # (cell, 2)
        chance = torch.zeros(size**2, size**2)  # from cell, to cell; turning the controls round changes nothing here
        for move in MOVES:
            row, column = (place + torch.tensor(move)).clamp(0, size - 1).unbind(-1)
            chance[cells, row * size + column] += 1 / len(MOVES)
        at = F.one_hot(start, size**2).to(chance.dtype)  # (n, cell): where the walk may be, if it goes on
        total, rows = torch.zeros(n), torch.arange(n)
        for _ in range(self.horizon):
            total -= STEP_COST * at.sum(-1)
            at = at @ chance
            total += at[rows, goal]
            at[rows, goal] = 0.0
        return total

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Return per episode (n,) of the shortest way, with the goal known: exact, the generator is not used."""
        steps = self.shortest(tasks)
        return torch.where(steps <= self.horizon, 1 - STEP_COST * steps, -STEP_COST * self.horizon)
