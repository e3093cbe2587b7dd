"""MAML for regression: Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning", arXiv 1703.03400, Alg. 2, on sine curves (section 5.1).

1. For each curve, take a gradient step from the shared weights theta on K points of it: theta'.
2. The error of theta' on K other points, as a function of theta *through* the gradient step, is the meta-objective.
3. Descend it in theta. Its gradient holds second derivatives of the first error, for theta' itself came from a gradient.
4. A new curve later gets the very same treatment: a few points, a few steps. Nothing else is learned.
5. Nothing is played, unlike in `maml.py`: here the second derivatives can be seen at work by themselves.

Departures from the paper, marked by number at the line:
(1) Hidden layers are of tanh and not ReLU, and the first one is drawn from N(0, 1), biases too: else all units bend at one input.
(2) Adam takes the outer step, as in the paper, but with decaying rate and clipped gradient.
(3) Two inner steps are trained for (paper: one), and the error after each counts (Antoniou et al. 2019, multi-step loss).
(4) Every weight has a step size of its own, learned with it (Li et al. 2017, Meta-SGD): alpha times a factor, at first 1.
    `inner_steps=1, learn_step_sizes=False` gives the paper's algorithm; `first_order=True` leaves out the second derivatives.
(5) Curves are one more tensor axis, and `torch.func.vmap` runs over it.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from .saving import Scalars, resume_training, save_training
from .tasks.sine import Sine

Params = dict[str, Tensor]
Points = tuple[Tensor, Tensor]  # inputs x and targets y, each (task, point, 1); inside `vmap` the task axis is absent


@dataclass(frozen=True)
class Config:
    """All settings; in brackets the paper's value where it differs. Raises ValueError for counts below one."""

    seed: int = 0
    iterations: int = 500  # meta-updates
    tasks: int = 100  # curves per meta-update
    points: int = 5  # K, of each curve to adapt on, and as many others for the meta-objective
    hidden: tuple[int, ...] = (40, 40)  # units of the hidden layers
    inner_steps: int = 2  # gradient steps of adaptation in training (1); 0 trains one network for all curves, unadapted
    step_size: float = 0.01  # alpha, of the inner step
    learn_step_sizes: bool = True  # (fixed)
    first_order: bool = False  # True takes theta' for independent of theta's gradient
    outer_rate: float = 3e-3  # Adam's step size (beta in the paper), falling linearly to a tenth
    max_gradient: float = 10.0  # norm to which the meta-gradient is clipped (none)
    device: str = "cpu"  # or "cuda"

    def __post_init__(self) -> None:
        for name in ("iterations", "tasks", "points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be 1 or more")


@dataclass(frozen=True)
class Trained:
    """Result of `train` and `init`."""

    params: Params  # theta; with learned step sizes also their factors, "rate_" before the name
    history: tuple[float, ...]  # meta-objective per iteration since begun or resumed


# networks -------------------------------------------------------------------------------------------------------------
def init(config: Config) -> Trained:
    """Untrained parameters, those with which `train` starts, drawn on the CPU: the control "from scratch"."""
    generator = torch.Generator().manual_seed(config.seed)
    sizes = [1, *config.hidden, 1]
    params: Params = {}
    for layer, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        gain = 0.01 if layer == len(config.hidden) else math.sqrt(2)
        params[f"weight{layer}"] = nn.init.orthogonal_(torch.empty(inputs, outputs), gain, generator)
        params[f"bias{layer}"] = torch.zeros(outputs)
    for name in ("weight0", "bias0"):
        params[name].normal_(generator=generator)  # (1)
    if config.learn_step_sizes:
        params |= {f"rate_{name}": torch.ones_like(value) for name, value in params.items()}
    return Trained({name: value.to(config.device) for name, value in params.items()}, ())


def predict(params: Params, x: Tensor) -> Tensor:
    """The curve as the network of one task has it: (point, 1) -> (point, 1)."""
    last = sum(name.startswith("weight") for name in params) - 1
    for layer in range(last):
        x = torch.tanh(x @ params[f"weight{layer}"] + params[f"bias{layer}"])
    return x @ params[f"weight{last}"] + params[f"bias{last}"]


# loss -----------------------------------------------------------------------------------------------------------------
def squared_error(params: Params, points: Points) -> Tensor:
    """Loss of one task, a scalar (Finn et al. 2017, eq. (2), as a mean)."""
    return (predict(params, points[0]) - points[1]).square().mean()


def adapt(params: Params, points: Points, step_size: float, first_order: bool = False) -> Params:
    """One inner step of one task: theta' = theta - alpha grad loss(theta)  (Finn et al. 2017, Alg. 2, lines 6 and 7)."""
    gradient, adapted = grad(squared_error)(params, points), dict(params)
    for name in [name for name in params if not name.startswith("rate_")]:
        step = gradient[name].detach() if first_order else gradient[name]
        adapted[name] = params[name] - step_size * params.get(f"rate_{name}", 1.0) * step  # (4)
    return adapted


def meta_objective(params: Params, support: Points, query: Points, config: Config) -> Tensor:
    """Mean error on `query` after the inner steps on `support`, a scalar differentiable in theta (Finn et al. 2017, Alg. 2, line 10)."""

    def task_loss(support: Points, query: Points) -> Tensor:
        adapted, losses = params, []
        for _ in range(config.inner_steps):
            adapted = adapt(adapted, support, config.step_size, config.first_order)
            losses.append(squared_error(adapted, query))
        return torch.stack(losses or [squared_error(params, query)]).mean()  # (3)

    return vmap(task_loss)(support, query).mean()  # (5)


