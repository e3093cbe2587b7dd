"""What PEARL has in common with any off-policy actor-critic: its networks, the transitions and their replay."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a network with two hidden layers."""
    layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers)


class Actor(nn.Module):
    """pi(a | s, z): a Gaussian squashed by tanh into [-1, 1]."""

    def __init__(self, inputs: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.body = mlp(inputs, hidden, 2 * actions)

    def forward(self, inputs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return action (..., action) and its log density (...,); without a generator, the action of the mean."""
        mean, log_std = self.body(inputs).chunk(2, dim=-1)
        log_std = log_std.clamp(-5.0, 2.0)
        noise = torch.zeros_like(mean)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        raw = mean + log_std.exp() * noise
        log_gaussian = -0.5 * noise**2 - log_std - 0.5 * math.log(2.0 * math.pi)
        log_slope = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))  # log(1 - tanh(raw)^2), stable
        return raw.tanh(), (log_gaussian - log_slope).sum(dim=-1)


class TwinCritic(nn.Module):
    """Two Q(s, a, z) as one batched network."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        layers = [(m, n, 1.0 / math.sqrt(m)) for m, n in [(inputs, hidden), (hidden, hidden), (hidden, 1)]]
        self.weight = nn.ParameterList(torch.empty(2, m, n).uniform_(-b, b) for m, n, b in layers)  # as nn.Linear does
        self.bias = nn.ParameterList(torch.empty(2, 1, n).uniform_(-b, b) for _, n, b in layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the values (2, row) of inputs (row, input)."""
        hidden = inputs.expand(2, *inputs.shape)  # (critic, row, input)
        for layer, (weight, bias) in enumerate(zip(self.weight, self.bias, strict=True)):
            hidden = torch.baddbmm(bias, hidden if layer == 0 else hidden.relu(), weight)
        return hidden.squeeze(-1)


def bootstrap_target(reward: Tensor, terminated: Tensor, next_value: Tensor, discount: float) -> Tensor:
    """Return r + discount * V(s'), where an end (`terminated`) has no value after it and a time limit has."""
    return reward + discount * (~terminated).float() * next_value


class Transitions(NamedTuple):
    """Transitions of tasks, (task, row, ...) each; `action` is one-hot if the family is discrete."""

    observation: Tensor  # (task, row, obs)
    action: Tensor  # (task, row, action)
    reward: Tensor  # (task, row)
    next_observation: Tensor  # (task, row, obs)
    terminated: Tensor  # (task, row): the task itself ended here; a time limit does not count
    valid: Tensor  # (task, row): the episode had not terminated before

    def context(self) -> Tensor:
        """Return c (task, row, transition), what the encoder reads."""
        return torch.cat([self.observation, self.action, self.reward.unsqueeze(-1), self.next_observation], dim=-1)

    def select(self, tasks: Tensor, rows: Tensor | None = None) -> Transitions:
        """Return the transitions of `tasks` (n,), all rows or the given ones (n, row)."""
        return Transitions(*(v[tasks] if rows is None else v[tasks.unsqueeze(1), rows] for v in self))


class Replay(nn.Module):
    """The transitions of all episodes, in room taken once for a whole training; a module, so that it is saved as one."""

    rows: Tensor  # (), how many are filled

    def __init__(self, tasks: int, rows: int, observation_size: int, action_size: int) -> None:
        super().__init__()
        widths = {"observation": observation_size, "action": action_size, "next_observation": observation_size}
        for name in Transitions._fields:
            shape = (tasks, rows, widths[name]) if name in widths else (tasks, rows)
            dtype = torch.bool if name in ("terminated", "valid") else torch.float32
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))
        self.register_buffer("rows", torch.zeros((), dtype=torch.long))

    def add(self, episode: Transitions) -> None:
        """Put the rows of an episode of every task behind those that are there."""
        start = int(self.rows)
        self.rows += episode.reward.shape[1]
        for name, values in zip(Transitions._fields, episode, strict=True):
            getattr(self, name)[:, start : int(self.rows)] = values

    def latest(self, rows: int | None = None) -> Transitions:
        """Return the last `rows` rows of every task, or all."""
        end = int(self.rows)
        start = 0 if rows is None else end - rows
        return Transitions(*(getattr(self, name)[:, start:end] for name in Transitions._fields))


def rewarded_episodes(buffer: Transitions, tasks: Tensor, episodes: int, horizon: int, share: float,
                      generator: torch.Generator) -> Transitions:
    """Return a random rewarded episode (n, step) of each of `tasks` (n,), out of the first `episodes` of the buffer.

    It is valid for a `share` of the tasks only, and for none in which no reward was found.
    """
    reward = buffer.reward[tasks, : episodes * horizon].unflatten(1, (episodes, horizon))  # (n, episode, step)
    found = (reward != 0.0).any(dim=-1)  # (n, episode)
    number = torch.multinomial(found + 1e-6, 1, generator=generator)  # (n, 1)
    chosen = buffer.select(tasks, number * horizon + torch.arange(horizon, device=number.device))
    used = torch.rand(number.shape, generator=generator, device=number.device) < share
    return chosen._replace(valid=chosen.valid & used & found.any(dim=1, keepdim=True))
