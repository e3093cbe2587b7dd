"""PEARL: a belief over the task, and a policy that acts on it (Rakelly et al. 2019, arXiv 1903.08254).

1. Each transition c_n = (s, a, r, s') of a task gives one factor of the belief over a latent task variable z.
2. The product of the factors is the belief q(z | c): it knows no order, and each transition narrows it.
3. Before an episode a z is drawn from the belief and kept, as if it were true: exploration by posterior sampling.
4. Soft actor-critic learns off-policy with z as an input; the critic's gradient also trains the factors' encoder.
5. On a new task nothing is trained: collect an episode, multiply its factors in, draw the next z.

Departures from the paper. In brackets: what the paper's way gave against ours, one seed each, in shorter trainings.
(1) The prior is a factor of the product, so the belief starts there and narrows with every transition; precision is the
    exponential of an output. [dense, episode 4, without the prior's factor: -7.4 against -6.8]
(2) The next state's value comes from twin target critics (Haarnoja et al. 2018b), not a value network. [not measured]
(3) The critic's context is one, two or three whole episodes, as at test time; the KL term takes any prefix of them.
    [dense, episode 4, contexts of any size and no KL of prefixes: -8.7 against -6.8]
(4) The reward is centred before it is scaled where no episode terminates: a constant z would have to explain first.
    [dense, episode 4, not centred: -8.0 against -6.8]
(5) A hidden task out of a list (`family.discrete`, here a diagnosis) has a categorical z. The product of its factors is
    then Bayes' rule itself; the encoder learns from the hidden condition, known in training, and Q-learning
    (van Hasselt et al. 2016) acts on the whole belief after every transition, not on a sample of it. With
    `averaged` the target critic acts in the end: a running mean, less noisy than the last step.
    [diagnosis, 60 and 120 iterations: 0.901 and 0.961 of the optimum with, 0.935 and 0.954 without]
(6) Sparse rewards: (a) training begins with episodes of one random action each; one of these that was rewarded is added
    to every context, else z is a guess and the critic takes the average goal for it; (b) a belief before the first
    reward is trained to cover that after all (as Garnelo et al. 2018), or misses would narrow it too; (c) the KL terms
    wait until the critic uses z: else one seed in ten switched all factors off for good; (d) the prior is learned; (e)
    z has one dimension. The critic's reward is dense, as the authors'. [`python -m benchmarks run pearl-ablation`]
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .off_policy import Actor, Replay, Transitions, TwinCritic, bootstrap_target, mlp, rewarded_episodes
from .saving import Scalars, resume_training, save_training
from .tasks.diagnosis import Diagnosis
from .tasks.semicircle import Semicircle

Family = Semicircle | Diagnosis  # any family with the same attributes will do


@dataclass(frozen=True)
class Config:
    """Settings for the dense semicircle; `Config.for_family` changes those that another family needs otherwise."""

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
    kl_weight: float = 0.1  # beta, of the KL term (paper: 0.1 to 1); 0.3 here can switch a latent dimension off for good
    context_scale: float = 3.0  # transitions are multiplied by it before the encoder, to bring steps of 0.1 near 1
    exploration: float = 0.3  # discrete only: chance of a random action while collecting
    wander_episodes: int = 0  # sparse only: per task, before the first iteration, one random action each, held
    hint_share: float = 1.0  # sparse only: share of contexts to which a rewarded one of these is added
    calibration_weight: float = 1.0  # sparse only: of the term that widens a belief until what comes later lies in it
    kl_from: float = 0.0  # sparse: share of the training before which neither KL term counts
    averaged: bool = False  # discrete only: the target critic, a running mean of the critic, acts in the end
    learned_prior: bool = False  # sparse: the prior's mean and variance are learned, else it is N(0, I)
    deterministic: bool = False  # z is the mean of the belief, in training and at test (the paper's ablation)

    @classmethod
    def for_family(cls, family: Family, **changes: float) -> "Config":
        """Return the settings that suit the family, with `changes` on top; an unknown name raises TypeError."""
        discrete = dict(train_tasks=1000, iterations=60, initial_episodes=0, posterior_episodes=0, meta_batch=256,
                        learning_rate=3e-3, discount=1.0, reward_scale=1.0, context_scale=1.0)
        sparse = dict(iterations=40, gradient_steps=100, meta_batch=32, rows=32, latent_size=1, initial_episodes=0,
                      posterior_episodes=7, wander_episodes=80, kl_from=0.2, learned_prior=True)
        suited = discrete if family.discrete else sparse if isinstance(family, Semicircle) and family.sparse else {}
        return cls(**(suited | changes))  # type: ignore[arg-type]


# Networks -------------------------------------------------------------------------------------------------------------
class Encoder(nn.Module):
    """One transition -> one factor Psi(z | c_n), as natural parameters: a product of factors is a sum of these.

    Gaussian z: (mean * precision, precision), 2 * latent numbers. Categorical z: log probabilities, up to a constant.
    """

    def __init__(self, config: Config, family: Family) -> None:
        super().__init__()
        self.categorical, self.scale = family.discrete, config.context_scale
        self.by_mean = config.deterministic or self.categorical
        self.latent = family.conditions if isinstance(family, Diagnosis) else config.latent_size
        outputs = self.latent if self.categorical else 2 * self.latent
        self.start = nn.Parameter(torch.zeros(2, self.latent), requires_grad=config.learned_prior)
        self.body = mlp(2 * family.observation_size + family.action_size + 1, config.hidden_size, outputs)

    def prior(self, n: int) -> Tensor:
        """Return the natural parameters (n, natural) of the prior: first N(0, I), or all conditions equally likely."""
        if self.categorical:
            return self.start[0].expand(n, -1)
        mean, precision = self.start[0], self.start[1].exp()
        return torch.cat([mean * precision, precision]).expand(n, -1)

    def forward(self, context: Tensor) -> Tensor:
        """Return the factors (..., natural) of transitions (..., transition)."""
        out = self.body(self.scale * context)
        if self.categorical:
            return out.log_softmax(dim=-1)
        mean, raw = out.chunk(2, dim=-1)
        precision = (raw - 3.0).clamp(-15.0, 6.0).exp()  # 60 transitions begin with about 3, the prior has 1
        return torch.cat([mean * precision, precision], dim=-1)

    def belief(self, context: Tensor, mask: Tensor) -> Tensor:
        """Return q(z | c) (n, natural) of a context (n, tuple, transition); `mask` (n, tuple) says what of it counts."""
        return self.prior(len(context)) + (self(context) * mask.unsqueeze(-1)).sum(dim=1)

    def moments(self, natural: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (..., latent) of the belief; of a categorical one, of its indicator variables."""
        if self.categorical:
            probability = natural.softmax(dim=-1)
            return probability, probability * (1.0 - probability)
        weighted_mean, precision = natural.chunk(2, dim=-1)
        return weighted_mean / precision, 1.0 / precision

    def sample(self, natural: Tensor, generator: torch.Generator) -> Tensor:
        """Draw z (..., latent) from the belief; of a categorical one, and without sampling, its mean."""
        mean, variance = self.moments(natural)
        noise = 0.0 if self.by_mean else torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + variance.sqrt() * noise


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
@torch.no_grad()
def rollout(networks: Networks, family: Family, tasks: Tensor, natural: Tensor, generator: torch.Generator,
            exploration: float | None = None, adapt: bool = True,
            held: Tensor | None = None) -> tuple[Transitions, Tensor]:
    """Play one episode of each task (n, task) from a belief (n, natural); return it and the belief, moved if `adapt`.

    `exploration` None: the greedy policy; else actions are sampled (continuous) or random with that chance (discrete).
    `held` (n, action): this action at every step instead.
    """
    encoder, steps, random = networks.encoder, [], {"generator": generator, "device": tasks.device}
    z = encoder.sample(natural, generator)  # (n, latent), kept: the paper's posterior sampling
    state, valid = family.reset(tasks), torch.ones(len(tasks), dtype=torch.bool, device=tasks.device)
    for _ in range(family.horizon):  # reaching the horizon truncates; only `terminated` ends a task
        observation = family.observe(state)  # (n, obs)
        inputs = torch.cat([observation, z], dim=-1)
        if held is not None:
            choice = action = held
        elif networks.actor is None:
            choice = networks.critic(inputs).argmax(dim=-1)  # (n,)
            at_random = torch.rand(choice.shape, **random) < (exploration or 0.0)
            choice = torch.where(at_random, torch.randint(family.action_size, choice.shape, **random), choice)
            action = F.one_hot(choice, family.action_size).float()  # (n, action)
        else:
            choice = action = networks.actor(inputs, None if exploration is None else generator)[0]
        state, reward, terminated = family.step(tasks, state, choice, generator)
        steps.append(Transitions(observation, action, reward, family.observe(state), terminated, valid))
        if adapt:
            natural = natural + encoder(steps[-1].context()) * valid.unsqueeze(-1)
        if family.discrete:  # the mean of a categorical z is the whole belief
            z = encoder.sample(natural, generator)
        valid = valid & ~terminated
    return Transitions(*(torch.stack(values, dim=1) for values in zip(*steps, strict=True))), natural


