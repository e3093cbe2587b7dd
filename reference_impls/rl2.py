"""RL²: fast reinforcement learning via slow reinforcement learning (Duan et al. 2016; Wang et al. 2016 have the same idea).

1. A trial is a few episodes in one and the same task, drawn anew for every trial.
2. The agent is a network with memory that is also shown what it did before and what came of it.
3. The memory is kept across the episodes of a trial, so what one episode finds out serves the next.
4. Ordinary policy gradient on the return of the whole trial trains the weights: the slow learning.
5. At test time no weight moves. The memory alone adapts: the fast learning, which costs no gradient.

Departures from the paper:
1. Advantage actor-critic, one gradient step on each batch of fresh trials, in place of TRPO: simpler, and steps cost nothing here.
2. The default core is a linear attention memory in place of the GRU: it takes in a whole trial at once and learns several times quicker.
3. Beside observation, action, reward and end flag the input has action x reward and the observation before.
4. The heads are given the observation once more, beside the memory (Beck et al. 2023 measure what this is worth), and of the attention
   core also what was looked up, past its hidden layers: a policy that is nearly linear in the counts of events is learnt at once.
5. Every weight matrix of the core is drawn orthogonal with gain sqrt(2), that of the keys with 1, the policy layer with 0.1; the values
   begin as the events themselves (identity), and what is looked up is read on a logarithmic scale.
6. Trials may be short at first and grow to their full length (`growth`): a long one costs as much as many short ones.
7. Option `privileged`: in training the critic is shown the task, and the agent learns from mean rewards where the family knows them
   (asymmetric actor-critic, Pinto et al. 2018). It takes luck out of the advantages; the policy sees none of it, then or later.
8. Option `regret`: in training, rewards less what an oracle gets. In trials of one length no optimum moves, and the critic has less to learn.
9. Option `teacher`: for a share of the run a teacher says what it would do in the agent's place (DAgger, Ross et al. 2011): imitation.
10. Option `critic_apart`: the critic has a hidden layer of its own and sends no gradient into the memory, which large values disturb.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .saving import Scalars, resume_training, save_training
from .tasks.bandit import Bandit

Family = Bandit  # any family with the same attributes and methods will do: tasks/__init__.py lists them


@dataclass(frozen=True)
class Config:
    """Settings; in brackets the paper's value where it differs. Raises ValueError for an unknown core and for counts below one."""

    seed: int = 0
    episodes: int = 10  # episodes per trial, all in one task
    iterations: int = 500  # batches of fresh trials, one gradient step on each (paper: up to 1000 batches by TRPO)
    tasks: int = 512  # trials per batch, each with a task of its own (paper: 250 000 steps per batch)
    growth: float = 0.0  # share of the run in which trials grow, in a straight line, to their full number of episodes
    core: str = "attention"  # memory: "attention" or "gru" (paper: GRU)
    memory: bool = True  # False: memory cleared before every step, a plain multi-task policy for comparison
    hidden: int = 32  # units of the GRU, or of the two layers that read the attention memory (paper: 256)
    key: int = 4  # attention only: length of a key
    value: int = 16  # attention only: length of a value
    learning_rate: float = 1e-2  # Adam, decayed in a straight line to a twentieth
    discount: float = 0.95  # per step, through the whole trial (paper: 0.99)
    gae_lambda: float = 0.8  # GAE (paper: 0.3)
    entropy: float = 0.1  # bonus per nat, decayed in a straight line to zero over 70 % of the run
    value_weight: float = 0.02  # of the critic's squared error in the loss
    gradient_clip: float = 1.0  # largest norm of the gradient
    privileged: bool = False  # training only: mean rewards, and a critic that is shown the task
    critic_apart: bool = False  # a critic with a hidden layer that sends no gradient into the core
    regret: bool = False  # training only: learns from rewards less the family's `oracle_return`; for episodes of fixed length only
    teacher: float = 0.0  # share of the run, from its start, that imitates the family's teacher instead
    reward_shift: float = 0.0  # taken off every reward before the agent sees or learns from it; for episodes of fixed length only
    reward_scale: float = 1.0  # rewards are multiplied by it afterwards
    device: str = "cpu"  # where tasks, agent and memory live, as torch names it

    def __post_init__(self) -> None:
        if self.core not in ("attention", "gru"):
            raise ValueError(f'core must be "attention" or "gru", not {self.core!r}')
        for name in ("episodes", "iterations", "tasks", "hidden", "key", "value"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


# Networks
class Memory(NamedTuple):
    """All that an agent carries from one step to the next; cleared as one."""
    hidden: Tensor  # (task, ...): the state of the core
    past: Tensor  # (task, past): action, action x reward, reward, end flag and observation of the step before


class GRUCore(nn.Module):
    """The paper's memory: gated recurrent units (Cho et al. 2014)."""

    def __init__(self, observation: int, inputs: int, config: Config) -> None:
        super().__init__()
        self.output_size = config.hidden
        self.hidden_shape: tuple[int, ...] = (config.hidden,)
        self.gru = nn.GRU(inputs, config.hidden)

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Input (task, input) and hidden (task, hidden) to output (task, hidden) and the next hidden."""
        hidden = torch.gru_cell(x, hidden, *self.gru.all_weights[0])
        return hidden, hidden

    def sequence(self, x: Tensor) -> Tensor:
        """Inputs (step, task, input) from cleared memory to outputs (step, task, hidden): `step` again and again, fused."""
        return self.gru(x)[0]


class AttentionCore(nn.Module):
    """Linear attention (Katharopoulos et al. 2020) without feature map and denominator, so that it can count: a sum of value x key.

    A step is stored under where it was taken, looked up by where the agent stands; equal events in equal places add up (5).
    """

    def __init__(self, observation: int, inputs: int, config: Config) -> None:
        super().__init__()
        self.observation = observation
        self.output_size = config.hidden + config.value
        self.hidden_shape: tuple[int, ...] = (config.value, config.key)
        self.to_key = nn.Linear(observation, config.key)
        self.to_value = nn.Linear(inputs, config.value)
        first, second = nn.Linear(config.value + inputs, config.hidden), nn.Linear(config.hidden, config.hidden)
        self.read = nn.Sequential(first, nn.Tanh(), second, nn.Tanh())

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (..., input) to keys and queries (..., key) and values (..., value)."""
        before, here = x[..., -2 * self.observation :].chunk(2, -1)
        return self.to_key(before), self.to_key(here), self.to_value(x)

    def output(self, found: Tensor, x: Tensor) -> Tensor:
        """What was looked up (..., value) and inputs (..., input) to outputs (..., hidden + value)."""
        found = found.sign() * found.abs().log1p()  # counts grow with the trial; differences of logarithms are ratios
        return torch.cat([self.read(torch.cat([found, x], -1)), found], -1)

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Input (task, input) and hidden (task, value, key) to output (task, hidden + value) and the next hidden."""
        key, query, value = self.project(x)
        hidden = hidden + value.unsqueeze(-1) * key.unsqueeze(-2)  # Katharopoulos et al. 2020, their recurrent form
        found = (hidden @ query.unsqueeze(-1)).squeeze(-1)  # (task, value); the same, without its denominator
        return self.output(found, x), hidden

    def sequence(self, x: Tensor) -> Tensor:
        """Inputs (step, task, input) from cleared memory to outputs (step, task, hidden + value): all of `step` at once."""
        key, query, value = (y.transpose(0, 1) for y in self.project(x))  # (task, step, ...)
        match = query @ key.transpose(-1, -2) * x.new_ones(len(x), len(x)).tril()  # (task, reading step, step written no later)
        return self.output((match @ value).transpose(0, 1), x)


class Agent(nn.Module):
    """Memory core, policy head and critic head for one family."""

    def __init__(self, config: Config, family: Family) -> None:
        super().__init__()
        self.memory, self.critic_apart, self.discrete, self.actions = config.memory, config.critic_apart, family.discrete, family.action_size
        self.past_size = family.observation_size + 2 * family.action_size + 2
        sizes = family.observation_size, family.observation_size + self.past_size  # of an observation, and of what the core is given
        self.core = GRUCore(*sizes, config) if config.core == "gru" else AttentionCore(*sizes, config)
        features = self.core.output_size + family.observation_size
        self.policy = nn.Linear(features, family.action_size)
        self.shown = family.sample(1, torch.Generator()).shape[-1] if config.privileged else 0  # numbers of a task, for the critic (7)
        layers = nn.Linear(features + self.shown, config.hidden), nn.Tanh(), nn.Linear(config.hidden, 1)
        self.critic = nn.Sequential(*layers) if self.shown or config.critic_apart else nn.Linear(features, 1)
        self.log_std = nn.Parameter(torch.zeros(family.action_size))  # of continuous actions
        for p in self.core.parameters():  # at PyTorch's own, smaller weights tasks look alike for long
            nn.init.orthogonal_(p, 2**0.5) if p.dim() > 1 else nn.init.zeros_(p)
        if isinstance(self.core, AttentionCore):
            nn.init.orthogonal_(self.core.to_key.weight)
            nn.init.eye_(self.core.to_value.weight)
        nn.init.orthogonal_(self.policy.weight, 0.1)  # begin close to uniform, to try every action
        nn.init.zeros_(self.policy.bias)

    def clear(self, n: int) -> Memory:
        """Empty memory of n tasks."""
        weight = self.policy.weight
        return Memory(weight.new_zeros(n, *self.core.hidden_shape), weight.new_zeros(n, self.past_size))

    def remember(self, observation: Tensor, action: Tensor, reward: Tensor, done: Tensor) -> Tensor:
        """What the next step is shown of this one, (task, past)."""
        taken = nn.functional.one_hot(action, self.actions).to(reward.dtype) if self.discrete else action  # (task, action)
        reward = reward.unsqueeze(-1)
        return torch.cat([taken, taken * reward, reward, done.to(reward.dtype).unsqueeze(-1), observation], -1)

    def value(self, features: Tensor, tasks: Tensor) -> Tensor:
        """Critic's value (..., task) of features (..., task, feature) in tasks (task, parameter), which only a privileged one is shown."""
        if self.shown:
            features = torch.cat([features, tasks.expand(*features.shape[:-1], -1)], -1)
        return self.critic(features.detach() if self.critic_apart else features).squeeze(-1)

    def step(self, observation: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """One step of all tasks: what the heads are given (task, feature) and the next state of the core."""
        output, hidden = self.core.step(torch.cat([memory.past, observation], -1), memory.hidden)
        return torch.cat([output, observation], -1), hidden

    def sequence(self, observation: Tensor, past: Tensor) -> Tensor:
        """Whole trials (step, task, ...) from cleared memory to features (step, task, feature); without memory each step is a trial."""
        x = torch.cat([past, observation], -1)
        output = self.core.sequence(x) if self.memory else self.core.sequence(x.flatten(0, 1)[None]).view(*x.shape[:2], -1)
        return torch.cat([output, observation], -1)

    def act(self, policy: Tensor, generator: torch.Generator, greedy: bool) -> Tensor:
        """Draw an action for each row of `policy` (task, action), or take the likeliest one."""
        if greedy:
            return policy.argmax(-1) if self.discrete else policy
        if self.discrete:
            clocks = torch.empty_like(policy).exponential_(generator=generator)
            return (policy.softmax(-1) / clocks).argmax(-1)  # the first of the exponential clocks to ring
        return policy + self.log_std.exp() * torch.randn(policy.shape, generator=generator, device=policy.device)

    def log_prob_and_entropy(self, policy: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of the actions and entropy in nats, both without the action axis."""
        if self.discrete:
            log_p = policy.log_softmax(-1)
            return log_p.gather(-1, action.unsqueeze(-1)).squeeze(-1), -(log_p.exp() * log_p).sum(-1)
        normal = torch.distributions.Normal(policy, self.log_std.exp())
        return normal.log_prob(action).sum(-1), normal.entropy().sum(-1)


# Rollout
@dataclass(frozen=True)
class Rollout:
    """A batch of trials; after the end of a trial its row is padding, with `alive` false."""
    observation: Tensor  # (step, task, obs)
    past: Tensor  # (step, task, past): the memory's other input
    action: Tensor  # (step, task) long, or (step, task, action)
    reward: Tensor  # (step, task), as drawn and scaled
    credit: Tensor  # (step, task), what is learned from: the same, or if privileged its mean, or either less an oracle's
    terminated: Tensor  # (step, task): the task ended the episode
    truncated: Tensor  # (step, task): the time limit cut it off
    alive: Tensor  # (step, task)
    last: Tensor  # (step, task): last step of the trial
    after: Tensor  # (task,): value of what a cut-off last episode had left, 0 where it terminated
    returns: Tensor  # (task, episode): undiscounted, unscaled; of mean rewards where the family knows them
    tasks: Tensor  # (task, parameter)


@torch.no_grad()
def rollout(agent: Agent, config: Config, family: Family, tasks: Tensor, generator: torch.Generator, *,
            greedy: bool = False, forget: bool = False) -> Rollout:
    """Play one trial in each of `tasks` (task, parameter), all side by side."""
    n, device = len(tasks), tasks.device
    mean_reward = getattr(family, "expected_reward", None)
    best = family.oracle_return(tasks, generator) / family.horizon * config.reward_scale if config.regret else 0.0  # (task,), a step
    state = family.reset(tasks)  # (task, state)
    memory = agent.clear(n)  # kept across episodes, cleared per task
    episode = time_in_episode = torch.zeros(n, dtype=torch.long, device=device)
    returns = torch.zeros(n, config.episodes + 1, device=device)  # the last column takes in the padding
    after = torch.zeros(n, device=device)
    rows: list[tuple[Tensor, ...]] = []
    for _ in range(config.episodes * family.horizon):
        alive = episode < config.episodes
        if not alive.any():
            break
        memory = agent.clear(n) if forget or not agent.memory else memory
        observation = family.observe(state)
        features, hidden = agent.step(observation, memory)
        action = agent.act(agent.policy(features), generator, greedy)
        expected = None if mean_reward is None else mean_reward(tasks, state, action)
        state, reward, terminated = family.step(tasks, state, action, generator)
        time_in_episode = time_in_episode + 1
        truncated = (time_in_episode >= family.horizon) & ~terminated
        done = terminated | truncated
        expected = reward if expected is None else expected
        returns.scatter_add_(1, episode[:, None], expected[:, None])
        reward, expected = ((r - config.reward_shift) * config.reward_scale for r in (reward, expected))
        rows.append((observation, memory.past, action, reward, (expected if agent.shown else reward) - best, terminated & alive,
                     truncated & alive, alive, done & (episode == config.episodes - 1)))  # fmt: skip
        memory = Memory(hidden, agent.remember(observation, action, reward, done))
        cut = rows[-1][-1] & truncated
        if cut.any():  # the time limit is none of the task's: what would have come counts
            features, _ = agent.step(family.observe(state), memory if agent.memory else agent.clear(n))
            after = torch.where(cut, agent.value(features, tasks), after)
        episode = torch.where(alive & done, episode + 1, episode)
        time_in_episode = torch.where(done, 0, time_in_episode)
        state = torch.where(done[:, None], family.reset(tasks), state)  # a new episode of the same task: memory stays
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    return Rollout(*columns, after, returns[:, : config.episodes], tasks)


# Loss
def advantages(reward: Tensor, value: Tensor, last: Tensor, after: Tensor, discount: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates (step, task) over whole trials, straight through the ends of their episodes.

    After the last step of a trial, where `last` is true, comes `after` (task,) and nothing more.
    """
    result = torch.zeros_like(reward)
    running, next_value = torch.zeros_like(after), after
    for t in range(len(reward) - 1, -1, -1):
        next_value = torch.where(last[t], after, next_value)
        running = torch.where(last[t], 0.0, running)
        delta = reward[t] + discount * next_value - value[t]  # Schulman et al. 2016, TD residual of section 3
        running = delta + discount * gae_lambda * running  # Schulman et al. 2016, eq. (16), summed from the end
        result[t], next_value = running, value[t]
    return result


def loss(agent: Agent, config: Config, batch: Rollout, entropy_weight: float, told: Tensor | None = None) -> Tensor:
    """Advantage actor-critic loss, a scalar, over the steps of a trial; with `told`, actions of a teacher as in the batch, imitation's."""
    features = agent.sequence(batch.observation, batch.past)
    log_prob, entropy = agent.log_prob_and_entropy(agent.policy(features), batch.action if told is None else told)  # (step, task) each
    if told is not None:
        return -(log_prob * batch.alive).sum() / batch.alive.sum()  # (9)
    value = agent.value(features, batch.tasks)  # (step, task)
    baseline = value.detach()
    advantage = advantages(batch.credit, baseline, batch.last, batch.after, config.discount, config.gae_lambda)
    alive = batch.alive.to(value.dtype)
    centre = (advantage * alive).sum() / alive.sum()
    spread = (((advantage - centre) ** 2 * alive).sum() / alive.sum()).sqrt() + 1e-8
    actor = -log_prob * (advantage - centre) / spread
    critic = (value - baseline - advantage) ** 2
    return ((actor + config.value_weight * critic - entropy_weight * entropy) * alive).sum() / alive.sum()


# Update
def update(agent: Agent, optimizer: torch.optim.Optimizer, config: Config, batch: Rollout, done: float, told: Tensor | None = None) -> None:
    """One gradient step, on the teacher's actions if `told`; `done` is the share of the run that lies behind, from 0 to 1."""
    optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - 0.95 * done)
    optimizer.zero_grad()
    loss(agent, config, batch, config.entropy * max(0.0, 1 - done / 0.7), told).backward()
    nn.utils.clip_grad_norm_(agent.parameters(), config.gradient_clip)
    optimizer.step()


# Adapt at test time
class Trained(NamedTuple):
    """The outcome of `train`."""
    agent: Agent


def evaluate(trained: Trained, config: Config, family: Family, tasks: Tensor, seed: int, *,
             forget: bool = False, greedy: bool = True) -> Tensor:
    """Return (task, episode) in each episode of a trial in each of `tasks`; adapting is the memory's work alone.

    `forget` clears the memory before every step: the same weights, unadapted. `greedy` takes the likeliest action.
    """
    generator = torch.Generator(config.device).manual_seed(seed)
    parts = tasks.to(config.device).split(5_000)  # so many trials at once: bounds the working memory
    played = [rollout(trained.agent, config, family, part, generator, greedy=greedy, forget=forget) for part in parts]
    return torch.cat([part.returns for part in played]).to(tasks.device)


# Train
def train(config: Config, family: Family, progress: Callable[[int, int, float], None] | None = None, *,
          checkpoint: str | None = None, every: int = 100) -> Trained:
    """Train on tasks drawn anew for each batch; `progress` is called with iterations done, in all, mean episode return.

    `checkpoint` names a file to write after every `every` iterations and at the end. Where there is one, the training goes on from
    it, to the bit as if it had not stopped; ValueError where that is of other settings.
    """
    generator = torch.Generator(config.device).manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):  # initial weights take the global generator; leave it as it was
        torch.manual_seed(config.seed)
        agent = Agent(config, family).to(config.device)
    # 0.98 and not 0.999: the squares of the first, large critic errors have to be forgotten within tens of steps.
    optimizer = torch.optim.Adam(agent.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
    begin = resume_training(checkpoint, agent, optimizer, generator, asdict(config)) if checkpoint else 0
    for i in range(begin, config.iterations):
        done = i / config.iterations
        grown = 1.0 if done >= config.growth else done / config.growth
        trial = replace(config, episodes=max(min(10, config.episodes), round(grown * config.episodes)))
        batch = rollout(agent, trial, family, family.sample(config.tasks, generator), generator)
        told = family.teacher(batch.action, batch.reward) if done < config.teacher else None
        update(agent, optimizer, config, batch, done, told)
        if checkpoint and ((i + 1) % every == 0 or i + 1 == config.iterations):
            save_training(checkpoint, agent, optimizer, generator, i + 1, asdict(config))
        if progress is not None:
            progress(i + 1, config.iterations, batch.returns.mean().item())
    return Trained(agent)


# Main
def main() -> None:
    """Train on bandits, then print what the policy scores on held-out tasks, between random and the exact optimum."""
    parser = argparse.ArgumentParser(prog="python -m reference_impls.rl2", description="RL² on Bernoulli bandits")
    parser.add_argument("--arms", type=int, default=5)
    parser.add_argument("--pulls", type=int, default=10, help="episodes per trial, at most 20")
    parser.add_argument("--checkpoint", help="file to keep the training in, and to go on from where it exists")
    parser.add_argument("--log", help="file that gets a line of JSON after each iteration")
    parser.add_argument("--tensorboard", help="folder that gets events for TensorBoard after each iteration")
    names = ("seed", "iterations", "tasks", "core", "hidden", "learning_rate", "discount", "gae_lambda", "entropy", "teacher", "device")
    for name in names:
        parser.add_argument("--" + name.replace("_", "-"), type=type(getattr(Config, name)), default=getattr(Config, name))
    for name, says in (("json", "print in one line"), ("privileged", "as Config has it"), ("regret", "as Config has it")):
        parser.add_argument("--" + name, action="store_true", help=says)
    options = vars(parser.parse_args())
    torch.set_num_threads(1)
    try:
        family = Bandit(options["arms"], options["pulls"])
        config = Config(episodes=family.pulls, **{name: options[name] for name in (*names, "privileged", "regret")})
        result = {"optimum": family.bayes_optimum()}
        with Scalars(options["log"], options["tensorboard"]) as scalars:
            write = lambda i, n, mean: scalars.write(i, episode_return=mean)  # noqa: E731
            trained = train(config, family, write, checkpoint=options["checkpoint"])
    except (ValueError, OSError) as error:
        parser.error(str(error))
    result["cpu_seconds"] = time.process_time()
    tasks = family.sample(40_000, generator := torch.Generator().manual_seed(config.seed + 1_000_000))  # apart from training's
    result["return"] = evaluate(trained, config, family, tasks, config.seed + 2).sum(1).mean().item()
    result["greedy"] = family.greedy_return(tasks, generator).sum(1).mean().item()
    result["random"] = family.pulls * family.random_return(tasks, generator).mean().item()
    print(json.dumps({**result, "settings": asdict(config)}, indent=None if options["json"] else 2))


if __name__ == "__main__":
    main()
