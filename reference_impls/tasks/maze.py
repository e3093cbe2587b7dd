"""Random mazes with a hidden goal, a batch of them at a time; a small, symbolic form of the mazes of the RL² paper (Duan et al. 2016).

A task is a maze of its own: a random spanning tree of the cells, some more walls taken away, and a start and a goal, two different cells.
The agent sees its cell and the walls around it, never the goal nor the map. Maze, start and goal stay the same in every episode of a
trial, so the way found in one can be walked in the next. A step costs 0.04, the goal pays 1 and ends the episode (terminated); the
horizon is a time limit. A move against a wall stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # north, east, south, west: row and column
STEP_COST = 0.04


@dataclass(frozen=True)
class Maze:
    """Mazes of `size` x `size` cells. Raises ValueError for a size below two, no step, or `loops` that is no probability."""

    size: int = 4
    horizon: int = 16  # steps per episode
    loops: float = 0.1  # probability that a wall which the tree leaves standing is taken away
    action_size: int = len(MOVES)
    discrete: bool = True
    turned: float = 0.0  # share of the tasks whose controls are turned round

    def __post_init__(self) -> None:
        if self.size < 2 or self.horizon < 1 or not 0 <= self.loops <= 1 or self.action_size != len(MOVES) or not self.discrete:
            raise ValueError(f"a maze has a side of at least 2 cells, at least one step, 4 moves, loops from 0 to 1; got {self}")

    @property
    def observation_size(self) -> int:
        """Row and column, each one-hot, and which of the four moves are open."""
        return 2 * self.size + len(MOVES)

    def _edges(self) -> tuple[Tensor, Tensor, Tensor]:
        """The walls that may stand between two cells: the cells (edge,) on either side, and the move (edge,) from the first."""
        cell = torch.arange(self.size**2).view(self.size, self.size)
        across, down = cell[:, :-1].flatten(), cell[:-1].flatten()
        first = torch.cat([across, down])
        return first, torch.cat([across + 1, down + self.size]), torch.cat([torch.full_like(across, 1), torch.full_like(down, 2)])

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n tasks (n, 3 + 4 cells) trained on: start, goal, 1 for true controls, and the open moves of each cell.

        The tree is the minimum spanning tree of random weights (Prim's algorithm on all mazes at once).
        """
        with generator.device:  # new tensors are made where the generator is
            cells, rows = self.size**2, torch.arange(n)
            first, second, move = self._edges()
            weight = torch.rand(n, len(first), generator=generator)
            reached = torch.zeros(n, cells, dtype=torch.bool)
            reached[:, 0] = True
            opened = torch.rand(n, len(first), generator=generator) < self.loops  # (n, edge)
            for _ in range(cells - 1):
                border = reached[:, first] ^ reached[:, second]  # one side reached, the other not
                edge = torch.where(border, weight, 2.0).argmin(-1)  # (n,)
                opened[rows, edge] = True
                reached[rows, first[edge]] = True
                reached[rows, second[edge]] = True
            moves = torch.zeros(n, cells, len(MOVES))
            moves[:, first, move] = opened.to(moves.dtype)
            moves[:, second, (move + 2) % 4] = opened.to(moves.dtype)
            places = torch.rand(n, cells, generator=generator).topk(2, -1).indices  # (n, 2): start and goal, different
            controls = torch.ones(n, 1)
            if self.turned:
                controls[torch.rand(n, generator=generator) < self.turned] = -1
            return torch.cat([places.to(moves.dtype), controls, moves.flatten(1)], 1)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n tasks off that distribution: the controls are turned round, north moves south and east west."""
        return replace(self, turned=1.0).sample(n, generator)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {
            "controls": "in more and more tasks north moves south and east west, at distance 1 in all",
            "walls": "more walls are taken away, at distance 1 all",
        }

    def moved(self, distance: float, what: str = "controls") -> Maze:
        """The mazes at a distance from 0, these, to 1."""
        if what == "walls":
            return replace(self, loops=self.loops + (1 - self.loops) * distance)
        return replace(self, turned=distance)

    def reset(self, tasks: Tensor) -> Tensor:
        """Tasks (..., parameter) to states (..., 5): the start and its open moves."""
        return self._state(tasks, tasks[..., 0].long())

    def _state(self, tasks: Tensor, cell: Tensor) -> Tensor:
        """Cells (...,) with their open moves: (..., 1 + 4)."""
        at = 3 + len(MOVES) * cell.unsqueeze(-1) + torch.arange(len(MOVES), device=cell.device)
        return torch.cat([cell.unsqueeze(-1).to(tasks.dtype), tasks.gather(-1, at)], -1)

    def observe(self, state: Tensor) -> Tensor:
        """States (..., 5) to observations (..., 2 x size + 4): row and column one-hot, and the open moves; never the goal."""
        cell = state[..., 0].long()
        place = F.one_hot(torch.stack([cell // self.size, cell % self.size], -1), self.size).flatten(-2)
        return torch.cat([place.to(state.dtype), state[..., 1:]], -1)

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move by `action` (...,), a long: the next state (..., 5), reward (...,), terminated (...,); nothing is drawn."""
        action = torch.where(tasks[..., 2] < 0, (action + 2) % 4, action)
        way = torch.tensor([row * self.size + column for row, column in MOVES], device=action.device)[action]
        is_open = state[..., 1:].gather(-1, action.unsqueeze(-1)).squeeze(-1) > 0
        cell = state[..., 0].long() + torch.where(is_open, way, 0)
        found = cell == tasks[..., 1].long()
        return self._state(tasks, cell), found.to(tasks.dtype) - STEP_COST, found

    def shortest(self, tasks: Tensor) -> Tensor:
        """Steps (n,) of the shortest way from start to goal: exact, by breadth-first search of all mazes at once."""
        n, cells = len(tasks), self.size**2
        moves = tasks[:, 3:].view(n, cells, len(MOVES)) > 0
        first, second, move = self._edges()
        joined = moves[:, first, move]  # (n, edge)
        distance = torch.full((n, cells), float(cells))
        distance[torch.arange(n), tasks[:, 1].long()] = 0.0
        for _ in range(cells - 1):
            for one, other in ((first, second), (second, first)):
                through = torch.where(joined, distance[:, other] + 1, float(cells))
                distance = distance.scatter_reduce(1, one.expand(n, -1), through, "amin")
        return distance.gather(1, tasks[:, :1].long()).squeeze(1)

    def steps_and_success(self, returns: Tensor) -> tuple[Tensor, Tensor]:
        """Episode returns (...,) to steps made (...,) and whether the goal was found (...,): a return says both."""
        success = returns > 0.5 - STEP_COST * self.horizon
        return ((success.to(returns.dtype) - returns) / STEP_COST).round(), success

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return per episode (n,) of moves drawn all alike: exact, from the probability of every cell after every step."""
        n, cells, rows = len(tasks), self.size**2, torch.arange(len(tasks))
        moves, goal = tasks[:, 3:].view(n, cells, len(MOVES)), tasks[:, 1].long()
        first, second, move = self._edges()
        at = F.one_hot(tasks[:, 0].long(), cells).to(tasks.dtype)  # (n, cell): where the walk may be, if it goes on
        total = torch.zeros(n)
        for _ in range(self.horizon):
            total -= STEP_COST * at.sum(-1)
            flow = moves[:, first, move] / len(MOVES)  # (n, edge): chance of going through, the same from both sides
            stay = at * (1 - moves.mean(-1))
            at = stay.index_add(1, second, flow * at[:, first]).index_add(1, first, flow * at[:, second])
            total += at[rows, goal]
            at[rows, goal] = 0.0
        return total

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Return per episode (n,) of the shortest way, with maze and goal known: exact, the generator is not used."""
        steps = self.shortest(tasks)
        return torch.where(steps <= self.horizon, 1 - STEP_COST * steps, -STEP_COST * self.horizon)