# Loss -----------------------------------------------------------------------------------------------------------------
def gaussian_kl(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(other_mean, other_variance)) in nats (...,), of (..., latent) each."""
    ratio = variance / other_variance
    return 0.5 * ((mean - other_mean) ** 2 / other_variance + ratio - ratio.log() - 1.0).sum(dim=-1)


def sac_loss(networks: Networks, target: nn.Module, batch: Transitions, recent: Transitions, hint: Transitions | None,
             horizon: int, config: Config, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the loss of critic and encoder, and the actor's, on batch (task, row), whose reward is the critic's.

    The context: the episodes `recent` (task, tuple) and, for sparse rewards, the `hint` (task, tuple).
    """
    encoder, actor, critic = networks.encoder, networks.actor, networks.critic
    n, rows = batch.reward.shape
    factors, prior = encoder(recent.context()), encoder.prior(n)  # (task, tuple, natural), (task, natural)
    order = torch.arange(factors.shape[1], device=prior.device).view(1, -1, 1)  # (1, tuple, 1)
    episodes, end = (torch.randint(1, most + 1, (n, 1, 1), generator=generator, device=prior.device)
                     for most in (config.posterior_episodes + 1, factors.shape[1]))  # (task, 1, 1) each
    natural = prior.detach() + (factors * (order < episodes * horizon)).sum(dim=1)  # before episode 2, 3 ...
    if hint is None:
        prefix = prior + (factors * (order < end)).sum(dim=1)  # departure (3)
        kl = config.kl_weight * gaussian_kl(*encoder.moments(prefix), *encoder.moments(prior))  # (task,)
    else:  # departure (6)
        natural = natural + (encoder(hint.context()) * hint.valid.unsqueeze(-1)).sum(dim=1)
        unrewarded = (recent.reward == 0.0).cumprod(dim=1).unsqueeze(-1)  # (task, tuple, 1): 1 before the first reward
        before = encoder.moments(prior + (factors * unrewarded * (order < end)).sum(dim=1))
        after = encoder.moments(natural)
        surprise = gaussian_kl(*(moment.detach() for moment in after), *before) * hint.valid[:, 0]
        kl = config.kl_weight * gaussian_kl(*after, *encoder.moments(prior)) + config.calibration_weight * surprise
    z = encoder.sample(natural, generator)  # (task, latent); departure (1)
    flat_z = z.repeat_interleave(rows, dim=0)  # (task * row, latent)
    s, a, r, s_next, terminated, valid = (x.flatten(0, 1) for x in batch)  # (task * row, ...) each
    detached = flat_z.detach()  # z-bar of the paper: neither the target nor the actor trains the encoder
    with torch.no_grad():
        a_next, log_pi = actor(torch.cat([s_next, detached], dim=-1), generator)
        value = target(torch.cat([s_next, detached, a_next], dim=-1)).amin(dim=0) - config.temperature * log_pi
        goal = bootstrap_target(config.reward_scale * r, terminated, value, config.discount)  # departure (2)
    q = critic(torch.cat([s, flat_z, a], dim=-1))  # (critic, task * row)
    critic_loss = ((q - goal) ** 2 * valid).mean(dim=1).sum()  # L_critic of the paper
    a_new, log_pi = actor(torch.cat([s, detached], dim=-1), generator)
    q_new = critic(torch.cat([s, detached, a_new], dim=-1)).amin(dim=0)
    actor_loss = ((config.temperature * log_pi - q_new) * valid).mean()  # L_actor of the paper, up to a constant
    return critic_loss + kl.mean(), actor_loss  # the variational objective


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
        parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
    adam.step()
    for slow, fast in zip(target.parameters(), networks.critic.parameters(), strict=True):
        slow.lerp_(fast.detach(), rate)


