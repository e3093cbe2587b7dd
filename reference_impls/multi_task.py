"""Multi-task soft actor-critic: one policy for a known set of tasks, told by a number which task it is in.

Papers: Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv 1812.05905), the learner; Yu et
al. 2019, "Meta-World" (arXiv 1910.10897), the task number as a one-hot input, heads; Yu et al. 2020, "Gradient Surgery
for Multi-Task Learning" (arXiv 2001.06782), PCGrad.

The idea:
  1. The tasks are known, and the same in training and in use; so nothing has to be inferred, only learned.
  2. Observation and task number (one-hot) go into one actor and one critic: what helps one task can help the others.
  3. Each task has its own replay memory, and each gradient step takes the same number of transitions from each.
  4. All tasks are one batched tensor: the leading axis is the task, and a network may hold one set of weights a task.
  5. The rivals are switches of `Config`: number hidden, separate networks, a head per task, gradient surgery.

Departures from the papers:
  1. The entropy coefficient is a constant, not learned. Instead each task's rewards are centred and divided by their
     own spread, so that one coefficient fits all tasks and loud tasks do not drown quiet ones.
  2. Smaller networks, discount and memory, for tasks of some 20 steps; whole episodes are collected between updates.
  3. An environment that ends is started again at once, until the time limit; targets know the one from the other.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam, Optimizer

from .tasks.catalogue import Catalogue


@dataclass(frozen=True)
class Config:
    seed: int = 0
    iterations: int = 60  # rounds of collecting and learning
    episodes: int = 8  # episodes per task and round
    updates: int = 10  # gradient steps per round; Haarnoja et al.: one for each environment step
    batch: int = 64  # transitions per task and gradient step; Haarnoja et al.: 256 of one task
    replay: int = 20_000  # transitions kept per task, the oldest go first; Haarnoja et al.: 1e6
    hidden: tuple[int, ...] = (64, 64)  # Haarnoja et al.: (256, 256)
    learning_rate: float = 5e-3  # Adam, falls linearly to a tenth; Haarnoja et al.: 3e-4, constant
    discount: float = 0.9  # gamma; Haarnoja et al.: 0.99, for episodes of 1000 steps, here they have 20
    tau: float = 0.05  # share of the critic that moves into its target at each step; Haarnoja et al.: 0.005
    entropy: float = 0.02  # alpha, in units of a task's reward spread; departure 1
    task_id: bool = True  # False hides the task number: one compromise for all tasks
    separate: bool = False  # a network for each task, nothing shared; the sum of the environment steps stays the same
    heads: bool = False  # shared hidden layers, the last layer for each task apart
    surgery: bool = False  # PCGrad on the gradients of actor and critic
    normalise_rewards: bool = True  # divide each task's rewards by their standard deviation in its memory
    centre_rewards: bool = True  # subtract their mean: else the critic must first learn a large constant
    task_weights: tuple[float, ...] | None = None  # weight of each task's loss; None: all alike

    def __post_init__(self) -> None:
        if (self.separate or self.heads) and not self.task_id:
            raise ValueError("task_id=False hides the task, but separate networks or heads would tell it")
        if self.separate and (self.heads or self.surgery) or self.heads and self.surgery:
            raise ValueError("choose one of separate, heads and surgery: heads and surgery need shared weights")


class Family(Protocol):
    """What a task family must offer; states, observations and actions are tensors with any leading axes."""

    @property
    def horizon(self) -> int: ...
    @property
    def observation_size(self) -> int: ...
    @property
    def action_size(self) -> int: ...
    @property
    def discrete(self) -> bool: ...
    def reset(self, tasks: Tensor) -> Tensor: ...
    def observe(self, state: Tensor) -> Tensor: ...
    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]: ...


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
    bias (owner, 1, out), where owner is 1 or task.
    """

    def __init__(self, inputs: int, outputs: int, config: Config, tasks: int, generator: torch.Generator) -> None:
        super().__init__()
        self.id_size = tasks if config.task_id and not config.separate else 0
        sizes = [inputs + self.id_size, *config.hidden, outputs]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            own = config.separate or config.heads and layer == len(config.hidden)
            for parameters, rows in ((self.weights, fan_in), (self.biases, 1)):
                uniform = 2 * torch.rand(tasks if own else 1, rows, fan_out, generator=generator) - 1
                parameters.append(nn.Parameter(uniform / math.sqrt(fan_in)))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """x (task, row, input), ids (task,) long -> (task, row, output). Id -1 stands for no task: all zeros."""
        if self.id_size:
            one_hot = torch.eye(self.id_size + 1)[ids, :-1]  # (task, id); -1 picks the last row: all zeros
            x = torch.cat([x, one_hot[:, None].expand(-1, x.shape[1], -1)], -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x.relu() if layer else x
            if len(weight) == 1:
                x = (x.flatten(0, 1) @ weight[0] + bias[0]).unflatten(0, x.shape[:2])
            else:
                x = torch.baddbmm(bias[ids], x, weight[ids])
        return x


class Twin(nn.Module):
    """Two critics; the smaller value is used, since the maximum over a single critic's errors is soon too hopeful."""

    def __init__(self, inputs: int, config: Config, tasks: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = MLP(inputs, 1, config, tasks, generator)
        self.second = MLP(inputs, 1, config, tasks, generator)

    def forward(self, observation: Tensor, action: Tensor, ids: Tensor) -> Tensor:
        """observation (task, row, obs), action (task, row, action), ids (task,) -> (critic, task, row)."""
        x = torch.cat([observation, action], -1)
        return torch.stack([self.first(x, ids), self.second(x, ids)]).squeeze(-1)


Network = Callable[..., Tensor]  # an MLP or a Twin, or one of them with other weights put in


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
def collect(actor: Network, family: Family, tasks: Tensor, episodes: int, generator: torch.Generator) -> Batch:
    """`horizon` steps in each of `episodes` environments a task; tasks (task, parameter); row = step x episode."""
    ids = torch.arange(len(tasks))
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


def standard(replay: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """Shift and scale of each task's rewards, (task,) each; departure 1."""
    shift, scale = replay.reward.mean(1), replay.reward.std(1, correction=0)
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
def targets(actor: Network, target: Network, batch: Batch, config: Config, generator: torch.Generator) -> Tensor:
    """What the critic should say, (task, row): Haarnoja et al. 2018, eq. (3) inside eq. (5)."""
    ids = torch.arange(len(batch.reward))
    action, log_probability = act(actor, batch.next_observation, ids, generator)
    value = target(batch.next_observation, action, ids).amin(0) - config.entropy * log_probability  # eq. (3)
    return batch.reward + config.discount * (1 - batch.terminated) * value  # after a time limit the value counts


def critic_loss(critic: Network, batch: Batch, target: Tensor) -> Tensor:
    """Loss of each task, (task,): Haarnoja et al. 2018, eq. (5), summed over both critics."""
    q = critic(batch.observation, batch.action, torch.arange(len(target)))  # (critic, task, row)
    return 0.5 * (q - target).square().mean(-1).sum(0)


def actor_loss(actor: Network, critic: Network, batch: Batch, config: Config, generator: torch.Generator) -> Tensor:
    """Loss of each task, (task,): Haarnoja et al. 2018, eq. (7)."""
    ids = torch.arange(len(batch.reward))
    action, log_probability = act(actor, batch.observation, ids, generator)
    q = critic(batch.observation, action, ids).amin(0)
    return (config.entropy * log_probability - q).mean(-1)


# --- Update ---
def project(gradients: Tensor, generator: torch.Generator) -> Tensor:
    """PCGrad: Yu et al. 2020, algorithm 1, all tasks at once; gradients (task, parameter) -> the same shape.

    Each gradient meets the others in its own random order and loses what points against them.
    """
    tasks = len(gradients)
    order = torch.rand(tasks, tasks, generator=generator).argsort(1)  # (task, turn)
    projected = gradients
    for turn in range(tasks):  # one after the other by definition, each row against its own partner
        other = gradients[order[:, turn]]  # (task, parameter)
        conflict = (projected * other).sum(-1, keepdim=True).clamp(max=0)
        conflict[order[:, turn] == torch.arange(tasks)] = 0  # nobody against itself
        projected = projected - conflict / other.square().sum(-1, keepdim=True).clamp(min=1e-12) * other
    return projected


def descend(
    module: nn.Module, loss: Callable[[Network], Tensor], optimiser: Optimizer, config: Config, tasks: int,
    generator: torch.Generator,
) -> None:
    """One step of `module` down its loss; loss(network) gives (task,)."""
    parameters = dict(module.named_parameters())
    weights = torch.ones(tasks) if config.task_weights is None else torch.tensor(config.task_weights)  # (task,)
    weights = weights / (1.0 if config.separate else weights.sum())  # separate: each network gets its full gradient
    if config.surgery:
        # a copy of the shared weights for each task: one backward pass gives every task's own gradient
        copies = {name: p.detach().repeat(tasks, 1, 1).requires_grad_() for name, p in parameters.items()}
        losses = loss(lambda *x: functional_call(module, copies, x))  # (task,)
        parts = torch.autograd.grad(weights @ losses, list(copies.values()))
        flat = project(torch.cat([part.flatten(1) for part in parts], -1), generator).sum(0)  # (parameter,)
        gradients = list(torch.split(flat, [p.numel() for p in parameters.values()]))
    else:
        gradients = list(torch.autograd.grad(weights @ loss(module), list(parameters.values())))
    for p, gradient in zip(parameters.values(), gradients, strict=True):
        p.grad = gradient.view_as(p)
    optimiser.step()


def update(
    actor: MLP, critic: Twin, target: Twin, optimisers: tuple[Optimizer, Optimizer], batch: Batch, config: Config,
    generator: torch.Generator,
) -> None:
    """One gradient step of critic and actor, then the target follows (Haarnoja et al. 2018, algorithm 1)."""
    tasks = len(batch.reward)
    y = targets(actor, target, batch, config, generator)
    descend(critic, lambda q: critic_loss(q, batch, y), optimisers[1], config, tasks, generator)
    descend(actor, lambda pi: actor_loss(pi, critic, batch, config, generator), optimisers[0], config, tasks, generator)
    with torch.no_grad():
        for slow, p in zip(target.parameters(), critic.parameters(), strict=True):
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
def train(
    config: Config, family: Family, tasks: Tensor | None = None, progress: Callable[[int, int, float], None] | None = None
) -> Trained:
    """Learn the tasks (task, parameter), by default `family.catalogue()`; the place in `tasks` is a task's id.

    progress(done, total, figure) is called after each round; figure: mean reward sum of the `horizon` steps collected.
    Raises ValueError for a family with discrete actions, and for task_weights of another number than the tasks.
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
    actor = MLP(family.observation_size, 2 * family.action_size, config, n, generator)
    critic = Twin(family.observation_size + family.action_size, config, n, generator)
    target = copy.deepcopy(critic).requires_grad_(False)
    optimisers = (Adam(actor.parameters()), Adam(critic.parameters()))

    replay: Batch | None = None
    for done in range(config.iterations):
        new = collect(actor, family, tasks, config.episodes, generator)
        replay = remember(replay, new, config.replay)
        shift, scale = standard(replay, config)
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = config.learning_rate * (1 - 0.9 * done / config.iterations)
        for _ in range(config.updates):
            batch = draw(replay, config, shift, scale, generator)
            update(actor, critic, target, optimisers, batch, config, generator)
        if progress is not None:
            progress(done + 1, config.iterations, float(new.reward.sum(1).mean()) / config.episodes)
    return Trained(actor, critic, tasks, config.iterations * config.episodes * family.horizon * n)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train multi-task soft actor-critic on a catalogue of point goals.")
    parser.add_argument("--tasks", type=int, default=10, help="goals in the catalogue")
    parser.add_argument("--arc", type=float, default=2 * math.pi, help="radians they lie on; small: similar tasks")
    for name in ("seed", "iterations", "episodes", "updates"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Config, name))
    parser.add_argument("--hide-id", action="store_true", help="control: the policy is not told its task")
    for name in ("separate", "heads", "surgery", "json"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the tensors are small: a second thread costs more than it brings
    family = Catalogue(args.tasks, args.arc)
    names = ("seed", "iterations", "episodes", "updates", "separate", "heads", "surgery")
    config = Config(task_id=not args.hide_id, **{name: getattr(args, name) for name in names})
    def show(done: int, total: int, figure: float) -> None:
        if done % 10 == 0:
            print(f"round {done}/{total}: reward sum {figure:.2f}")

    start = time.process_time()
    trained = train(config, family, progress=None if args.json else show)
    seconds = time.process_time() - start
    generator = torch.Generator().manual_seed(config.seed)
    tasks = family.catalogue()
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
