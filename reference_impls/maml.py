"""MAML: Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning", arXiv 1703.03400. Here Alg. 3, reinforcement learning.

The idea in five lines:
1. For each task, play some episodes with the shared parameters theta and take one policy-gradient step on them: theta'.
2. Play again with theta', which is adapted to the task.
3. The loss of those second episodes, as a function of theta *through* the gradient step, is the meta-objective.
4. Descend it in theta. Its gradient holds second derivatives of the first loss, for theta' itself came from a gradient.
5. A new task later gets the very same treatment: a few episodes, one step. Nothing else is learned.

Departures from the paper, marked by number at the line:
(1) The meta-step is a few epochs of PPO (Schulman et al. 2017) instead of TRPO, whose conjugate gradients cost several times as much.
    `outer_epochs=1` leaves the plain policy gradient, for the ratio is one then.
(2) Adam takes the outer step, with decaying rate and clipped gradient: a constant rate may diverge late in long runs.
(3) The baseline is linear in features as in the paper, but with a ridge (else singular once all episodes agree), without time among
    the features, and with the value after a time limit counted. Rewards are discounted (0.99 learns slower here), and advantages
    come from GAE (Schulman et al. 2016).
(4) Advantages are normalised per task, so that one inner step size suits tasks and rewards of every scale.
(5) The exploration noise is meta-learned but not adapted.
(6) Tasks are one more tensor axis, and `torch.func.vmap` runs over it: no loop over tasks, episodes or environments.
(7) With several inner steps the loss after each counts, not after the last alone (Antoniou et al. 2019, multi-step loss).
(8) Option `learn_step_sizes`: every weight has a step size of its own, learned with it (Li et al. 2017, Meta-SGD).
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, vmap

from .saving import Scalars, resume_training, save_training
from .tasks.navigation import Navigation

Params = dict[str, Tensor]
Loss = Callable[[Params, Any], Tensor]  # parameters and data of one task -> scalar


@dataclass(frozen=True)
class Config:
    """All settings. "paper" is the paper's value for 2D navigation (appendix A.2) where ours differs. ValueError for counts below one."""

    seed: int = 0
    iterations: int = 30  # meta-updates (paper: up to 500, the best one kept; here the last counts)
    tasks: int = 20  # tasks per meta-update
    episodes: int = 20  # episodes per task, before and again after every inner step
    hidden: tuple[int, ...] = (32, 32)  # units of the hidden layers, tanh (paper: two of 100, ReLU)
    initial_std: float = 1.0  # standard deviation of the first policy, in the family's action unit; continuous only
    minimum_std: float = 0.1  # floor of the same, against a collapse of exploration
    discount: float = 0.95  # gamma per step, in training only (paper: none); reported returns are undiscounted
    gae_lambda: float = 0.95  # 1 is the plain return minus the baseline, as in the paper
    inner_steps: int = 1  # gradient steps of adaptation in training; 0 trains one policy for all tasks, unadapted
    step_size: float = 0.1  # alpha, of the inner step
    learn_step_sizes: bool = False  # True multiplies alpha by a factor for each weight, learned from 1 on (8)
    first_order: bool = False  # True takes theta' for independent of theta's gradient: two thirds of the cost, another direction
    outer_epochs: int = 3  # PPO epochs on the same episodes; 1 is the plain policy gradient
    outer_rate: float = 1e-2  # Adam's step size (beta in the paper), falling linearly to a tenth
    clip: float = 0.2  # PPO's bound on how far the probability ratio of an action is followed
    max_gradient: float = 1.0  # norm to which the meta-gradient is clipped
    device: str = "cpu"  # or "cuda"

    def __post_init__(self) -> None:
        for name in ("iterations", "tasks", "episodes", "outer_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be 1 or more")


class Batch(NamedTuple):
    """Episodes ready for a loss; sample = step and episode together. Inside `vmap` the task axis is absent."""

    observations: Tensor  # (task, sample, obs)
    actions: Tensor  # (task, sample, action), or (task, sample) if discrete
    log_probs: Tensor  # (task, sample), of the policy that played
    advantages: Tensor  # (task, sample)
    alive: Tensor  # (task, sample), 1 for steps that were played, 0 after the end of the episode