# Adapt at test time ---------------------------------------------------------------------------------------------------
def evaluate(trained: Trained, config: Config, family: Family, tasks: Tensor, seed: int, episodes: int = 4,
             adapt: bool = True, greedy: bool = True) -> Tensor:
    """Return the undiscounted return (task, episode) on tasks (task, ...), without any gradient.

    The belief begins at the prior and is kept across the episodes of a task (paper, Algorithm 2). A discrete task is a
    single episode long, so there each column is a fresh case. `adapt` False: the belief stays at the prior throughout;
    `greedy` False: actions are sampled from the policy, as Algorithm 2 has it.
    """
    generator = torch.Generator(tasks.device).manual_seed(seed)
    natural, returns = trained.networks.encoder.prior(len(tasks)), []
    for _ in range(episodes):
        episode, updated = rollout(trained.networks, family, tasks, natural, generator, None if greedy else 0.0, adapt)
        natural = natural if family.discrete else updated
        returns.append((episode.reward * episode.valid).sum(dim=1))
    return torch.stack(returns, dim=1)


# Train ----------------------------------------------------------------------------------------------------------------
def train(config: Config, family: Family, progress: Callable[[int, int, float], None] | None = None, *,
          device: str = "cpu", checkpoint: Path | None = None, log: Scalars | None = None) -> Trained:
    """Meta-train on tasks of the family (paper, Algorithm 1).

    After each iteration `progress` hears (done, total, return), `log` gets the scalars, and the file
    `checkpoint` the whole state; where that exists, training goes on from it, bit for bit. ValueError if its settings
    are others, OSError where a file cannot be written.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # weights are drawn from torch's global generator, which is put back afterwards
        networks = Networks(config, family).to(device)
    target = copy.deepcopy(networks.critic).requires_grad_(False)
    adam = torch.optim.Adam(networks.parameters(), config.learning_rate)
    generator = torch.Generator(device).manual_seed(config.seed)
    random, n = {"generator": generator, "device": generator.device}, config.meta_batch
    tasks = family.sample(config.train_tasks, generator)
    per_iteration, first = 1 + config.posterior_episodes, config.initial_episodes + config.wander_episodes
    replay = Replay(len(tasks), (first + config.iterations * per_iteration) * family.horizon,
                    family.observation_size, family.action_size).to(device)
    state, settings = nn.ModuleDict({"networks": networks, "target": target, "replay": replay}), {"family": repr(family), **asdict(config)}
    done = resume_training(checkpoint, state, adam, generator, settings) if checkpoint else 0
    for number in range(first if done == 0 else 0):
        natural, wander = networks.encoder.prior(len(tasks)), number < config.wander_episodes  # departure (6a)
        held = 2.0 * torch.rand(len(tasks), family.action_size, **random) - 1.0 if wander else None
        replay.add(rollout(networks, family, tasks, natural, generator, config.exploration, held=held)[0])
    for iteration in range(done, config.iterations):
        natural = networks.encoder.prior(len(tasks))
        for _ in range(per_iteration):  # the first with z from the prior, then as the posterior grows
            episode, natural = rollout(networks, family, tasks, natural, generator, config.exploration)
            replay.add(episode)
        buffer, recent = replay.latest(), replay.latest(per_iteration * family.horizon)  # S_c of the paper: the latest trial
        if not family.discrete:
            told = getattr(family, "training_reward", None)  # what a family knows of its tasks in training; else what was paid
            reward = buffer.reward if told is None else told(tasks.unsqueeze(1), buffer.next_observation)  # (task, row)
            reward = reward if bool(buffer.terminated.any()) else reward - reward.mean()  # departure (4)
        for step in range(config.gradient_steps):
            share = (iteration + step / config.gradient_steps) / config.iterations  # of the training that is done
            adam.param_groups[0]["lr"] = config.learning_rate * (1.0 - 0.9 * share)
            chosen = torch.randint(len(tasks), (n,), **random)
            if isinstance(family, Diagnosis):
                number = torch.randint(int(replay.rows) // family.horizon, (n, 1), **random)
                batch = buffer.select(chosen, number * family.horizon + torch.arange(family.horizon, device=device))  # whole episodes
                losses = [q_loss(networks, target, batch, family.condition(tasks[chosen]), config)]
            else:
                rows = torch.randint(int(replay.rows), (n, config.rows), **random)
                batch = buffer.select(chosen, rows)._replace(reward=reward[chosen.unsqueeze(1), rows])
                hint = None if config.wander_episodes == 0 else rewarded_episodes(
                    buffer, chosen, config.wander_episodes, family.horizon, config.hint_share, generator)
                used = config if share >= config.kl_from else replace(config, kl_weight=0.0, calibration_weight=0.0)  # (6c)
                losses = [*sac_loss(networks, target, batch, recent.select(chosen), hint, family.horizon, used, generator)]
            slower = 1.0 - 0.9 * share if family.discrete else 1.0  # an end of noisy Q-values is averaged away
            update(networks, target, adam, losses, config.target_rate * slower)
        now = float((episode.reward * episode.valid).sum(dim=1).mean())
        if progress is not None:
            progress(iteration + 1, config.iterations, now)
        if log:
            scalars = dict(zip(("critic_loss", "actor_loss"), (loss.item() for loss in losses), strict=False))
            log.write(iteration + 1, env_steps=int(replay.rows) * len(tasks), **scalars, **{"return": now})
        if checkpoint:
            save_training(checkpoint, state, adam, generator, iteration + 1, settings)
    if config.averaged:  # departure (5)
        networks.critic.load_state_dict(target.state_dict())
    each = (replay.reward * replay.valid).unflatten(1, (-1, family.horizon)).sum(dim=-1).mean(dim=0)  # (episode,)
    return Trained(networks, tuple(each[first:][per_iteration - 1 :: per_iteration].tolist()))


# Main -----------------------------------------------------------------------------------------------------------------
FAMILIES: dict[str, Family] = {"semicircle": Semicircle(), "sparse": Semicircle(sparse=True), "diagnosis": Diagnosis()}


def main(arguments: list[str] | None = None) -> None:
    """Train on one family, adapt to held-out tasks, and print the returns with random and oracle beside them."""
    parser = argparse.ArgumentParser(description="PEARL on the semicircle, dense or sparse, or on the diagnosis family")
    add = parser.add_argument
    add("--family", choices=FAMILIES, default="semicircle")
    add("--seed", type=int, default=0)
    add("--iterations", type=int, help="of collecting and training")
    add("--test-tasks", type=int, default=1000)
    add("--device", default="cpu", help="cpu or cuda")
    add("--save", type=Path, help="checkpoint, written after every iteration; training goes on from it if it is there")
    add("--log", type=Path, help="file to which the scalars of every iteration are added, a JSON object a line")
    add("--tensorboard", type=Path, help="folder that gets events for TensorBoard after each iteration")
    add("--json", action="store_true", help="print in one line")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the networks are too small to be worth a second thread
    family = FAMILIES[options.family]
    config = Config.for_family(family, seed=options.seed, **({"iterations": options.iterations} if options.iterations else {}))
    try:
        with Scalars(options.log, options.tensorboard) as log:
            trained = train(config, family, device=options.device, checkpoint=options.save, log=log)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    seconds = time.process_time()
    generator = torch.Generator(options.device).manual_seed(10_000 + config.seed)  # held-out tasks
    tasks = family.sample(options.test_tasks, generator)
    episodes, greedy = (10, False) if options.family == "sparse" else (4, True)  # misses call for varied attempts
    result = {
        "returns": evaluate(trained, config, family, tasks, config.seed, episodes, greedy=greedy).mean(dim=0).tolist(),
        "unadapted": float(evaluate(trained, config, family, tasks, config.seed, adapt=False, greedy=greedy).mean()),
        "random": float(family.random_return(tasks, generator).mean()),
        "oracle": float(family.oracle_return(tasks, generator).mean()),  # of the diagnosis: the exact Bayes optimum
        "cpu_seconds": seconds,
    }
    print(json.dumps({"family": options.family, **result, "settings": asdict(config)}, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
