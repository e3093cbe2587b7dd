"""Multi-task soft actor-critic: one policy for a known set of tasks, told by a number which task it is in.

Papers: Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv 1812.05905), the learner; Yu et
al. 2019, "Meta-World" (arXiv 1910.10897), the task number as a one-hot input, heads; Yang et al. 2020, "Multi-Task
Reinforcement Learning with Soft Modularization" (arXiv 2003.13661), mixtures; mitigations.py names those of the rest.

The idea:
  1. The tasks are known, and the same in training and in use; so nothing has to be inferred, only learned.
  2. Observation and task number (one-hot) go into one actor and one critic: what helps one task can help the others.
  3. Each task has its own replay memory, and each gradient step takes the same number of transitions from each.
  4. All tasks are one batched tensor: the leading axis is the task, and a network may hold one set of weights a task.
  5. The rivals and the mitigations are switches of `Config`, from the hidden number to tasks that arrive in turn.

Departures from the papers:
  1. The entropy coefficient is a constant, not learned. Instead each task's rewards are centred and divided by their
     own spread, so that one coefficient fits all tasks and loud tasks do not drown quiet ones.
  2. Smaller networks, discount and memory, for tasks of some 20 steps; whole episodes are collected between updates.
  3. An environment that ends is started again at once, until the time limit; targets know the one from the other.
  4. A mixture weighs whole experts layer by layer, from one gate that reads the input; Yang et al. weigh each pair of
     modules of neighbouring layers, from a routing network of several layers.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .mitigations import Learner, Network, spread_of_returns
from .tasks.catalogue import Catalogue, Family

BALANCES = ("equal", "inverse_loss", "gradnorm")


@dataclass(frozen=True)
class Config:
    seed: int = 0
    iterations: int = 60  # rounds of collecting and learning, shared out where tasks come in turn
    episodes: int = 8  # episodes per task and round
    updates: int = 10  # gradient steps per round; Haarnoja et al.: one for each environment step
    batch: int = 64  # transitions per task and gradient step; Haarnoja et al.: 256 of one task
    replay: int = 20_000  # transitions kept per task, the oldest go first; Haarnoja et al.: 1e6
    hidden: tuple[int, ...] = (64, 64)  # Haarnoja et al.: (256, 256)
    critic_hidden: tuple[int, ...] | None = None  # None: as `hidden`
    learning_rate: float = 5e-3  # Adam, falls linearly to a tenth; Haarnoja et al.: 3e-4, constant
    discount: float = 0.9  # gamma; Haarnoja et al.: 0.99, for episodes of 1000 steps, here they have 20
    tau: float = 0.05  # share of the critic that moves into its target at each step; Haarnoja et al.: 0.005
    entropy: float = 0.02  # alpha, in units of a task's reward spread; departure 1
    task_id: bool = True  # False hides the task number: one compromise for all tasks
    separate: bool = False  # a network for each task, nothing shared; the sum of the environment steps stays the same
    heads: bool = False  # shared hidden layers, the last layer for each task apart
    experts: int = 0  # hidden layers in so many copies, mixed by a gate; 0: plain layers
    gate: str = "task"  # what the gate of a mixture reads: "task", the number alone; "input", the observation too
    surgery: bool = False  # PCGrad on the gradients of actor and critic
    balance: str = "equal"  # weights of the tasks' losses, moved in training: "inverse_loss", "gradnorm"
    task_weights: tuple[float, ...] | None = None  # fixed weight of each task's loss; None: all alike
    normalise_rewards: bool = True  # divide each task's rewards by their standard deviation in its memory
    return_scale: bool = False  # instead, divide by (1 - discount) times that of the discounted returns
    centre_rewards: bool = True  # subtract their mean: else the critic must first learn a large constant
    in_turn: bool = False  # the tasks arrive one after another, each for an equal share of the iterations
    rehearse: bool = False  # in turn: each gradient step also draws from the memories of the tasks before
    ewc: float = 0.0  # in turn: weight of EWC's penalty on the actor; critics only serve the task in training

    def __post_init__(self) -> None:
        if not self.task_id and (self.separate or self.heads or self.experts and self.gate == "task"):
            raise ValueError("task_id=False hides the task, but separate networks, heads or a gate by task would tell it")
        if (self.separate, self.heads or self.experts > 0, self.surgery, self.balance == "gradnorm").count(True) > 1:
            raise ValueError("choose one of separate, heads or experts, surgery, gradnorm: the last two need shared weights")
        if self.balance not in BALANCES or self.gate not in ("task", "input"):
            raise ValueError(f"balance is one of {BALANCES}, gate task or input; got {self.balance!r}, {self.gate!r}")
        if self.in_turn and (self.separate or self.surgery or self.balance != "equal"):
            raise ValueError("in_turn has one task to learn at a time: separate, surgery and balance have no meaning there")
        if (self.rehearse or self.ewc) and not self.in_turn:
            raise ValueError("rehearse and ewc are for tasks that arrive one after another: in_turn=True")


@dataclass(frozen=True)
class Trained:
    actor: MLP
    critic: Twin
    tasks: Tensor  # (task, parameter): the training tasks, in the order of their ids
    environment_steps: int  # over all tasks


# --- Networks ---
class MLP(nn.Module):
    """ReLU network, (task, row, input) -> (task, row, output); appends the one-hot task id where the config wants it.

    Each layer holds one set of weights for all tasks, or one for each (`separate`, `heads`): weight (owner, in, out),
    bias (owner, 1, out), where owner is 1 or task. With experts the owner of a hidden layer is the expert.
    """

    def __init__(self, inputs: int, outputs: int, config: Config, tasks: int, generator: torch.Generator) -> None:
        super().__init__()
        self.id_size = tasks if config.task_id and not config.separate else 0
        self.experts, self.gate_from = config.experts, inputs if config.gate == "task" else 0
        sizes = [inputs + self.id_size, *config.hidden, outputs]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            last = layer == len(config.hidden)
            owners = tasks if config.separate or config.heads and last else 1 if last else max(1, config.experts)
            for parameters, rows in ((self.weights, fan_in), (self.biases, 1)):
                uniform = 2 * torch.rand(owners, rows, fan_out, generator=generator) - 1
                parameters.append(nn.Parameter(uniform / math.sqrt(fan_in)))
        if self.experts:
            self.gate = nn.Parameter(torch.randn(1, sizes[0] - self.gate_from, self.experts, generator=generator))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """x (task, row, input), ids (task,) long -> (task, row, output). Id -1 stands for no task: all zeros."""
        if self.id_size:
            one_hot = torch.eye(self.id_size + 1)[ids, :-1]  # (task, id); -1 picks the last row: all zeros
            x = torch.cat([x, one_hot[:, None].expand(-1, x.shape[1], -1)], -1)
        shape = x.shape[:2]
        if self.experts:
            mixture = (x.flatten(0, 1)[:, self.gate_from :] @ self.gate[0]).softmax(-1)  # (task x row, expert)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x.relu() if layer else x
            if self.experts and layer < len(self.weights) - 1:  # departure 4
                each = torch.baddbmm(bias, x.flatten(0, 1).expand(self.experts, -1, -1), weight)
                x = torch.einsum("erh,re->rh", each, mixture).unflatten(0, shape)
            elif len(weight) == 1:
                x = (x.flatten(0, 1) @ weight[0] + bias[0]).unflatten(0, shape)
            else:
                x = torch.baddbmm(bias[ids], x, weight[ids])
        return x


class Twin(nn.Module):
    """Two critics; the smaller value is used, since the maximum over a single critic's errors is soon too hopeful."""

    def __init__(self, inputs: int, config: Config, tasks: int, generator: torch.Generator) -> None:
        super().__init__()
        config = replace(config, hidden=config.critic_hidden or config.hidden)
        self.first = MLP(inputs, 1, config, tasks, generator)
        self.second = MLP(inputs, 1, config, tasks, generator)

    def forward(self, observation: Tensor, action: Tensor, ids: Tensor) -> Tensor:
        """observation (task, row, obs), action (task, row, action), ids (task,) -> (critic, task, row)."""
        x = torch.cat([observation, action], -1)
        return torch.stack([self.first(x, ids), self.second(x, ids)]).squeeze(-1)


