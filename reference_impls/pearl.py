"""PEARL: a belief over the task, and a policy that acts on it (Rakelly et al. 2019, arXiv 1903.08254).

1. Each transition c_n = (s, a, r, s') of a task gives one factor of the belief over a latent task variable z.
2. The product of the factors is the belief q(z | c): it knows no order, and each transition narrows it.
3. Before an episode a z is drawn from the belief and kept, as if it were true: exploration by posterior sampling.
4. Soft actor-critic learns off-policy with z as an input; the critic's gradient also trains the factors' encoder.
5. On a new task nothing is trained: collect an episode, multiply its factors in, draw the next z.

Departures from the paper:
(1) The prior N(0, I) is a factor of the product, so the belief starts there and narrows with every transition.
(2) The value of the next state comes from twin target critics (Haarnoja et al. 2018b), without a value network.
(3) The critic's context is one, two or three whole episodes, as at test time; the KL term takes any prefix of them.
(4) The reward is centred before it is scaled where no episode terminates: a constant z would have to explain first.
(5) A hidden task out of a list (`family.discrete`, here a diagnosis) has a categorical z. The product of its factors is
    then Bayes' rule itself; the encoder learns from the hidden condition, known in training, and Q-learning
    (van Hasselt et al. 2016) acts on the whole belief after every transition instead of on a sample of it.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .tasks.diagnosis import Diagnosis
from .tasks.semicircle import Semicircle

Family = Semicircle | Diagnosis  # any family with the same attributes will do


@dataclass(frozen=True)
class Config:
    """Settings for the dense semicircle; `Config.for_family` changes those that a discrete family needs otherwise."""

    seed: int = 0
    train_tasks: int = 200  # training tasks (paper: 80 to 100); discrete: 1000
    iterations: int = 40  # collect, then train
    gradient_steps: int = 50  # per iteration (paper: 1000 to 4000, on fewer transitions)
    initial_episodes: int = 10  # per task, with z from the prior, before the first iteration
    posterior_episodes: int = 2  # per task and iteration, after one episode with z from the prior
    meta_batch: int = 64  # tasks per gradient step (paper: 16)
    rows: int = 16  # transitions per task for the actor and the critic (paper: 256); discrete: whole episodes instead
    latent_size: int = 2  # dimensions of z (paper: 5); discrete: the number of conditions
    hidden_size: int = 64  # width of two hidden layers (paper: 300, encoder 200)
    learning_rate: float = 5e-3  # of Adam, falling linearly to a tenth (paper: 3e-4, constant)
    discount: float = 0.9  # as in the paper's point robot
    target_rate: float = 0.02  # tau of the target critic, per gradient step (paper: 0.005)
    reward_scale: float = 5.0  # for the critic; its size against `temperature` is what counts (paper: 5 to 100)
    temperature: float = 0.1  # alpha, the weight of the policy's entropy
    kl_weight: float = 0.1  # beta of eq. (1) (paper: 0.1 to 1); 0.3 here can switch a latent dimension off for good
    context_scale: float = 3.0  # transitions are multiplied by it before the encoder, to bring steps of 0.1 near 1
    exploration: float = 0.3  # discrete only: chance of a random action while collecting

    @classmethod
    def for_family(cls, family: Family, **changes: float) -> "Config":
        """Return the settings that suit the family, with `changes` on top; an unknown name raises TypeError."""
        discrete = dict(train_tasks=1000, iterations=60, initial_episodes=0, posterior_episodes=0, meta_batch=128,
                        learning_rate=3e-3, discount=1.0, reward_scale=1.0, context_scale=1.0)
        return cls(**(discrete | changes if family.discrete else changes))  # type: ignore[arg-type]


# Networks -------------------------------------------------------------------------------------------------------------
def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """One transition -> one factor Psi(z | c_n), as natural parameters: a product of factors is a sum of these.

    Gaussian z: (mean * precision, precision), 2 * latent numbers. Categorical z: log probabilities, up to a constant.
    """

    def __init__(self, config: Config, family: Family) -> None:
        super().__init__()
        self.categorical, self.scale = family.discrete, config.context_scale
        self.latent = family.conditions if isinstance(family, Diagnosis) else config.latent_size
        outputs = self.latent if self.categorical else 2 * self.latent
        self.body = mlp(2 * family.observation_size + family.action_size + 1, config.hidden_size, outputs)

    def prior(self, n: int) -> Tensor:
        """Return the natural parameters (n, natural) of the prior: N(0, I), or all conditions equally likely."""
        zeros = torch.zeros(n, self.latent)
        return zeros if self.categorical else torch.cat([zeros, torch.ones(n, self.latent)], dim=-1)

    def forward(self, context: Tensor) -> Tensor:
        """Return the factors (..., natural) of transitions (..., transition)."""
        out = self.body(self.scale * context)
        if self.categorical:
            return out.log_softmax(dim=-1)
        mean, raw = out.chunk(2, dim=-1)
        precision = F.softplus(raw - 3.0)  # 60 transitions begin with a precision of about 3, the prior has 1
        return torch.cat([mean * precision, precision], dim=-1)

    def moments(self, natural: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (..., latent) of the belief; of a categorical one, of its indicator variables."""
        if self.categorical:
            probability = natural.softmax(dim=-1)
            return probability, probability * (1.0 - probability)
        weighted_mean, precision = natural.chunk(2, dim=-1)
        return weighted_mean / precision, 1.0 / precision


