"""Random tabular MDPs of the RL² paper (Duan et al. 2016, section on tabular MDPs), a batch of them at a time.

A task is an MDP of its own: the mean reward of each state and action from N(1, 1), the next state's probabilities from a flat Dirichlet.
A drawn reward adds noise of N(0, 1). An episode begins in state 0 and ends after `horizon` steps, which is part of the MDP: it
is terminated, never truncated. A trial is a number of episodes in the same MDP.

References, from weakest to strongest: a random policy (exact), posterior sampling (PSRL), planning on the posterior mean with a bonus
for what is little known, and an oracle that knows the MDP (exact, out of reach).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class TabularMDP:
    """MDPs with `states` states and `actions` actions, in episodes of `horizon` steps.

    Raises ValueError for fewer than one state, action or step.
    """

    states: int = 10
    actions: int = 5
    horizon: int = 10  # steps per episode
    discrete: bool = True
    mean_reward: float = 1.0  # mean rewards are drawn from N(mean_reward, 1)

    def __post_init__(self) -> None:
        if min(self.states, self.actions, self.horizon) < 1 or not self.discrete:
            raise ValueError(f"a tabular MDP has at least one state, action and step, and its actions are discrete; got {self}")

    @property
    def observation_size(self) -> int:
        """The state, one-hot."""
        return self.states

    @property
    def action_size(self) -> int:
        """Number of actions."""
        return self.actions

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n tasks (n, parameter) of the distribution trained on: first the mean rewards, then the transitions."""
        pairs = self.states * self.actions
        mean = self.mean_reward + torch.randn(n, pairs, generator=generator, device=generator.device)  # (n, state x action)
        weight = torch.empty(n, pairs, self.states, device=generator.device).exponential_(generator=generator)
        return torch.cat([mean, (weight / weight.sum(-1, keepdim=True)).flatten(1)], 1)  # weights over their sum: flat Dirichlet

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n tasks (n, parameter) off that distribution: mean rewards from N(-1, 1), so that the unknown is overrated."""
        tasks = self.sample(n, generator)
        tasks[:, : self.states * self.actions] -= 2
        return tasks

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"rewards": "mean rewards fall, at distance 1 they are drawn from N(-1, 1), so that the unknown is overrated"}

    def moved(self, distance: float, what: str = "rewards") -> TabularMDP:
        """The MDPs at a distance from 0, these, to 1."""
        return replace(self, mean_reward=self.mean_reward - 2 * distance)

    def split(self, tasks: Tensor) -> tuple[Tensor, Tensor]:
        """Tasks (..., parameter) to mean rewards (..., state, action) and transitions (..., state, action, next state)."""
        mean, transition = tasks.split([self.states * self.actions, self.states**2 * self.actions], -1)
        return mean.unflatten(-1, (self.states, -1)), transition.unflatten(-1, (self.states, self.actions, -1))

    def reset(self, tasks: Tensor) -> Tensor:
        """Tasks (..., parameter) to states (..., 2), longs: the state of the MDP, at first 0, and the steps made."""
        return torch.zeros(*tasks.shape[:-1], 2, dtype=torch.long, device=tasks.device)

    def observe(self, state: Tensor) -> Tensor:
        """States (..., 2) to observations (..., state): one-hot; the time is not shown, as in the paper."""
        return F.one_hot(state[..., 0], self.states).to(torch.get_default_dtype())

    def expected_reward(self, tasks: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Mean reward (...,) of the actions; scoring with it in place of the drawn reward leaves out that noise."""
        return tasks.gather(-1, (state[..., 0] * self.actions + action).unsqueeze(-1)).squeeze(-1)

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take action (...,), a long: the next state (..., 2), the drawn reward (...,), and terminated (...,)."""
        pair = state[..., 0] * self.actions + action
        first = self.states * self.actions + pair * self.states  # where the row of this pair begins in the task
        row = tasks.gather(-1, first.unsqueeze(-1) + torch.arange(self.states, device=tasks.device))  # (..., next state)
        draw = torch.rand(*action.shape, 1, generator=generator, device=tasks.device)
        following = (row.cumsum(-1) < draw).sum(-1).clamp(max=self.states - 1)  # rounding can leave the sum under 1
        noise = torch.randn(action.shape, generator=generator, device=tasks.device)
        time = state[..., 1] + 1
        return torch.stack([following, time], -1), self.expected_reward(tasks, state, action) + noise, time >= self.horizon

    def plan(self, mean: Tensor, transition: Tensor) -> tuple[Tensor, Tensor]:
        """Best policies of known MDPs by backward induction.

        From mean (n, state, action) and transition (n, state, action, next state) to actions (n, step, state) and the
        value (n, state) of a whole episode from each state.
        """
        value = mean.new_zeros(mean.shape[:2])
        policy = []
        for _ in range(self.horizon):
            value, action = (mean + (transition @ value[:, None, :, None]).squeeze(-1)).max(-1)
            policy.append(action)
        return torch.stack(policy[::-1], 1), value

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return per episode (n,) of actions drawn all alike: exact, the generator is not used."""
        mean, transition = self.split(tasks)
        mean, transition = mean.mean(-1), transition.mean(-2)  # (n, state) and (n, state, next state) of that policy
        value = torch.zeros_like(mean)
        for _ in range(self.horizon):
            value = mean + (transition @ value.unsqueeze(-1)).squeeze(-1)
        return value[:, 0]

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return per episode (n,) of the best policy that knows the MDP: exact, the generator is not used."""
        return self.plan(*self.split(tasks))[1][:, 0]

    def posterior_return(self, tasks: Tensor, generator: torch.Generator, episodes: int, bonus: float | None = None) -> Tensor:
        """Return (n, episode) of a planner that keeps the exact posterior and plans anew before each episode.

        Without `bonus` on an MDP drawn from the posterior: PSRL (Strens 2000; Osband et al. 2013). With it on the posterior mean,
        each mean reward raised by `bonus` posterior standard deviations.
        """
        n, rows = len(tasks), torch.arange(len(tasks))
        visits = torch.zeros(n, self.states, self.actions)
        total = torch.zeros(n, self.states, self.actions)  # of the rewards drawn
        moves = torch.ones(n, self.states, self.actions, self.states)  # Dirichlet(1, ..., 1): the flat prior
        returns = []
        for _ in range(episodes):
            mean = (1 + total) / (1 + visits)  # prior N(1, 1), noise N(0, 1)
            deviation = (1 + visits) ** -0.5
            if bonus is None:
                with torch.random.fork_rng(devices=[]):  # the Dirichlet takes the global generator; leave it as it was
                    torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
                    transition = torch.distributions.Dirichlet(moves).sample()
                mean = mean + deviation * torch.randn(mean.shape, generator=generator)
            else:
                transition, mean = moves / moves.sum(-1, keepdim=True), mean + bonus * deviation
            policy, _ = self.plan(mean, transition)
            state, score = self.reset(tasks), torch.zeros(n)
            for t in range(self.horizon):
                at = state[:, 0]
                action = policy[rows, t, at]
                score += self.expected_reward(tasks, state, action)
                state, reward, _ = self.step(tasks, state, action, generator)
                visits[rows, at, action] += 1
                total[rows, at, action] += reward
                moves[rows, at, action, state[:, 0]] += 1
            returns.append(score)
        return torch.stack(returns, -1)