def act(actor: Network, observation: Tensor, ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """observation (task, row, obs), ids (task,) -> action (task, row, action) in (-1, 1), log-density (task, row)."""
    mean, log_std = actor(observation, ids).chunk(2, -1)
    log_std = log_std.clamp(-5, 1)
    noise = torch.randn(mean.shape, generator=generator)
    u = mean + log_std.exp() * noise  # a = f(epsilon; s): the gradient goes through the action
    log_normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
    log_slope = 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))  # log(1 - tanh(u)^2), safe for large u
    return u.tanh(), (log_normal - log_slope).sum(-1)  # Haarnoja et al. 2018, appendix C


# --- Rollout ---
class Batch(NamedTuple):
    observation: Tensor  # (task, row, obs)
    action: Tensor  # (task, row, action)
    reward: Tensor  # (task, row)
    next_observation: Tensor  # (task, row, obs): the one reached, also where the episode ended there
    terminated: Tensor  # (task, row) 0 or 1: ended by the environment; a time limit leaves it 0


@torch.no_grad()
def collect(
    actor: Network, family: Family, tasks: Tensor, ids: Tensor, episodes: int, generator: torch.Generator
) -> Batch:
    """`horizon` steps in each of `episodes` environments a task; tasks (task, parameter), ids (task,); row = step x episode."""
    rows = tasks[:, None].expand(-1, episodes, -1)  # (task, episode, parameter)
    state, steps = family.reset(rows), []
    for _ in range(family.horizon):
        observation = family.observe(state)
        action, _ = act(actor, observation, ids, generator)
        state, reward, terminated = family.step(rows, state, action, generator)
        steps.append(Batch(observation, action, reward, family.observe(state), terminated.float()))
        state = torch.where(terminated[..., None], family.reset(rows), state)  # departure 3
    return Batch(*(torch.cat(parts, 1) for parts in zip(*steps, strict=True)))