class Episodes(NamedTuple):
    """What was played, in order; `terminated` and `truncated` apart."""

    observations: Tensor  # (task, step, episode, obs)
    actions: Tensor  # (task, step, episode[, action])
    log_probs: Tensor  # (task, step, episode)
    rewards: Tensor  # (task, step, episode), 0 after the end
    terminated: Tensor  # (task, step, episode) bool, true at the one step that ended the episode
    alive: Tensor  # (task, step, episode) float, 1 up to and including that step
    last_observations: Tensor  # (task, episode, obs), after the last step
    truncated: Tensor  # (task, episode) bool, cut off by the horizon: not an end


@dataclass(frozen=True)
class Trained:
    """Result of `train` and `init`."""

    params: Params  # theta; with learned step sizes also their factors, "rate_" before the name
    history: tuple[tuple[float, ...], ...]  # per iteration since begun or resumed: mean return before and after each inner step
    steps: int  # environment steps played since then


# networks -------------------------------------------------------------------------------------------------------------
def init_params(config: Config, family: Any, generator: torch.Generator) -> Params:
    """Draw theta on the CPU: orthogonal weights, small last layer, so that the first policy is nearly the same everywhere."""
    sizes = [family.observation_size, *config.hidden, family.action_size]
    params: Params = {}
    for layer, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        gain = 0.01 if layer == len(config.hidden) else math.sqrt(2)
        params[f"weight{layer}"] = torch.nn.init.orthogonal_(torch.empty(inputs, outputs), gain, generator)
        params[f"bias{layer}"] = torch.zeros(outputs)
    if not family.discrete:
        params["log_std"] = torch.full((family.action_size,), math.log(config.initial_std))
    if config.learn_step_sizes:
        params |= {f"rate_{name}": torch.ones_like(value) for name, value in params.items() if name != "log_std"}
    return {name: value.to(config.device) for name, value in params.items()}


def head(params: Params, observations: Tensor) -> Tensor:
    """Mean action, or logits if discrete: (..., sample, obs) -> (..., sample, action).

    Parameters may have leading axes, too: those of each task (task, ...) go with (task, sample, obs).
    """
    last = sum(name.startswith("weight") for name in params) - 1
    x = observations
    for layer in range(last):
        x = torch.tanh(x @ params[f"weight{layer}"] + params[f"bias{layer}"].unsqueeze(-2))
    return x @ params[f"weight{last}"] + params[f"bias{last}"].unsqueeze(-2)