# update ---------------------------------------------------------------------------------------------------------------
def meta_update(params: Params, optimizer: torch.optim.Optimizer, support: Points, query: Points, config: Config, done: float) -> float:
    """One outer step (Finn et al. 2017, Alg. 2, line 10), in place, with the share `done` of the run behind; the meta-objective before it."""
    for group in optimizer.param_groups:
        group["lr"] = group["share"] * config.outer_rate * (1 - 0.9 * done)  # (2)
    loss = meta_objective(params, support, query, config)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(params.values(), config.max_gradient)  # (2)
    optimizer.step()
    return loss.item()


# adapt at test time ---------------------------------------------------------------------------------------------------
@torch.no_grad()
def evaluate(trained: Trained, config: Config, family: Sine, tasks: Tensor, seed: int, steps: int = 10, test_points: int = 100,
             step_size: float | None = None) -> Tensor:
    """Mean squared error on fresh points after 0 to `steps` gradient steps, all on the same K points: (task, 1 + steps)."""
    size = config.step_size if step_size is None else step_size
    generator = torch.Generator(config.device).manual_seed(seed)
    params = {name: value.expand(len(tasks), *value.shape) for name, value in trained.params.items()}  # (task, ...)
    support, query = (family.points(tasks.to(config.device), k, generator) for k in (config.points, test_points))
    errors = [vmap(squared_error)(params, query)]
    for _ in range(steps):
        params = vmap(lambda own, points: adapt(own, points, size))(params, support)
        errors.append(vmap(squared_error)(params, query))
    return torch.stack(errors, dim=1).to(tasks.device)


# train ----------------------------------------------------------------------------------------------------------------
def train(config: Config, family: Sine, progress: Callable[[int, int, float], None] | None = None, *, checkpoint: str | None = None,
          every: int = 100) -> Trained:
    """Meta-train on curves of the family; each iteration calls progress(done, total, meta-objective).

    `checkpoint` names a file to write after every `every` iterations and at the end. Where there is one, training goes on from it, to the
    bit as if it had not stopped; ValueError where that is of other settings.
    """
    module = nn.ParameterDict(init(config).params)
    params = dict(module.items())
    generator = torch.Generator(config.device).manual_seed(config.seed + 1)  # +1: not the numbers that drew the weights
    # Ten times the rate for the factors of alpha: they begin at 1 and may have far to go.
    groups = [{"params": [value], "share": 10.0 if name.startswith("rate_") else 1.0} for name, value in params.items()]
    optimizer = torch.optim.Adam(groups, lr=config.outer_rate)
    settings = {**asdict(config), "hidden": list(config.hidden)}  # as JSON gives them back
    begin = resume_training(checkpoint, module, optimizer, generator, settings) if checkpoint else 0
    history = []
    for iteration in range(begin, config.iterations):
        tasks = family.sample(config.tasks, generator)
        support, query = (family.points(tasks, config.points, generator) for _ in range(2))
        history.append(meta_update(params, optimizer, support, query, config, iteration / config.iterations))
        if checkpoint and ((iteration + 1) % every == 0 or iteration + 1 == config.iterations):
            save_training(checkpoint, module, optimizer, generator, iteration + 1, settings)
        if progress is not None:
            progress(iteration + 1, config.iterations, history[-1])
    return Trained({name: value.detach() for name, value in params.items()}, tuple(history))


# main -----------------------------------------------------------------------------------------------------------------
def main() -> None:
    """Train on sine curves; print the squared error on unseen curves after each gradient step, beside that of the answer 0."""
    parser = argparse.ArgumentParser(prog="python -m reference_impls.maml_sine", description="MAML on sine regression")
    names = ("seed", "iterations", "tasks", "points", "inner_steps", "step_size", "outer_rate", "device")  # see Config
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(getattr(Config, name)), default=getattr(Config, name))
    parser.add_argument("--first-order", action="store_true", help="drop the second derivatives")
    parser.add_argument("--fixed-step-sizes", action="store_true", help="one step size for all weights, not learned")
    parser.add_argument("--test-tasks", type=int, default=1000, help="unseen curves (1000)")
    parser.add_argument("--test-steps", type=int, default=10, help="gradient steps on each of them (10)")
    parser.add_argument("--json", action="store_true", help="print in one line")
    parser.add_argument("--checkpoint", help="file to keep the training in, and to go on from where it exists")
    parser.add_argument("--log", help="file that gets a line of JSON after each iteration")
    parser.add_argument("--tensorboard", help="folder that gets events for TensorBoard after each iteration")
    options = vars(parser.parse_args())
    torch.set_num_threads(1)  # the tensors are small: more threads cost more than they give
    family = Sine()
    try:
        switches = {"first_order": options["first_order"], "learn_step_sizes": not options["fixed_step_sizes"]}
        config = Config(**{name: options[name] for name in names}, **switches)
        with Scalars(options["log"], options["tensorboard"]) as scalars:
            write = lambda i, n, figure: scalars.write(i, error=figure)  # noqa: E731
            trained = train(config, family, write, checkpoint=options["checkpoint"])
    except (ValueError, OSError) as error:
        parser.error(str(error))
    seconds = time.process_time()
    tasks = family.sample(options["test_tasks"], torch.Generator().manual_seed(config.seed + 10_000))  # apart from training
    errors = evaluate(trained, config, family, tasks, config.seed + 20_000, options["test_steps"])  # (task, step)
    result = {
        "errors": errors.mean(0).tolist(),  # after 0, 1, ... gradient steps
        "standard_errors": (errors.std(0) / math.sqrt(len(tasks))).tolist(),
        "answer 0": family.zero_error(tasks).mean().item(),
        "cpu_seconds": seconds,
        "settings": asdict(config),
    }
    print(json.dumps(result, indent=None if options["json"] else 2))


if __name__ == "__main__":
    main()