def remember(replay: Batch | None, new: Batch, capacity: int) -> Batch:
    """Append along the row axis, keep the newest `capacity` rows of each task."""
    replay = replay or Batch(*(x[:, :0] for x in new))
    return Batch(*(torch.cat([old, x], 1)[:, -capacity:] for old, x in zip(replay, new, strict=True)))


def standard(replay: Batch, family: Family, config: Config) -> tuple[Tensor, Tensor]:
    """Shift and scale of each task's rewards, (task,) each; departure 1."""
    shift, scale = replay.reward.mean(1), replay.reward.std(1, correction=0)
    if config.return_scale:
        sums = spread_of_returns(replay.reward, replay.terminated, family.horizon, config.episodes, config.discount)
        scale = (1 - config.discount) * sums  # a constant reward's units
    scale = torch.where(scale > 1e-6, scale, 1.0)
    return shift * config.centre_rewards, scale if config.normalise_rewards else torch.ones_like(scale)


def draw(replay: Batch, config: Config, shift: Tensor, scale: Tensor, generator: torch.Generator) -> Batch:
    """`config.batch` transitions of each task, with replacement, rewards shifted and scaled by shift, scale (task,).

    After an end all rewards are 0; shifted they are -shift for ever, worth -shift / (1 - discount). That is added to the
    last reward, so that every value is moved by the same constant and no policy gains by it.
    """
    tasks, filled = replay.reward.shape
    pick = torch.randint(filled, (tasks, config.batch), generator=generator)
    batch = Batch(*(x[torch.arange(tasks)[:, None], pick] for x in replay))
    after_end = -shift * config.discount / (1 - config.discount)  # (task,)
    reward = batch.reward - shift[:, None] + batch.terminated * after_end[:, None]
    return batch._replace(reward=reward / scale[:, None])


# --- Loss ---
@torch.no_grad()
def targets(
    actor: Network, target: Network, batch: Batch, ids: Tensor, config: Config, generator: torch.Generator
) -> Tensor:
    """What the critic should say, (task, row): Haarnoja et al. 2018, eq. (3) inside eq. (5); ids (task,)."""
    action, log_probability = act(actor, batch.next_observation, ids, generator)
    value = target(batch.next_observation, action, ids).amin(0) - config.entropy * log_probability  # eq. (3)
    return batch.reward + config.discount * (1 - batch.terminated) * value  # after a time limit the value counts


def critic_loss(critic: Network, batch: Batch, ids: Tensor, target: Tensor) -> Tensor:
    """Loss of each task, (task,): Haarnoja et al. 2018, eq. (5), summed over both critics."""
    q = critic(batch.observation, batch.action, ids)  # (critic, task, row)
    return 0.5 * (q - target).square().mean(-1).sum(0)