def log_prob(params: Params, observations: Tensor, actions: Tensor) -> Tensor:
    """log pi(action | observation) of one task: (..., sample, obs), (..., sample, action) or (..., sample) -> (..., sample)."""
    output = head(params, observations)
    if "log_std" not in params:
        return F.log_softmax(output, dim=-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    log_std = params["log_std"]
    scaled = (actions - output) * torch.exp(-log_std)  # (..., sample, action)
    return -0.5 * scaled.square().sum(-1) - log_std.sum() - 0.5 * math.log(2 * math.pi) * actions.shape[-1]


# rollout --------------------------------------------------------------------------------------------------------------
@torch.no_grad()
def rollout(params: Params, config: Config, family: Any, tasks: Tensor, generator: torch.Generator) -> Episodes:
    """Play `config.episodes` episodes of every task at once, each task with its own parameters (task, ...)."""
    tasks = tasks.unsqueeze(1).expand(tasks.shape[0], config.episodes, -1)  # (task, episode, task vector)
    state = family.reset(tasks)
    alive = tasks.new_ones(tasks.shape[:2], dtype=torch.get_default_dtype())  # (task, episode)
    log: list[tuple[Tensor, ...]] = []
    for _ in range(family.horizon):
        observation = family.observe(state)  # (task, episode, obs)
        output = head(params, observation)  # (task, episode, action)
        if family.discrete:
            noise = torch.rand(output.shape, generator=generator, device=generator.device)
            action = (output - torch.log(-torch.log(noise))).argmax(-1)  # Gumbel: a draw from softmax(output)
        else:
            noise = torch.randn(output.shape, generator=generator, device=generator.device)
            action = output + params["log_std"].exp().unsqueeze(1) * noise
        state, reward, terminated = family.step(tasks, state, action, generator)
        log.append((observation, action, alive * reward, (alive > 0) & terminated, alive))
        alive = alive * ~terminated
    observations, actions, rewards, ends, played = (torch.stack(column, dim=1) for column in zip(*log, strict=True))
    log_probs = vmap(log_prob)(params, observations, actions)  # (task, step, episode)
    return Episodes(observations, actions, log_probs, rewards, ends, played, family.observe(state), alive > 0)


def discounted(rewards: Tensor, terminated: Tensor, value_after: Tensor, discount: float) -> Tensor:
    """Discounted sum (task, step, episode) of the rewards from each step on, plus `value_after` (task, episode) where no end came."""
    total = torch.empty_like(rewards)
    carry = value_after
    for t in reversed(range(rewards.shape[1])):
        carry = rewards[:, t] + discount * ~terminated[:, t] * carry
        total[:, t] = carry
    return total


def features(observations: Tensor) -> Tensor:
    """Inputs of the linear baseline: (..., obs) -> (..., 2 obs + 1)."""
    return torch.cat([observations, observations.square(), torch.ones_like(observations[..., :1])], dim=-1)


def fit_values(episodes: Episodes, discount: float) -> tuple[Tensor, Tensor]:
    """Values V(s) = features(s) . w, w per task: at the steps (task, step, episode), after the last (task, episode).

    The return from step t is R_t + D_t V(s_H): the rewards up to the limit, plus the value after it, discounted, if no end came
    before. V is on both sides; w solves sum over t of features(s_t) (R_t + D_t V(s_H) - V(s_t)) = 0.  (3)
    """
    inputs, inputs_after = features(episodes.observations), features(episodes.last_observations)
    nothing = torch.zeros_like(inputs_after[..., 0])
    sums = discounted(episodes.rewards, episodes.terminated, nothing, discount)  # R
    to_limit = discounted(torch.zeros_like(sums), episodes.terminated, nothing + episodes.truncated, discount)  # D
    left = (inputs * episodes.alive.unsqueeze(-1)).flatten(1, 2).mT  # (task, feature, sample)
    right = (inputs - to_limit.unsqueeze(-1) * inputs_after.unsqueeze(1)).flatten(1, 2)  # (task, sample, feature)
    ridge = 1e-4 * left.square().sum(-1).mean(-1) + 1e-8  # (task,), relative to the size of the features
    system = left @ right + ridge[:, None, None] * torch.eye(right.shape[-1], device=right.device)
    weights = torch.linalg.solve(system, left @ sums.flatten(1).unsqueeze(-1))  # (task, feature, 1)
    return (inputs @ weights.unsqueeze(1)).squeeze(-1), (inputs_after @ weights).squeeze(-1)


def advantages(episodes: Episodes, discount: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16) over the fitted values: (task, step, episode)."""
    values, value_after = fit_values(episodes, discount)
    following = torch.cat([values[:, 1:], value_after.unsqueeze(1)], dim=1)  # 0 after an end, but not after a time limit
    errors = episodes.rewards + discount * ~episodes.terminated * following - values
    return episodes.alive * discounted(errors, episodes.terminated, torch.zeros_like(value_after), discount * gae_lambda)


def collect(params: Params, config: Config, family: Any, tasks: Tensor, generator: torch.Generator) -> tuple[Batch, Tensor]:
    """Play, and make the batch of the losses; also the mean undiscounted return of each task (task,)."""
    episodes = rollout(params, config, family, tasks, generator)
    alive = episodes.alive.flatten(1)
    advantage = advantages(episodes, config.discount, config.gae_lambda).flatten(1)
    count = alive.sum(1, keepdim=True)
    advantage = alive * (advantage - advantage.sum(1, keepdim=True) / count)
    advantage = advantage / ((advantage.square().sum(1, keepdim=True) / count).sqrt() + 1e-6)  # (4)
    played = (episodes.observations.flatten(1, 2), episodes.actions.flatten(1, 2), episodes.log_probs.flatten(1))
    return Batch(*played, advantage, alive), episodes.rewards.sum(1).mean(1)


# loss -----------------------------------------------------------------------------------------------------------------
def inner_loss(params: Params, batch: Batch) -> Tensor:
    """Policy-gradient loss of one task: its gradient is the sampled one of Finn et al. 2017, section "Reinforcement Learning"."""
    return -(log_prob(params, batch.observations, batch.actions) * batch.advantages).sum() / batch.alive.sum()


def outer_loss(params: Params, batch: Batch, clip: float) -> Tensor:
    """Clipped loss of one task (Schulman et al. 2017, eq. 7).  (1)"""
    ratio = torch.exp(log_prob(params, batch.observations, batch.actions) - batch.log_probs)
    gain = torch.minimum(ratio * batch.advantages, ratio.clamp(1 - clip, 1 + clip) * batch.advantages)
    return -gain.sum() / batch.alive.sum()


def adapt(params: Params, batch: Any, loss: Loss, step_size: float, first_order: bool = False) -> Params:
    """One inner step of one task: theta' = theta - alpha grad loss(theta)  (Finn et al. 2017, Alg. 3, the adapted parameters).

    `log_std`, where there is one, stays (5), and so do the factors of alpha (8).
    """
    gradient, adapted = grad(loss)(params, batch), dict(params)
    for name in [name for name in params if name != "log_std" and not name.startswith("rate_")]:
        step = gradient[name].detach() if first_order else gradient[name]
        adapted[name] = params[name] - step_size * params.get(f"rate_{name}", 1.0) * step
    return adapted


def meta_objective(params: Params, support: Sequence[Any], queries: Sequence[Any], inner: Loss, outer: Loss, step_size: float,
                   first_order: bool) -> Tensor:
    """Mean over tasks of the outer loss after one inner step on each batch of `support`, differentiable in theta.

    The meta-objective of Finn et al. 2017, for any losses of one task. Every tensor in `support` and `queries` has a leading
    task axis; each step has the query for the loss after it (7), and without any step the query is for theta itself.
    """

    def task_loss(support: Sequence[Any], queries: Sequence[Any]) -> Tensor:
        adapted, losses = params, []
        for batch, query in zip(support, queries, strict=bool(support)):
            adapted = adapt(adapted, batch, inner, step_size, first_order)
            losses.append(outer(adapted, query))
        return torch.stack(losses or [outer(params, queries[0])]).mean()

    return vmap(task_loss)(list(support), list(queries)).mean()  # (6)


# update ---------------------------------------------------------------------------------------------------------------
def meta_update(params: Params, optimizer: torch.optim.Optimizer, batches: Sequence[Batch], config: Config) -> None:
    """Take `outer_epochs` steps (the meta-update of Finn et al. 2017, Alg. 3), in place; `batches` as played around each inner step."""
    outer = partial(outer_loss, clip=config.clip)
    support, queries = batches[:-1], batches[1:] or batches
    for _ in range(config.outer_epochs):
        loss = meta_objective(params, support, queries, inner_loss, outer, config.step_size, config.first_order)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(params.values(), config.max_gradient)  # (2)
        optimizer.step()
        if "log_std" in params:
            params["log_std"].data.clamp_(min=math.log(config.minimum_std))


# adapt at test time ---------------------------------------------------------------------------------------------------
@torch.no_grad()
def adapt_tasks(params: Params, batch: Batch, step_size: float) -> Params:
    """One inner step of each task from its own parameters (task, ...)."""
    return vmap(lambda own, data: adapt(own, data, inner_loss, step_size))(params, batch)


def per_task(params: Params, tasks: int) -> Params:
    """Give each task its own view of theta: (...) -> (task, ...)."""
    return {name: value.detach().expand(tasks, *value.shape) for name, value in params.items()}


def evaluate(trained: Trained, config: Config, family: Any, tasks: Tensor, seed: int, steps: int = 3, episodes: int | None = None,
             step_size: float | None = None) -> Tensor:
    """Mean undiscounted return of the sampling policy after 0 to `steps` gradient steps: (task, 1 + steps).

    A step sees `episodes` episodes, and the return after it is that of the next. Later steps are half as long as the first, as in the paper.
    """
    config = replace(config, episodes=config.episodes if episodes is None else episodes)
    step_size = config.step_size if step_size is None else step_size
    generator = torch.Generator(config.device).manual_seed(seed)
    params, figures = per_task(trained.params, len(tasks)), []
    for step in range(steps + 1):
        batch, returns = collect(params, config, family, tasks.to(config.device), generator)
        figures.append(returns)
        if step < steps:
            params = adapt_tasks(params, batch, step_size if step == 0 else step_size / 2)
    return torch.stack(figures, dim=1).to(tasks.device)


# train ----------------------------------------------------------------------------------------------------------------
def init(config: Config, family: Any) -> Trained:
    """Untrained parameters, those with which `train` starts: the control "from scratch"."""
    return Trained(init_params(config, family, torch.Generator().manual_seed(config.seed)), (), 0)


def train(config: Config, family: Any, progress: Callable[[int, int, float], None] | None = None, *, checkpoint: str | None = None,
          every: int = 10) -> Trained:
    """Meta-train on tasks of the family; each iteration calls progress(done, total, return after adaptation).

    `checkpoint` names a file to write after every `every` iterations and at the end. Where there is one, training goes on from it, to the
    bit as if it had not stopped; ValueError where that is of other settings.
    """
    module = nn.ParameterDict(init(config, family).params)
    params = dict(module.items())
    generator = torch.Generator(config.device).manual_seed(config.seed + 1)  # +1: not the numbers that drew the weights
    # Ten times the rate for the factors of alpha (8): they begin at 1 and may have far to go.
    groups = [{"params": [value], "share": 10.0 if name.startswith("rate_") else 1.0} for name, value in params.items()]
    optimizer = torch.optim.Adam(groups, lr=config.outer_rate)
    settings = {**asdict(config), "hidden": list(config.hidden)}  # as JSON gives them back
    begin = resume_training(checkpoint, module, optimizer, generator, settings) if checkpoint else 0
    history, steps = [], 0
    for iteration in range(begin, config.iterations):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * config.outer_rate * (1 - 0.9 * iteration / config.iterations)  # (2)
        tasks = family.sample(config.tasks, generator)
        own = per_task(params, config.tasks)
        batches, figures = [], []
        for step in range(config.inner_steps + 1):
            batch, returns = collect(own, config, family, tasks, generator)
            batches.append(batch)
            figures.append(float(returns.mean()))
            steps += int(batch.alive.sum())
            if step < config.inner_steps:
                own = adapt_tasks(own, batch, config.step_size)
        meta_update(params, optimizer, batches, config)
        history.append(tuple(figures))
        if checkpoint and ((iteration + 1) % every == 0 or iteration + 1 == config.iterations):
            save_training(checkpoint, module, optimizer, generator, iteration + 1, settings)
        if progress is not None:
            progress(iteration + 1, config.iterations, figures[-1])
    return Trained({name: value.detach() for name, value in params.items()}, tuple(history), steps)


# main -----------------------------------------------------------------------------------------------------------------
def main() -> None:
    """Train on 2D navigation; print the return on unseen goals after each gradient step, between random and oracle."""
    parser = argparse.ArgumentParser(prog="python -m reference_impls.maml", description="MAML on 2D navigation")
    names = ("seed", "iterations", "tasks", "episodes", "inner_steps", "step_size", "outer_rate", "device")  # see Config
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(getattr(Config, name)), default=getattr(Config, name))
    parser.add_argument("--first-order", action="store_true", help="drop the second derivatives")
    parser.add_argument("--learn-step-sizes", action="store_true", help="a step size for each weight, learned (Meta-SGD)")
    parser.add_argument("--test-tasks", type=int, default=200, help="unseen goals (200)")
    parser.add_argument("--test-steps", type=int, default=3, help="gradient steps on each of them (3)")
    parser.add_argument("--json", action="store_true", help="print in one line")
    parser.add_argument("--checkpoint", help="file to keep the training in, and to go on from where it exists")
    parser.add_argument("--log", help="file that gets a line of JSON after each iteration")
    parser.add_argument("--tensorboard", help="folder that gets events for TensorBoard after each iteration")
    options = vars(parser.parse_args())
    torch.set_num_threads(1)  # the tensors are small: more threads cost more than they give
    try:
        config, family = Config(**{name: options[name] for name in (*names, "first_order", "learn_step_sizes")}), Navigation()
        with Scalars(options["log"], options["tensorboard"]) as scalars:
            write = lambda i, n, figure: scalars.write(i, **{"return": figure})  # noqa: E731
            trained = train(config, family, write, checkpoint=options["checkpoint"])
    except (ValueError, OSError) as error:
        parser.error(str(error))
    seconds = time.process_time()
    generator = torch.Generator().manual_seed(config.seed + 10_000)  # apart from the seeds of training
    tasks = family.sample(options["test_tasks"], generator)
    returns = evaluate(trained, config, family, tasks, seed=config.seed + 20_000, steps=options["test_steps"])  # (task, step)
    result = {"cpu_seconds": seconds, "environment_steps": trained.steps, "settings": asdict(config)}
    result["returns"] = returns.mean(0).tolist()  # after 0, 1, ... gradient steps, of the sampling policy
    result["standard_errors"] = (returns.std(0) / math.sqrt(len(tasks))).tolist()
    result["random"] = family.random_return(tasks, generator).mean().item()
    result["oracle"] = family.oracle_return(tasks, generator).mean().item()
    print(json.dumps(result, indent=None if options["json"] else 2))


if __name__ == "__main__":
    main()