class Actor(nn.Module):
    """pi(a | s, z): a Gaussian squashed by tanh into [-1, 1]."""

    def __init__(self, inputs: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.body = mlp(inputs, hidden, 2 * actions)

    def forward(self, inputs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return action (..., action) and its log density (...,); without a generator, the action of the mean."""
        mean, log_std = self.body(inputs).chunk(2, dim=-1)
        log_std = log_std.clamp(-5.0, 2.0)
        noise = torch.zeros_like(mean) if generator is None else torch.randn(mean.shape, generator=generator)
        raw = mean + log_std.exp() * noise
        log_gaussian = -0.5 * noise**2 - log_std - 0.5 * math.log(2.0 * math.pi)
        log_slope = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))  # log(1 - tanh(raw)^2), stable
        return raw.tanh(), (log_gaussian - log_slope).sum(dim=-1)


class TwinCritic(nn.Module):
    """Two Q(s, a, z) as one batched network; inputs (row, input) -> values (2, row)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        layers = [(m, n, 1.0 / math.sqrt(m)) for m, n in [(inputs, hidden), (hidden, hidden), (hidden, 1)]]
        self.weight = nn.ParameterList(torch.empty(2, m, n).uniform_(-b, b) for m, n, b in layers)  # as nn.Linear does
        self.bias = nn.ParameterList(torch.empty(2, 1, n).uniform_(-b, b) for _, n, b in layers)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs.expand(2, *inputs.shape)  # (critic, row, input)
        for layer, (weight, bias) in enumerate(zip(self.weight, self.bias, strict=True)):
            hidden = torch.baddbmm(bias, hidden if layer == 0 else hidden.relu(), weight)
        return hidden.squeeze(-1)


class Networks(nn.Module):
    """Encoder, critic and, for continuous actions, actor."""

    def __init__(self, config: Config, family: Family) -> None:
        super().__init__()
        self.encoder = Encoder(config, family)
        inputs = family.observation_size + self.encoder.latent
        if family.discrete:
            self.critic, self.actor = mlp(inputs, config.hidden_size, family.action_size), None
        else:
            self.critic = TwinCritic(inputs + family.action_size, config.hidden_size)
            self.actor = Actor(inputs, config.hidden_size, family.action_size)


class Trained(NamedTuple):
    networks: Networks
    returns: tuple[float, ...]  # mean return of the last episode collected in each iteration, with exploration


# Rollout --------------------------------------------------------------------------------------------------------------
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

    def select(self, tasks: Tensor, rows: Tensor | None = None) -> "Transitions":
        """Return the transitions of `tasks` (n,), all rows or the given ones (n, row)."""
        return Transitions(*(v[tasks] if rows is None else v[tasks.unsqueeze(1), rows] for v in self))

    @staticmethod
    def join(parts: "list[Transitions]") -> "Transitions":
        """Put the rows of several records of the same tasks behind one another."""
        return Transitions(*(torch.cat(values, dim=1) for values in zip(*parts, strict=True)))


@torch.no_grad()
def rollout(networks: Networks, family: Family, tasks: Tensor, natural: Tensor, generator: torch.Generator,
            exploration: float | None = None, adapt: bool = True) -> tuple[Transitions, Tensor]:
    """Play one episode of each task (n, task) from a belief (n, natural); return it and the belief, moved if `adapt`.

    `exploration` None: the greedy policy; else actions are sampled (continuous) or random with that chance (discrete).
    """
    encoder, steps = networks.encoder, []
    z, variance = encoder.moments(natural)  # (n, latent); the mean of a categorical z is the whole belief
    if not family.discrete:  # posterior sampling: one z for the whole episode (paper, section 4.2)
        z = z + variance.sqrt() * torch.randn(z.shape, generator=generator)
    state, valid = family.reset(tasks), torch.ones(len(tasks), dtype=torch.bool)
    for _ in range(family.horizon):  # reaching the horizon truncates; only `terminated` ends a task
        observation = family.observe(state)  # (n, obs)
        inputs = torch.cat([observation, z], dim=-1)
        if networks.actor is None:
            choice = networks.critic(inputs).argmax(dim=-1)  # (n,)
            at_random = torch.rand(choice.shape, generator=generator) < (exploration or 0.0)
            other = torch.randint(family.action_size, choice.shape, generator=generator)
            choice = torch.where(at_random, other, choice)
            action = F.one_hot(choice, family.action_size).float()  # (n, action)
        else:
            choice = action = networks.actor(inputs, None if exploration is None else generator)[0]
        state, reward, terminated = family.step(tasks, state, choice, generator)
        steps.append(Transitions(observation, action, reward, family.observe(state), terminated, valid))
        if adapt:
            natural = natural + encoder(steps[-1].context()) * valid.unsqueeze(-1)
        if family.discrete:
            z, _ = encoder.moments(natural)
        valid = valid & ~terminated
    return Transitions(*(torch.stack(values, dim=1) for values in zip(*steps, strict=True))), natural


# Loss -----------------------------------------------------------------------------------------------------------------
def bootstrap_target(reward: Tensor, terminated: Tensor, next_value: Tensor, discount: float) -> Tensor:
    """Return r + discount * V(s'), where an end (`terminated`) has no value after it and a time limit has."""
    return reward + discount * (~terminated).float() * next_value


def kl_to_standard_normal(mean: Tensor, variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, I)) in nats (...,), of (..., latent)."""
    return 0.5 * (mean**2 + variance - variance.log() - 1.0).sum(dim=-1)


def sac_loss(networks: Networks, target: nn.Module, batch: Transitions, context: Tensor, horizon: int, centre: float,
             config: Config, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the loss of critic and encoder, and the actor's, on batch (task, row) and context (task, tuple, ...)."""
    encoder, actor, critic = networks.encoder, networks.actor, networks.critic
    n, rows = batch.reward.shape
    factors, prior = encoder(context), encoder.prior(n)  # (task, tuple, natural), (task, natural)
    order = torch.arange(factors.shape[1]).view(1, -1, 1)  # (1, tuple, 1)
    episodes = torch.randint(1, config.posterior_episodes + 2, (n, 1, 1), generator=generator)
    whole = order < episodes * horizon  # (task, tuple, 1): what it knows before its second, third ... episode
    mean, variance = encoder.moments(prior + (factors * whole).sum(dim=1))  # section 4.1; departure (1)
    z = mean + variance.sqrt() * torch.randn(mean.shape, generator=generator)  # (task, latent)
    prefix = order < torch.randint(1, factors.shape[1] + 1, (n, 1, 1), generator=generator)  # (task, tuple, 1)
    kl = kl_to_standard_normal(*encoder.moments(prior + (factors * prefix).sum(dim=1))).mean()  # departure (3)

    flat_z = z.repeat_interleave(rows, dim=0)  # (task * row, latent)
    s, a, r, s_next, terminated, valid = (x.flatten(0, 1) for x in batch)  # (task * row, ...) each
    detached = flat_z.detach()  # z-bar of section 5.1: neither the target nor the actor trains the encoder
    with torch.no_grad():
        a_next, log_pi = actor(torch.cat([s_next, detached], dim=-1), generator)
        value = target(torch.cat([s_next, detached, a_next], dim=-1)).amin(dim=0) - config.temperature * log_pi
        reward = config.reward_scale * (r - centre)  # departure (4)
        goal = bootstrap_target(reward, terminated, value, config.discount)  # departure (2)
    q = critic(torch.cat([s, flat_z, a], dim=-1))  # (critic, task * row)
    critic_loss = ((q - goal) ** 2 * valid).mean(dim=1).sum()  # L_critic of section 5.1
    a_new, log_pi = actor(torch.cat([s, detached], dim=-1), generator)
    q_new = critic(torch.cat([s, detached, a_new], dim=-1)).amin(dim=0)
    actor_loss = ((config.temperature * log_pi - q_new) * valid).mean()  # L_actor of section 5.1, up to a constant
    return critic_loss + config.kl_weight * kl, actor_loss  # eq. (1)


def q_loss(networks: Networks, target: nn.Module, batch: Transitions, condition: Tensor, config: Config) -> Tensor:
    """Return the loss of belief and Q on whole episodes (task, step) of patients with hidden `condition` (task,)."""
    encoder, critic = networks.encoder, networks.critic
    factors = encoder(batch.context()) * batch.valid.unsqueeze(-1)  # (task, step, natural)
    prior = encoder.prior(len(condition)).unsqueeze(1)  # (task, 1, natural)
    natural = torch.cat([prior, prior + factors.cumsum(dim=1)], dim=1)  # (task, step + 1, natural)
    truth = condition.unsqueeze(1).expand_as(batch.reward)  # (task, step)
    belief_loss = F.cross_entropy(natural[:, 1:].transpose(1, 2), truth, reduction="none")  # departure (5)
    z = encoder.moments(natural)[0].detach()  # (task, step + 1, latent)
    q = critic(torch.cat([batch.observation, z[:, :-1]], dim=-1))  # (task, step, action)
    with torch.no_grad():
        following = torch.cat([batch.next_observation, z[:, 1:]], dim=-1)
        best = critic(following).argmax(dim=-1, keepdim=True)  # chosen by one network, judged by the other
        value = target(following).gather(-1, best).squeeze(-1)  # (task, step)
        goal = bootstrap_target(config.reward_scale * batch.reward, batch.terminated, value, config.discount)
    error = ((q * batch.action).sum(dim=-1) - goal) ** 2
    return ((error + belief_loss) * batch.valid).sum() / batch.valid.sum()


# Update ---------------------------------------------------------------------------------------------------------------
def update(networks: Networks, target: nn.Module, adam: torch.optim.Adam, losses: list[Tensor], rate: float) -> None:
    """Step encoder and critic down the first loss, the actor down the second; move the target a share `rate`."""
    parts = [[networks.encoder, networks.critic], [networks.actor]]
    for loss, modules in zip(losses, parts, strict=False):  # without an actor there is no second loss
        parameters = [parameter for module in modules for parameter in module.parameters()]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
    adam.step()
    for slow, fast in zip(target.parameters(), networks.critic.parameters(), strict=True):
        slow.lerp_(fast.detach(), rate)


# Adapt at test time ---------------------------------------------------------------------------------------------------
def evaluate(trained: Trained, config: Config, family: Family, tasks: Tensor, seed: int, episodes: int = 4,
             adapt: bool = True) -> Tensor:
    """Return the undiscounted return (task, episode) of the greedy policy on tasks (task, ...), without any gradient.

    The belief begins at the prior and is kept across the episodes of a task (paper, Algorithm 2). A discrete task is a
    single episode long, so there each column is a fresh case. `adapt` False: the belief stays at the prior throughout.
    """
    generator = torch.Generator().manual_seed(seed)
    natural, returns = trained.networks.encoder.prior(len(tasks)), []
    for _ in range(episodes):
        episode, updated = rollout(trained.networks, family, tasks, natural, generator, adapt=adapt)
        natural = natural if family.discrete else updated
        returns.append((episode.reward * episode.valid).sum(dim=1))
    return torch.stack(returns, dim=1)


@torch.no_grad()
def posterior(trained: Trained, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (task, latent) of q(z | c); context (task, tuple, transition), mask (task, tuple)."""
    encoder = trained.networks.encoder
    return encoder.moments(encoder.prior(len(context)) + (encoder(context) * mask.unsqueeze(-1)).sum(dim=1))


def entropy(trained: Trained, context: Tensor, mask: Tensor) -> Tensor:
    """Return the entropy (task,) of q(z | c) in nats; differential if z is Gaussian, so it can be negative."""
    mean, variance = posterior(trained, context, mask)
    if trained.networks.encoder.categorical:
        return -torch.xlogy(mean, mean).sum(dim=-1)
    return 0.5 * (2.0 * math.pi * math.e * variance).log().sum(dim=-1)


# Train ----------------------------------------------------------------------------------------------------------------
def train(config: Config, family: Family, progress: Callable[[int, int, float], None] | None = None) -> Trained:
    """Meta-train on tasks of the family (paper, Algorithm 1); `progress` hears (done, total, return) per iteration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # weights are drawn from torch's global generator, which is put back afterwards
        networks = Networks(config, family)
    target = copy.deepcopy(networks.critic).requires_grad_(False)
    adam = torch.optim.Adam(networks.parameters(), config.learning_rate)
    generator = torch.Generator().manual_seed(config.seed)
    tasks = family.sample(config.train_tasks, generator)
    prior, explore, returns = networks.encoder.prior(len(tasks)), config.exploration, []
    replay = [rollout(networks, family, tasks, prior, generator, explore)[0] for _ in range(config.initial_episodes)]
    for iteration in range(config.iterations):
        natural = prior
        for _ in range(1 + config.posterior_episodes):  # the first with z from the prior, then as the posterior grows
            episode, natural = rollout(networks, family, tasks, natural, generator, explore)
            replay.append(episode)
        buffer, recent = Transitions.join(replay), Transitions.join(replay[-1 - config.posterior_episodes :])
        centre = 0.0 if bool(buffer.terminated.any()) else float(buffer.reward.mean())
        for step in range(config.gradient_steps):
            done = (iteration + step / config.gradient_steps) / config.iterations  # share of the training
            adam.param_groups[0]["lr"] = config.learning_rate * (1.0 - 0.9 * done)
            chosen = torch.randint(len(tasks), (config.meta_batch,), generator=generator)
            if isinstance(family, Diagnosis):
                number = torch.randint(len(replay), (config.meta_batch, 1), generator=generator)  # of a whole episode
                batch = buffer.select(chosen, number * family.horizon + torch.arange(family.horizon))
                losses = [q_loss(networks, target, batch, family.condition(tasks[chosen]), config)]
            else:
                rows = torch.randint(buffer.reward.shape[1], (config.meta_batch, config.rows), generator=generator)
                batch, context = buffer.select(chosen, rows), recent.select(chosen).context()
                losses = [*sac_loss(networks, target, batch, context, family.horizon, centre, config, generator)]
            update(networks, target, adam, losses, config.target_rate)
        returns.append(float((episode.reward * episode.valid).sum(dim=1).mean()))
        if progress is not None:
            progress(iteration + 1, config.iterations, returns[-1])
    return Trained(networks, tuple(returns))


# Main -----------------------------------------------------------------------------------------------------------------
def main(arguments: list[str] | None = None) -> None:
    """Train on one family, adapt to held-out tasks, and print the returns with random and oracle beside them."""
    parser = argparse.ArgumentParser(description="PEARL on the dense semicircle or on the diagnosis family")
    parser.add_argument("--family", choices=["semicircle", "diagnosis"], default="semicircle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, help="of collecting and training")
    parser.add_argument("--test-tasks", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the networks are too small to be worth a second thread
    family: Family = Semicircle() if options.family == "semicircle" else Diagnosis()
    config = Config.for_family(family, seed=options.seed)
    config = replace(config, iterations=options.iterations or config.iterations)
    start = time.process_time()
    trained = train(config, family)
    seconds = time.process_time() - start
    generator = torch.Generator().manual_seed(10_000 + config.seed)  # held-out tasks
    tasks = family.sample(options.test_tasks, generator)
    result = {
        "returns": evaluate(trained, config, family, tasks, config.seed).mean(dim=0).tolist(),  # of each episode
        "unadapted": float(evaluate(trained, config, family, tasks, config.seed, adapt=False).mean()),
        "random": float(family.random_return(tasks, generator).mean()),
        "oracle": float(family.oracle_return(tasks, generator).mean()),  # of the diagnosis: the exact Bayes optimum
        "cpu_seconds": seconds,
    }
    if options.json:
        print(json.dumps({"family": options.family, **result, "settings": asdict(config)}, indent=2))
        return
    print(f"{options.family}, {options.test_tasks} held-out tasks:")
    for name, figure in result.items():
        print(f"  {name:<12}", *(f"{number:8.3f}" for number in torch.tensor(figure).flatten().tolist()))


if __name__ == "__main__":
    main()