def actor_loss(
    actor: Network, critic: Network, batch: Batch, ids: Tensor, config: Config, generator: torch.Generator
) -> Tensor:
    """Loss of each task, (task,): Haarnoja et al. 2018, eq. (7)."""
    action, log_probability = act(actor, batch.observation, ids, generator)
    q = critic(batch.observation, action, ids).amin(0)
    return (config.entropy * log_probability - q).mean(-1)


# --- Update ---
def update(
    actor: Learner, critic: Learner, target: Twin, batch: Batch, ids: Tensor, config: Config, generator: torch.Generator
) -> None:
    """One gradient step of critic and actor, then the target follows (Haarnoja et al. 2018, algorithm 1)."""
    y = targets(actor.network, target, batch, ids, config, generator)
    critic.descend(lambda q: critic_loss(q, batch, ids, y), ids, generator)
    actor.descend(lambda pi: actor_loss(pi, critic.network, batch, ids, config, generator), ids, generator)
    with torch.no_grad():
        for slow, p in zip(target.parameters(), critic.network.parameters(), strict=True):
            slow.lerp_(p, config.tau)


# --- Adapt at test time: nothing adapts; whoever knows the task gives its id ---
@torch.no_grad()
def evaluate(
    trained: Trained, config: Config, family: Family, tasks: Tensor, seed: int, ids: Tensor | None = None,
    episodes: int = 1,
) -> Tensor:
    """Mean undiscounted return of the mean action: tasks (task, parameter) -> (task, 1).

    ids (task,) long says which task the policy is told it is in: any known id on any task, or -1 for none; by default
    the id under which the task was trained. More than one episode pays where the family is noisy.
    Raises ValueError for a task that was not trained on, where no ids are given, and for ids that are not known.
    """
    if ids is None:
        same = (tasks[:, None] == trained.tasks).all(-1)  # (task, id)
        ids = torch.where(same.any(1), same.int().argmax(1), -1)
        if config.task_id and bool((ids < 0).any()):
            raise ValueError("a task was not trained on, so it has no id: pass the ids to be tried, or use try_each")
    first, last = 0 if config.separate or config.heads else -1, len(trained.tasks) - 1
    if ids.shape != tasks.shape[:1] or bool(((ids < first) | (ids > last)).any()):
        raise ValueError(f"{len(tasks)} tasks need as many ids from {first} to {last}; got {ids.tolist()}")
    generator = torch.Generator().manual_seed(seed)
    rows = tasks[:, None].expand(-1, episodes, -1)  # (task, episode, parameter)
    state = family.reset(rows)
    total, alive = torch.zeros(rows.shape[:2]), torch.ones(rows.shape[:2])
    for _ in range(family.horizon):
        mean, _ = trained.actor(family.observe(state), ids).chunk(2, -1)
        state, reward, terminated = family.step(rows, state, mean.tanh(), generator)
        total = total + alive * reward  # what comes after the end does not count
        alive = alive * (1 - terminated.float())
    return total.mean(1, keepdim=True)


def try_each(trained: Trained, config: Config, family: Family, tasks: Tensor, seed: int, episodes: int = 1) -> Tensor:
    """Return of every known id on every task, (task, id): a row's maximum is what trial and error over ids can reach."""
    known = len(trained.tasks)
    ids = torch.arange(known).repeat(len(tasks))  # (task x id,)
    return evaluate(trained, config, family, tasks.repeat_interleave(known, 0), seed, ids, episodes).view(-1, known)


# --- Train ---
class Moment(NamedTuple):
    """What training looks like after a round; all of it lives on, so copy what is to be kept."""

    done: int  # rounds so far
    actor: MLP
    critic: Twin
    target: Twin
    batch: Batch  # the last one learned from
    ids: Tensor  # (task,) whose it was


