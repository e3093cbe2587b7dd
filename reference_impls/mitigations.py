"""Mitigations for shared weights, apart from any algorithm: surgery, balance and anchors on the gradients of several tasks.

Papers: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning" (arXiv 2001.06782), PCGrad; Chen et al. 2018, "GradNorm"
(arXiv 1711.02257); Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (arXiv 1612.00796), EWC.

Departures from the papers:
  1. PCGrad works on the (task, task) products of the gradients, not on the gradients: the same numbers, far fewer of them.
  2. GradNorm moves the logarithm of its weights by a fixed step, so that they stay positive and can span reward scales;
     it takes the norm over all shared weights, not over the last shared layer, and every task's share of it is alike
     (the paper's alpha = 0): the training rates that the paper compares are ratios of losses, and an actor's loss, the
     negative of a value, has no meaningful ratio.
  3. EWC's penalties of all earlier tasks are kept as two sums, which pull exactly as the separate penalties do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.optim import Adam

Network = Callable[..., Tensor]  # a module, or the same module with other weights put in
FISHER_ROWS = 512  # transitions of a finished task from which EWC learns which weights matter
GRADNORM_STEP = 0.025  # of the log-weights; Chen et al.: learning rate 0.025 of the weights
RETURN_ROUNDS = 10  # latest rounds of collecting whose returns give their spread
LOSS_MEMORY = 0.95  # share of the running mean of a task's loss that stays at each step


def task_gradients(module: nn.Module, loss: Callable[[Network], Tensor], tasks: int) -> tuple[Tensor, Tensor]:
    """Losses (task,) and the gradient of each in the shared weights (task, parameter), all in one backward pass.

    `loss(network)` gives (task,), the loss of task i from row i only; every parameter of `module` is (1, ., .), shared, and
    the module takes (task, ., .) in its place. Task i computes with copy i, so the sum of the losses has in copy i its gradient.
    """
    names, parameters = zip(*module.named_parameters(), strict=True)
    copies = [p.detach().expand(tasks, -1, -1).requires_grad_() for p in parameters]
    losses = loss(lambda *x: functional_call(module, dict(zip(names, copies, strict=True)), x))
    parts = torch.autograd.grad(losses.sum(), copies)
    return losses.detach(), torch.cat([part.flatten(1) for part in parts], 1)


# --- Gradient surgery ---
def surgery(products: Tensor, generator: torch.Generator) -> Tensor:
    """PCGrad from the gradients' products (task, task) alone: c (task, task), so that gradient i becomes sum_j c_ij g_j.

    Yu et al. 2020, algorithm 1, all tasks at once: each gradient meets the others in its own random order and loses what
    points against them. It stays a sum of the old gradients, so their products say all that is needed (departure 1).
    """
    tasks = len(products)
    order = torch.rand(tasks, tasks, generator=generator).argsort(1)  # (task, turn)
    others = products[order]  # (task, turn, task): row = products of the partner met in this turn
    squares = products.diagonal()[order].clamp(min=1e-30)  # (task, turn)
    own = order == torch.arange(tasks)[:, None]  # nobody against itself
    coefficients = torch.eye(tasks, dtype=products.dtype)
    for turn in range(tasks):  # one after the other by definition, each row against its own partner
        conflict = (coefficients * others[:, turn]).sum(1).clamp(max=0) / squares[:, turn]  # (task,)
        conflict = conflict.masked_fill(own[:, turn], 0.0)
        coefficients = coefficients.scatter_add(1, order[:, turn, None], -conflict[:, None])
    return coefficients


def project(gradients: Tensor, generator: torch.Generator) -> Tensor:
    """PCGrad: gradients (task, parameter) -> the same shape, each freed of what points against another."""
    wide = gradients.double()  # products of float32 gradients lose the digits by which near-opposites differ
    return (surgery(wide @ wide.T, generator) @ wide).to(gradients.dtype)


# --- Normalisation ---
def spread_of_returns(reward: Tensor, terminated: Tensor, horizon: int, episodes: int, discount: float) -> Tensor:
    """Standard deviation (task,) of the discounted sums of rewards from each row to its end, in the latest rounds.

    reward and terminated (task, row), row = round x step x episode: whole rounds at the end, whatever is cut off in front.
    """
    rounds = min(RETURN_ROUNDS, reward.shape[1] // (horizon * episodes))
    latest = (x[:, x.shape[1] - rounds * horizon * episodes :] for x in (reward, terminated))
    r, end = (x.unflatten(1, (rounds, horizon, episodes)) for x in latest)  # (task, round, step, episode)
    sums = [r[:, :, -1]]
    for step in range(horizon - 2, -1, -1):
        sums.append(r[:, :, step] + discount * (1 - end[:, :, step]) * sums[-1])
    return torch.stack(sums, 2).flatten(1).std(1, correction=0)


# --- Balance: a weight for each task's loss, moved during training ---
class Balance:
    """Weights of the tasks' losses, (task,), all 1 at the start and 1 on average at any time.

    `inverse_loss`: each in inverse proportion to the running mean of its task's absolute loss. `gradnorm`: moved so that all
    weighted gradients become equally long.
    """

    def __init__(self, tasks: int) -> None:
        self.log_weights = torch.zeros(tasks)
        self.losses: Tensor | None = None  # (task,) running mean of the absolute losses

    def weights(self) -> Tensor:
        return len(self.log_weights) * self.log_weights.softmax(0)

    def by_loss(self, losses: Tensor) -> Tensor:
        """Weights after these losses (task,)."""
        size = losses.detach().abs()
        self.losses = size if self.losses is None else LOSS_MEMORY * self.losses + (1 - LOSS_MEMORY) * size
        self.log_weights = -self.losses.clamp(min=1e-8).log()
        return self.weights()

    def by_norm(self, norms: Tensor) -> Tensor:
        """Weights after these norms of the unweighted gradients (task,): Chen et al. 2018, eq. (2); departure 2."""
        weighted = self.weights() * norms  # G_W^(i)
        self.log_weights = self.log_weights - GRADNORM_STEP * (weighted - weighted.mean()).sign()
        self.log_weights = self.log_weights - self.log_weights.mean()
        return self.weights()


# --- Anchors: elastic weight consolidation ---
def fisher(module: nn.Module, log_likelihood: Callable[..., Tensor], rows: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Diagonal Fisher information of each parameter: mean over rows of the squared gradient of the log-likelihood.

    `log_likelihood(network, *row)` gives a scalar for one row; rows (row, ...) each. The rows' outcomes must be drawn from
    the model itself, or the result is the empirical Fisher, another quantity.
    """
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def one(parameters: dict[str, Tensor], *row: Tensor) -> Tensor:
        return log_likelihood(lambda *x: functional_call(module, parameters, x), *row)

    gradients = vmap(grad(one), in_dims=(None, *[0] * len(rows)))(parameters, *rows)
    return {name: g.square().mean(0) for name, g in gradients.items()}


