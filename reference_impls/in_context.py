"""Learning in context, with few-shot fine-tuning beside it (Brown et al. 2020, arXiv 2005.14165; Garg et al. 2022, arXiv 2208.01066).

1. A causal sequence model reads a prompt: words and labels of a few examples of one task, in turn, then a word to be labelled.
2. Pretraining draws a task anew for every prompt, so only who learns from the prompt can answer: the weights learn to learn.
3. On a new task nothing is trained. What RL² keeps in its memory, this model looks up in its prompt, by attention.
4. The other way to use the same examples: gradient steps on them, the prompt left empty. MAML would prepare for it, this pretraining does not.
5. Both ways start from the same weights and see the same examples, so that what differs is the way alone.

Departures from Garg et al.:
(1) Labels are yes or no, and the loss is their cross-entropy; there they are numbers and their squared error.
(2) Two layers of width 32 in place of twelve of 256, for tasks of two dimensions in place of twenty.
(3) Fine-tuning is plain gradient descent on all weights, its step size and number of steps chosen on training tasks.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from .tasks.in_context import Labels

Examples = tuple[Tensor, Tensor]  # words (task, example, word) and labels (task, example, 1), 0 or 1; inside `vmap` without task


@dataclass(frozen=True)
class Config:
    """Settings; in brackets the value of Garg et al. where it differs. Raises ValueError for counts below one."""

    seed: int = 0
    iterations: int = 300  # batches of fresh prompts, one gradient step on each (500 000)
    tasks: int = 128  # prompts per batch, each of a task of its own (64)
    width: int = 32  # of the residual stream (256)
    layers: int = 2  # (12)
    heads: int = 4  # (8)
    learning_rate: float = 1e-2  # Adam, falling linearly to a tenth (1e-4, constant)
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("iterations", "tasks", "width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be 1 or more")


@dataclass(frozen=True)
class Trained:
    """Result of `train`."""

    network: "Network"
    history: tuple[float, ...]  # loss per iteration, in nats a label
    prompts: int  # seen in all


# Networks
class Block(nn.Module):
    """Causal self-attention and a hidden layer, each added to the stream (Vaswani et al. 2017; layer norm first)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(prompt, token, width) -> the same; a token looks at itself and at those before."""
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for y in self.project(self.before(x)).chunk(3, -1))
        match = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (prompt, head, token, token)
        later = torch.ones(x.shape[-2], x.shape[-2], dtype=torch.bool, device=x.device).triu(1)
        found = match.masked_fill(later, -torch.inf).softmax(-1) @ v
        x = x + self.out(found.transpose(-3, -2).flatten(-2))
        return x + self.think(self.after(x))


class Network(nn.Module):
    """Tokens word, label, word, label, ... to the label of every word."""

    def __init__(self, config: Config, family: Labels) -> None:
        super().__init__()
        self.word, self.label = nn.Linear(family.word_size, config.width), nn.Linear(1, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(2 * family.examples + 1, config.width))
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.layers)))
        self.answer = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, 1))

    def forward(self, words: Tensor, labels: Tensor) -> Tensor:
        """Words (..., k + 1, word), labels of all but the last (..., k, 1) -> how much a yes each is, in nats, (..., k + 1).

        The answer to a word is read off before its own label is shown.
        """
        shown = torch.cat([2 * labels - 1, torch.zeros_like(words[..., :1, :1])], -2)
        tokens = torch.stack([self.word(words), self.label(shown)], -2).flatten(-3, -2)[..., :-1, :]  # (..., 2 k + 1, width)
        return self.answer(self.blocks(tokens + self.place[: tokens.shape[-2]]))[..., ::2, :].squeeze(-1)


# Prompts
def prompts(examples: Examples, asked: Tensor) -> tuple[Tensor, Tensor]:
    """A prompt for each word asked (task, query, word): words (task, query, k + 1, word) and labels (task, query, k, 1)."""
    words, labels = (x.unsqueeze(1).expand(-1, asked.shape[1], -1, -1) for x in examples)
    return torch.cat([words, asked.unsqueeze(2)], 2), labels


# Loss
def loss(network: Callable[..., Tensor], words: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of every label given the examples before it: words and labels (prompt, k + 1, ...)."""
    answer = network(words, labels[..., :-1, :])
    return F.binary_cross_entropy_with_logits(answer, labels.squeeze(-1))  # (1)


# Update
def update(network: Network, adam: torch.optim.Adam, words: Tensor, labels: Tensor, rate: float) -> float:
    """One gradient step on a batch of prompts; the loss before it."""
    adam.param_groups[0]["lr"] = rate
    adam.zero_grad()
    value = loss(network, words, labels)
    value.backward()
    adam.step()
    return value.item()


# Adapt at test time
def right(answer: Tensor, labels: Tensor) -> Tensor:
    """Share of right labels (task,) of answers (task, query) in nats, labels (task, query, 1)."""
    return ((answer > 0) == (labels.squeeze(-1) > 0.5)).double().mean(1)


