"""Regimes: a trader picks one of a few assets at every step, in markets whose regime changes within the run.

A task is a market: for each of its regimes the mean return of each asset, drawn anew. The regime is hidden and changes now and then; what
is seen are the noisy returns of all assets at the step before. One look tells little, so a trader has to remember, and since the regime
changes, to forget as well. The run's length is a time limit: the market goes on, and no state is terminal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Regimes:
    """Markets (n, regime x asset). Raises ValueError for fewer than two regimes or assets, or a change that is no probability."""

    assets: int = 4
    regimes: int = 3
    horizon: int = 30  # steps of a run
    change: float = 1 / 15  # probability of another regime after each step
    noise: float = 2.0  # standard deviation of a return about its mean
    level: float = 0.0  # the means themselves are drawn from N(level, 1)
    discrete: bool = True

    def __post_init__(self) -> None:
        if min(self.assets, self.regimes) < 2 or self.horizon < 1 or not 0 <= self.change <= 1 or not self.discrete:
            raise ValueError(f"a market has at least two regimes, two assets and one step, change from 0 to 1; got {self}")

    @property
    def observation_size(self) -> int:
        """The last return of each asset."""
        return self.assets

    @property
    def action_size(self) -> int:
        """Number of actions: one for each asset."""
        return self.assets

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n markets (n, regime x asset) of the distribution."""
        return self.level + torch.randn(n, self.regimes * self.assets, generator=generator, device=generator.device)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n markets off the distribution: in a slump, where every asset returns 3 less."""
        return self.moved(1.0).sample(n, generator)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"level": "a slump: every asset returns less, at distance 1 by 3"}

    def moved(self, distance: float, what: str = "level") -> Regimes:
        """The family at a distance from 0, this one, to 1."""
        return replace(self, level=self.level - 3 * distance)

    def reset(self, tasks: Tensor) -> Tensor:
        """Markets (..., regime x asset) -> states (..., 1 + asset): the first regime, and no return seen yet."""
        return tasks.new_zeros(*tasks.shape[:-1], 1 + self.assets)

    def observe(self, state: Tensor) -> Tensor:
        """States (..., 1 + asset) -> observations (..., asset): the last returns, never the regime."""
        return state[..., 1:]

    def _means(self, tasks: Tensor, state: Tensor) -> Tensor:
        """Mean returns (..., asset) in the regime of the state."""
        regime = F.one_hot(state[..., 0].long(), self.regimes).to(tasks.dtype)  # (..., regime)
        return (tasks.unflatten(-1, (self.regimes, -1)) * regime.unsqueeze(-1)).sum(-2)

    def expected_reward(self, tasks: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Mean return (...,) of the chosen asset; scoring with it in place of the drawn return leaves out that noise."""
        return self._means(tasks, state).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hold asset `action` (...,), a long, for a step: next state (..., 1 + asset), its return (...,), terminated (...,), False."""
        means = self._means(tasks, state)
        returns = means + self.noise * torch.randn(means.shape, generator=generator, device=generator.device)
        reward = returns.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        changes = torch.rand(reward.shape, generator=generator, device=generator.device) < self.change
        others = torch.randint(1, self.regimes, reward.shape, generator=generator, device=generator.device)
        regime = torch.where(changes, (state[..., 0] + others) % self.regimes, state[..., 0])
        return torch.cat([regime.unsqueeze(-1), returns], -1), reward, torch.zeros_like(changes)

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return (n,) of assets picked all alike: exact, from the probability of each regime at each step."""
        return self._over_time(tasks.unflatten(-1, (self.regimes, -1)).mean(-1))

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return (n,) of one that knows the market and its present regime: exact."""
        return self._over_time(tasks.unflatten(-1, (self.regimes, -1)).amax(-1))

    def _over_time(self, paid: Tensor) -> Tensor:
        """Sum over the run of what each regime pays (n, regime), weighed by its probability."""
        at = F.one_hot(torch.zeros(len(paid), dtype=torch.long), self.regimes).to(paid.dtype)  # (n, regime)
        total = torch.zeros_like(paid[:, 0])
        for _ in range(self.horizon):
            total += (at * paid).sum(-1)
            at = (1 - self.change) * at + self.change * (1 - at) / (self.regimes - 1)
        return total