class Anchor:
    """EWC: sum_k F_k (theta - theta_k)^2 / 2 over the earlier tasks k; Kirkpatrick et al. 2017, eq. (3)."""

    def __init__(self) -> None:
        self.strength: dict[str, Tensor] = {}  # sum of F_k
        self.moment: dict[str, Tensor] = {}  # sum of F_k theta_k; departure 3

    def add(self, module: nn.Module, information: dict[str, Tensor]) -> None:
        """From now on hold `module` where it is, each weight by its Fisher information."""
        for name, p in module.named_parameters():
            f = information[name]
            self.strength[name] = self.strength.get(name, torch.zeros_like(f)) + f
            self.moment[name] = self.moment.get(name, torch.zeros_like(f)) + f * p.detach()

    def pull(self, name: str, parameter: Tensor) -> Tensor | float:
        """Gradient of the penalty in the parameter of that name; 0 before the first `add`."""
        return self.strength[name] * parameter.detach() - self.moment[name] if self.strength else 0.0


# --- One step with all of them ---
class Settings(Protocol):
    """What a step reads of a `Config`."""

    @property
    def separate(self) -> bool: ...
    @property
    def surgery(self) -> bool: ...
    @property
    def balance(self) -> str: ...
    @property
    def task_weights(self) -> tuple[float, ...] | None: ...
    @property
    def ewc(self) -> float: ...


class Learner:
    """A network, its optimiser (Adam), and what the mitigations remember of it."""

    def __init__(self, network: Any, config: Settings, tasks: int) -> None:
        self.network, self.config = network, config
        self.optimiser = Adam(network.parameters())
        self.balance, self.anchor = Balance(tasks), Anchor()

    def descend(self, loss: Callable[[Network], Tensor], ids: Tensor, generator: torch.Generator) -> None:
        """One step down the loss; loss(network) gives (task,), the losses of the tasks `ids` (task,)."""
        config, parameters = self.config, dict(self.network.named_parameters())
        weights = torch.ones(len(ids)) if config.task_weights is None else torch.tensor(config.task_weights)[ids]
        weights = weights / (1.0 if config.separate else weights.sum())  # separate: each network gets its full gradient
        if config.surgery or config.balance == "gradnorm":
            _, each = task_gradients(self.network, loss, len(ids))  # (task, parameter)
            if config.balance == "gradnorm":
                weights = weights * self.balance.by_norm(each.norm(dim=1))
            elif config.surgery:
                wide = (weights[:, None] * each).double()
                weights = weights * surgery(wide @ wide.T, generator).sum(0).float()  # of the sum of all rows
            gradients = list((weights @ each).split([p.numel() for p in parameters.values()]))
        else:
            losses = loss(self.network)
            if config.balance == "inverse_loss":
                weights = weights * self.balance.by_loss(losses)
            gradients = list(torch.autograd.grad(weights @ losses, list(parameters.values())))
        for (name, p), gradient in zip(parameters.items(), gradients, strict=True):
            p.grad = gradient.view_as(p)
            if config.ewc:
                p.grad = p.grad + config.ewc * self.anchor.pull(name, p)
        self.optimiser.step()

    def hold(self, observations: Tensor, ids: Tensor, generator: torch.Generator) -> None:
        """EWC: tie a Gaussian actor's weights to where they are, as far as the one task `ids` (1,) needs them.

        observations (row, obs) of that task; the actor gives mean and logarithm of the deviation of each action.
        """
        def log_likelihood(actor: Network, observation: Tensor, noise: Tensor) -> Tensor:
            mean, log_std = actor(observation[None, None], ids).chunk(2, -1)
            log_std = log_std.clamp(-5, 1)
            u = (mean + log_std.exp() * noise).detach()  # tanh adds to the density what no weight can move
            return (-0.5 * ((u - mean) / log_std.exp()).square() - log_std).sum()

        rows = torch.randint(len(observations), (FISHER_ROWS,), generator=generator)
        noise = torch.randn(FISHER_ROWS, self.network(observations[None, :1], ids).shape[-1] // 2, generator=generator)
        self.anchor.add(self.network, fisher(self.network, log_likelihood, (observations[rows], noise)))