def drawn(family: Labels, tasks: Tensor, seed: int) -> tuple[Examples, Examples]:
    """The examples of each task and what it is asked, the same for every way to adapt."""
    generator = torch.Generator(tasks.device).manual_seed(seed)
    return family.points(tasks, family.examples, generator), family.points(tasks, family.queries, generator)


@torch.no_grad()
def evaluate(trained: Trained, config: Config, family: Labels, tasks: Tensor, seed: int) -> Tensor:
    """Share of right labels after 0, 1, ... examples in the prompt, with the weights as they are: (task, 1 + examples)."""
    (words, labels), (asked, truth) = drawn(family, tasks, seed)
    shares = []
    for k in range(family.examples + 1):
        read = trained.network(*prompts((words[:, :k], labels[:, :k]), asked))[..., -1]  # (task, query)
        shares.append(right(read, truth))
    return torch.stack(shares, 1)


def fine_tune(trained: Trained, config: Config, family: Labels, tasks: Tensor, seed: int, steps: int, step_size: float) -> Tensor:
    """The same after gradient steps on the first 0, 1, ... examples, each task with weights of its own and an empty prompt."""
    (words, labels), (asked, truth) = drawn(family, tasks, seed)
    start = {name: value.detach().expand(len(tasks), *value.shape) for name, value in trained.network.named_parameters()}

    def alone(weights: dict[str, Tensor], words: Tensor) -> Tensor:  # a prompt for each word, with nothing before it
        return functional_call(trained.network, weights, (words.unsqueeze(1), words.new_zeros(len(words), 0, 1))).squeeze(-1)

    def error(weights: dict[str, Tensor], words: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(alone(weights, words), labels.squeeze(-1))

    shares = []
    for k in range(family.examples + 1):
        weights = start
        for _ in range(steps if k else 0):
            gradient = vmap(grad(error))(weights, words[:, :k], labels[:, :k])
            weights = {name: value - step_size * gradient[name] for name, value in weights.items()}  # (3)
        with torch.no_grad():
            shares.append(right(vmap(alone)(weights, asked), truth))
    return torch.stack(shares, 1)


# Train
def train(config: Config, family: Labels, progress: Callable[[int, int, float], None] | None = None) -> Trained:
    """Pretrain on prompts of the family, a task each; progress(done, total, loss) is called after each iteration."""
    with torch.random.fork_rng(devices=[]):  # initial weights take the global generator; leave it as it was
        torch.manual_seed(config.seed)
        network = Network(config, family).to(config.device)
    adam = torch.optim.Adam(network.parameters(), config.learning_rate)
    generator = torch.Generator(config.device).manual_seed(config.seed)
    history = []
    for i in range(config.iterations):
        words, labels = family.points(family.sample(config.tasks, generator), family.examples + 1, generator)
        history.append(update(network, adam, words, labels, config.learning_rate * (1 - 0.9 * i / config.iterations)))
        if progress is not None:
            progress(i + 1, config.iterations, history[-1])
    return Trained(network, tuple(history), config.iterations * config.tasks)


# Main
def main(arguments: list[str] | None = None) -> None:
    """Pretrain, then print the share of right labels in and off the training distribution, for both ways."""
    parser = argparse.ArgumentParser(prog="python -m reference_impls.in_context", description="Examples in the prompt against fine-tuning")
    for name in ("seed", "iterations", "tasks", "width", "layers", "learning_rate"):
        parser.add_argument("--" + name.replace("_", "-"), type=type(getattr(Config, name)), default=getattr(Config, name))
    parser.add_argument("--steps", type=int, default=10, help="gradient steps of fine-tuning (10)")
    parser.add_argument("--step-size", type=float, default=0.3, help="of these (0.3)")
    parser.add_argument("--test-tasks", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print in one line")
    options = vars(parser.parse_args(arguments))
    torch.set_num_threads(1)  # the tensors are small: more threads cost more than they give
    family = Labels()
    try:
        config = Config(**{name: options[name] for name in ("seed", "iterations", "tasks", "width", "layers", "learning_rate")})
    except ValueError as error:
        parser.error(str(error))
    trained = train(config, family)
    result: dict[str, object] = {"cpu_seconds": time.process_time()}
    for distance in (0.0, 0.5, 1.0):
        there = family.moved(distance)
        tasks = there.sample(options["test_tasks"], torch.Generator().manual_seed(config.seed + 10_000))  # apart from training
        tuned = fine_tune(trained, config, there, tasks, config.seed, options["steps"], options["step_size"])
        read = evaluate(trained, config, there, tasks, config.seed)
        result[f"distance {distance}"] = {"in the prompt": read.mean(0).tolist(), "fine-tuned": tuned.mean(0).tolist()}
    print(json.dumps({**result, "settings": asdict(config)}, indent=None if options["json"] else 2))


if __name__ == "__main__":
    main()
