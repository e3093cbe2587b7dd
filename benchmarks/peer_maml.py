"""The second-order meta-gradient of MAML against TorchOpt's differentiable optimiser and against a plain loop over tasks.

All sides get the same network, weights and points, and have to come to the same gradient. The case is sine regression; the batches
of 2D navigation, 400 times as many rows a task, stand in the reference: there the arithmetic counts and the loop little.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reference_impls.maml_sine import Config, init, meta_objective, squared_error
from reference_impls.tasks.sine import Sine

from .maml_products import meta_gradient, products, seconds_of

CASE = "peer-maml"
UNIT = "second-order meta-gradients per CPU second: 100 sine tasks, 5 points each, one inner step"
SHORT = (100, 5, 20)  # tasks, points a task, repeats
LONG = (20, 2000, 3)  # as many rows as in 2D navigation
Points = tuple[Tensor, Tensor]


def network(params: dict[str, Tensor]) -> nn.Sequential:
    """The same network as a module, its layers as TorchOpt's users write them."""
    layers: list[nn.Module] = []
    for layer in range(len(params) // 2):
        weight, bias = params[f"weight{layer}"].detach(), params[f"bias{layer}"].detach()
        linear = nn.Linear(*weight.shape)
        linear.load_state_dict({"weight": weight.T, "bias": bias})
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def sides(config: Config, params: dict[str, Tensor], support: Points, query: Points) -> dict[str, Callable[[], Tensor]]:
    """Each side as a call that gives the whole meta-gradient as one vector, layer for layer weights (input, output) and biases."""
    import torchopt

    net, loss = network(params), nn.functional.mse_loss
    optimizer = torchopt.MetaSGD(net, lr=config.step_size)
    start_net, start_optimizer = (torchopt.extract_state_dict(part, by="reference") for part in (net, optimizer))
    theta = list(net.parameters())  # recovering the state puts these very tensors back
    names = [f"{kind}{layer}" for layer in range(len(params) // 2) for kind in ("weight", "bias")]
    pairs = list(zip(*support, *query, strict=True))

    def vector(gradients: tuple[Tensor, ...], turned: bool) -> Tensor:
        return torch.cat([(g.T if turned and g.dim() == 2 else g).flatten() for g in gradients])

    def ours() -> Tensor:
        whole = meta_objective(params, support, query, config)
        return vector(torch.autograd.grad(whole, [params[name] for name in names]), False)

    def peer() -> Tensor:
        losses = []
        for x, y, x_query, y_query in pairs:
            optimizer.step(loss(net(x), y))
            losses.append(loss(net(x_query), y_query))
            torchopt.recover_state_dict(net, start_net)
            torchopt.recover_state_dict(optimizer, start_optimizer)
        return vector(torch.autograd.grad(torch.stack(losses).mean(), theta), True)

    def loop() -> Tensor:
        losses = []
        for x, y, x_query, y_query in pairs:
            gradient = torch.autograd.grad(squared_error(params, (x, y)), [params[n] for n in names], create_graph=True)
            adapted = {n: params[n] - config.step_size * g for n, g in zip(names, gradient, strict=True)}
            losses.append(squared_error(adapted, (x_query, y_query)))
        return vector(torch.autograd.grad(torch.stack(losses).mean(), [params[name] for name in names]), False)

    return {"ours": ours, "torchopt": peer, "loop": loop}


def measure(seed: int, tasks: int, points: int, repeats: int) -> dict[str, float]:
    """CPU seconds of one meta-gradient by each side, and of its matrix products. Raises ValueError where the sides differ."""
    config = Config(seed=seed, inner_steps=1, learn_step_sizes=False)
    family, generator = Sine(), torch.Generator().manual_seed(seed)
    params = {name: value.requires_grad_() for name, value in init(config).params.items()}
    curves = family.sample(tasks, generator)
    support, query = (family.points(curves, points, generator) for _ in range(2))
    calls = sides(config, params, support, query)
    expected = calls["ours"]()
    for name, call in calls.items():
        error = float((call() - expected).norm() / expected.norm())
        if not error < 1e-3 or math.isnan(error):
            raise ValueError(f"the meta-gradient of {name} differs from ours by {error:.2g} of its length")
    seconds = {
        name: seconds_of(call, repeats if name == "ours" else max(1, repeats // 5)) for name, call in calls.items()
    }
    return {**seconds, "floor": seconds_of(products(meta_gradient(tasks, points, (1, *config.hidden, 1))), repeats)}


def run(seed: int) -> dict[str, Any]:
    """Both sizes; `ratio` is our speed over TorchOpt's at the size of sine regression."""
    import torchopt

    torch.set_num_threads(1)
    start = time.process_time()
    short = measure(seed, *SHORT)
    middle = time.process_time()
    long = measure(seed, *LONG)
    return {
        "figure": 1 / short["ours"],
        "cpu_seconds": middle - start,
        "settings": {"tasks, points, repeats": SHORT, "the long one": LONG, "hidden": Config.hidden},
        "reference": {
            "plain loop over tasks": 1 / short["loop"],
            "ours over the plain loop": short["loop"] / short["ours"],
            "floor: the bare matrix products": 1 / short["floor"],
            "our seconds over the floor's": short["ours"] / short["floor"],
            "2,000 rows a task, ours": 1 / long["ours"],
            "2,000 rows a task, ours over TorchOpt": long["torchopt"] / long["ours"],
            "2,000 rows a task, ours over the plain loop": long["loop"] / long["ours"],
            "2,000 rows a task, our seconds over the floor's": long["ours"] / long["floor"],
        },
        "peer": {
            "name": "TorchOpt MetaSGD, a loop over tasks",
            "version": torchopt.__version__,
            "figure": 1 / short["torchopt"],
            "cpu_seconds": short["torchopt"],
        },
        "ratio": short["torchopt"] / short["ours"],
    }
