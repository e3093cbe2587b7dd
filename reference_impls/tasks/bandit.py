"""Bernoulli bandits of the RL² paper (Duan et al. 2016, section 3.1), a batch of them at a time.

A task is the vector of winning probabilities of the arms, each drawn from U(0, 1). An episode is one pull (horizon 1) and a
trial is `pulls` of them, so that all that is learned about a task has to be carried from one episode to the next. A pull ends
by itself: it is terminated, never truncated.

References, from weakest to strongest: a random policy, greedy on the posterior mean, the finite-horizon Gittins index, the exact Bayes
optimum of the whole trial (the most that any learner can reach on average), and an oracle that knows the probabilities (out of reach).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

Arm = tuple[int, int]  # wins and losses seen on one arm


@dataclass(frozen=True)
class Bandit:
    """Bandits with `arms` arms and `pulls` pulls per trial.

    Raises ValueError for fewer than one arm or one pull.
    """

    arms: int = 5
    pulls: int = 10  # episodes per trial; the paper has 10, 100 and 500
    horizon: int = 1  # steps per episode: one pull
    observation_size: int = 1  # a bandit shows nothing; one constant keeps the shape of every other family
    discrete: bool = True
    highest: float = 1.0  # winning probabilities are drawn from U(0, highest)

    def __post_init__(self) -> None:
        if not 0 < self.highest <= 1:
            raise ValueError(f"the highest winning probability lies above 0 and at most at 1, not at {self.highest}")
        if self.arms < 1 or self.pulls < 1 or self.horizon != 1 or self.observation_size != 1 or not self.discrete:
            raise ValueError(f"a bandit has at least one arm, one pull, horizon 1 and observation size 1; got {self}")

    @property
    def action_size(self) -> int:
        """Number of actions: one for each arm."""
        return self.arms

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n tasks, (n, arm), of the distribution trained on: winning probabilities from U(0, highest)."""
        return self.highest * torch.rand(n, self.arms, generator=generator, device=generator.device)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n tasks, (n, arm), off that distribution: every arm is poor, its probability from U(0, 0.3)."""
        return 0.3 * torch.rand(n, self.arms, generator=generator, device=generator.device)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"probabilities": "all arms get poorer, their winning probabilities at distance 1 from U(0, 0.3)"}

    def moved(self, distance: float, what: str = "probabilities") -> Bandit:
        """The bandits at a distance from 0, these, to 1."""
        return replace(self, highest=self.highest * (1 - 0.7 * distance))

    def reset(self, tasks: Tensor) -> Tensor:
        """Tasks (..., arm) to states (..., 1): one zero, as a bandit has no state."""
        return tasks.new_zeros(*tasks.shape[:-1], 1)

    def observe(self, state: Tensor) -> Tensor:
        """States (..., 1) to observations (..., 1): always one, the same in each task."""
        return torch.ones_like(state)

    def expected_reward(self, tasks: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Mean reward (...,) of the chosen arms; scoring with it in place of the drawn reward leaves out that noise."""
        return tasks.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pull arm `action` (...,), a long: the next state (..., 1), reward 0 or 1 (...,), and terminated (...,), always."""
        win = torch.rand(action.shape, generator=generator, device=tasks.device) < self.expected_reward(tasks, state, action)
        return state, win.to(tasks.dtype), torch.ones_like(win)

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return per pull (n,) of a policy that pulls any arm alike: exact, the generator is not used."""
        return tasks.mean(-1)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return per pull (n,) of an oracle that knows the task, not of the Bayes optimum: exact."""
        return tasks.amax(-1)

    def greedy_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return (n, pull) of the arm with the best posterior mean under the U(0, 1) prior: ties go at random."""
        return self._index_return(tasks, generator, lambda wins, losses, left: (wins + 1) / (wins + losses + 2))

    def gittins_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return (n, pull) of the arm with the highest finite-horizon Gittins index: ties go at random."""
        table = _gittins_index(self).to(tasks.dtype)
        return self._index_return(tasks, generator, lambda wins, losses, left: table[left, wins.long(), losses.long()])

    def teacher(self, action: Tensor, reward: Tensor) -> Tensor:
        """The arm (pull, n), a long, that the finite-horizon Gittins index would pull after what was pulled and won before, (pull, n) each.

        Of equals the first, the same every time, so that there is one right answer to learn.
        """
        chosen = torch.nn.functional.one_hot(action, self.arms)  # (pull, n, arm)
        won = chosen * (reward > 0).unsqueeze(-1)
        wins, losses = (x.cumsum(0) - x for x in (won, chosen - won))  # before each pull
        left = self.pulls - torch.arange(len(action), device=action.device).view(-1, 1, 1)
        return _gittins_index(self).to(action.device)[left, wins, losses].argmax(-1)

    def _index_return(self, tasks: Tensor, generator: torch.Generator, index: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
        """Mean return (n, pull) of the arm with the highest index, a function of wins and losses (n, arm) and the pulls left."""
        state = self.reset(tasks)
        wins, losses = torch.zeros_like(tasks), torch.zeros_like(tasks)
        returns = []
        for t in range(self.pulls):
            value = index(wins, losses, self.pulls - t)
            # (n,); equals at random: always the least pulled one would explore, and come within 0.1 % of the optimum
            action = (value + 1e-4 * torch.rand(value.shape, generator=generator)).argmax(-1)
            chosen = torch.nn.functional.one_hot(action, self.arms).to(tasks.dtype)
            state, reward, _ = self.step(tasks, state, action, generator)
            wins = wins + chosen * reward.unsqueeze(-1)
            losses = losses + chosen * (1 - reward).unsqueeze(-1)
            returns.append(self.expected_reward(tasks, state, action))
        return torch.stack(returns, -1)

    def gittins_index(self) -> Tensor:
        """Finite-horizon Gittins indices (pulls left, wins, losses) of one arm, in float64; 0 where the trial is too short to get there.

        The index is the sure pay per pull at which, with so many pulls left, going on with this arm for a while and retiring
        on the sure pay afterwards is worth just as much as retiring at once (Kaufmann 2018 calls it so). Backward induction for
        a ladder of pays at once; the index lies where the two cross, between rungs on a straight line.

        Raises ValueError above 200 pulls: the work grows with the cube.
        """
        if self.pulls > 200:
            raise ValueError(f"Gittins indices are computed for at most 200 pulls, not {self.pulls}")
        n = self.pulls
        pay = torch.linspace(0, 1, 201, dtype=torch.float64)  # (rung,)
        wins, losses = torch.arange(n + 1.0).unsqueeze(1), torch.arange(n + 1.0)
        mean = ((wins + 1) / (wins + losses + 2)).double().unsqueeze(-1)  # (wins, losses, 1): posterior mean of Beta(wins + 1, ...)
        value = torch.zeros(n + 1, n + 1, len(pay), dtype=torch.float64)  # of the best way to use the pulls left
        table = torch.zeros(n + 1, n + 1, n + 1, dtype=torch.float64)
        for left in range(1, n + 1):
            m = n - left + 1  # counts that can have been seen: below m, each
            win, lose = value[1 : m + 1, :m], value[:m, 1 : m + 1]
            play = mean[:m, :m] * (1 + win) + (1 - mean[:m, :m]) * lose
            gain = play - left * pay  # falls along the rungs, from above 0 to below
            rung = (gain > 0).sum(-1, keepdim=True).clamp(1, len(pay) - 1)  # the first without gain
            above, below = gain.gather(-1, rung - 1), gain.gather(-1, rung)
            table[left, :m, :m] = (pay[rung - 1] + (pay[1] - pay[0]) * above / (above - below)).squeeze(-1)
            value[:m, :m] = torch.maximum(play, left * pay)
        return table

    def bayes_optimum(self) -> float:
        """Exact mean return of a whole trial under the best possible policy, by dynamic programming over the posterior.

        The prior U(0, highest) is known to that policy.

        The arms are alike before the first pull, so a posterior is the multiset of their counts; for 5 arms and 10 pulls that
        leaves a few thousand. The number grows steeply with the pulls.

        Raises ValueError above 20 pulls, where the table no longer fits a few seconds.
        """
        if self.pulls > 20:
            raise ValueError(f"the exact optimum is computed for at most 20 pulls, not {self.pulls}; compare with greedy_return")

        mean = cache(self.posterior_mean)

        @cache
        def value(seen: tuple[Arm, ...], left: int) -> float:  # seen: the arms pulled so far, sorted
            if left == 0:
                return 0.0
            choices = set(seen) | ({(0, 0)} if len(seen) < self.arms else set())
            best = 0.0
            for wins, losses in choices:
                others = list(seen)
                if (wins, losses) != (0, 0):
                    others.remove((wins, losses))
                p = mean(wins, losses)
                after_win = value(tuple(sorted([*others, (wins + 1, losses)])), left - 1)
                after_loss = value(tuple(sorted([*others, (wins, losses + 1)])), left - 1)
                best = max(best, p * (1 + after_win) + (1 - p) * after_loss)
            return best

        return value((), self.pulls)

    def posterior_mean(self, wins: int, losses: int) -> float:
        """Mean winning probability of an arm after so many wins and losses, under the prior U(0, highest)."""
        if self.highest == 1:
            return (wins + 1) / (wins + losses + 2)  # of Beta(wins + 1, losses + 1)
        p = self.highest * (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000  # the same, cut off at `highest`: midpoint rule
        weight = p**wins * (1 - p) ** losses
        return float((p * weight).sum() / weight.sum())


@cache
def _gittins_index(family: Bandit) -> Tensor:
    """The table of `Bandit.gittins_index`, computed once."""
    return family.gittins_index()