def train(
    config: Config, family: Family, tasks: Tensor | None = None, progress: Callable[[int, int, float], None] | None = None,
    watch: Callable[[Moment], None] | None = None,
) -> Trained:
    """Learn the tasks (task, parameter), by default `family.catalogue()`; the place in `tasks` is a task's id.

    progress(done, total, figure) is called after each round; figure: mean reward sum of the `horizon` steps collected.
    watch(moment) is called after it. Raises ValueError for a family with discrete actions, for task_weights of another
    number than the tasks, and for fewer rounds than tasks that arrive in turn.
    """
    if family.discrete:
        raise ValueError("this actor-critic needs continuous actions; the family's are discrete")
    if tasks is None:
        if not hasattr(family, "catalogue"):
            raise ValueError(f"{type(family).__name__} has no catalogue: pass tasks, for example sample(20, generator)")
        tasks = family.catalogue()
    n = len(tasks)
    if config.task_weights is not None and len(config.task_weights) != n:
        raise ValueError(f"{len(config.task_weights)} task_weights for {n} tasks")
    generator = torch.Generator().manual_seed(config.seed)
    actor = Learner(MLP(family.observation_size, 2 * family.action_size, config, n, generator), config, n)
    critic = Learner(Twin(family.observation_size + family.action_size, config, n, generator), config, n)
    target = copy.deepcopy(critic.network).requires_grad_(False)
    ids = torch.arange(n)
    phases = ids.split(1 if config.in_turn else n)  # the tasks that are there together, (task,) each
    rounds = config.iterations // len(phases)
    if config.iterations and not rounds:
        raise ValueError(f"{config.iterations} rounds are not one for each of {n} tasks in turn")

    past: list[tuple[Batch, Tensor, Tensor]] = []  # finished tasks: memory, shift and scale of rewards
    for phase in phases:
        replay, here = None, past
        for done in range(rounds):
            new = collect(actor.network, family, tasks[phase], phase, config.episodes, generator)
            replay = remember(replay, new, config.replay)
            here = [*past, (replay, *standard(replay, family, config))]
            learned = ids[: phase[-1] + 1] if config.rehearse else phase
            for learner in (actor, critic):
                learner.optimiser.param_groups[0]["lr"] = config.learning_rate * (1 - 0.9 * done / rounds)
            for _ in range(config.updates):
                drawn = [draw(memory, config, *standards, generator) for memory, *standards in here]
                batch = Batch(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
                update(actor, critic, target, batch, learned, config, generator)
            finished = int(phase[0]) * rounds + done + 1
            if progress is not None:
                progress(finished, len(phases) * rounds, float(new.reward.sum(1).mean()) / config.episodes)
            if watch is not None:
                watch(Moment(finished, actor.network, critic.network, target, batch, learned))
        if config.ewc and replay is not None:
            actor.hold(replay.observation[0], phase, generator)
        if config.rehearse:
            past = here
    return Trained(actor.network, critic.network, tasks, rounds * config.episodes * family.horizon * n)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train multi-task soft actor-critic on a catalogue of point goals.")
    parser.add_argument("--tasks", type=int, default=10, help="goals in the catalogue")
    parser.add_argument("--arc", type=float, default=2 * math.pi, help="radians they lie on; small: similar tasks")
    for name in ("seed", "iterations", "episodes", "updates", "experts"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Config, name))
    parser.add_argument("--balance", default="equal", choices=BALANCES)
    parser.add_argument("--hide-id", dest="task_id", action="store_false", help="control: the policy is not told its task")
    for name in ("separate", "heads", "surgery", "json"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the tensors are small: a second thread costs more than it brings
    family = Catalogue(args.tasks, args.arc)
    config = Config(**{name: value for name, value in vars(args).items() if name not in ("tasks", "arc", "json")})
    def show(done: int, total: int, figure: float) -> None:
        if done % 10 == 0:
            print(f"round {done}/{total}: reward sum {figure:.2f}")

    start = time.process_time()
    trained = train(config, family, progress=None if args.json else show)
    seconds = time.process_time() - start
    tasks, generator = family.catalogue(), torch.Generator().manual_seed(config.seed)
    returns = evaluate(trained, config, family, tasks, config.seed)
    figures = {"return": returns, "worst task": returns.min()}
    figures |= {"random": family.random_return(tasks, generator), "oracle": family.oracle_return(tasks, generator)}
    tasks = family.shifted(100, generator)
    figures["shifted goals, best id"] = try_each(trained, config, family, tasks, config.seed).amax(1)
    figures["shifted goals, oracle"] = family.oracle_return(tasks, generator)
    result: dict[str, Any] = {name: figure.mean().item() for name, figure in figures.items()}
    result |= {"environment steps": trained.environment_steps, "cpu seconds": seconds}
    if args.json:
        print(json.dumps({**result, "settings": asdict(config)}))
    else:
        print("\n".join(f"{name:24s}{value:10.2f}" for name, value in result.items()))


if __name__ == "__main__":
    main()
