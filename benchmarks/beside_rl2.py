"""What the comparisons of RL² with its peers on bandits with 5 arms and 10 pulls share: our side, and both in one process.

Both sides are measured alike: CPU seconds of training until the mean return of the last 5,000 or so training trials, drawn actions, mean
rewards of the chosen arms, is 6.30. Beside that: environment steps per CPU second of either side, and our floor: the time of the matrix
products of one iteration and nothing else, replayed on their own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.rl2_bandit import SETTINGS
from reference_impls import rl2
from reference_impls.tasks.bandit import Bandit

UNIT = "CPU seconds of training to a return of 6.30"
TARGET = 6.30  # random 5.00, Bayes optimum 6.66
# CPU seconds to the target, if it was reached, CPU seconds in all, and environment steps per CPU second
Peer = Callable[[Bandit, int, str], tuple[float | None, float, float]]


class Products(TorchDispatchMode):
    """Notes the shapes of every matrix product that runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self.shapes.append((tuple(args[0].shape), tuple(args[1].shape)))
        elif name == "addmm":
            self.shapes.append((tuple(args[1].shape), tuple(args[2].shape)))
        return func(*args, **(kwargs or {}))


def ours(family: Bandit, config: rl2.Config) -> tuple[float | None, float]:
    """CPU seconds to the target, if it was reached, and environment steps per CPU second over the whole training."""
    last: deque[float] = deque(maxlen=10)  # batches of 512 trials
    reached: list[float] = []
    start = time.process_time()

    def watch(done: int, of: int, mean: float) -> None:
        last.append(mean * family.pulls)
        if not reached and len(last) == last.maxlen and sum(last) / len(last) >= TARGET:
            reached.append(time.process_time() - start)

    rl2.train(config, family, watch)
    seconds = time.process_time() - start
    return (reached[0] if reached else None), config.iterations * config.tasks * family.pulls / seconds


def floor(family: Bandit, config: rl2.Config, repeats: int = 30) -> tuple[float, float]:
    """CPU seconds of one iteration, rollout and update, and of its matrix products alone."""
    generator = torch.Generator().manual_seed(0)
    agent = rl2.Agent(config, family)
    optimizer = torch.optim.Adam(agent.parameters())

    def iteration() -> None:
        batch = rl2.rollout(agent, config, family, family.sample(config.tasks, generator), generator)
        rl2.update(agent, optimizer, config, batch, 0.5)

    with Products() as products:
        iteration()
    pairs = [(torch.randn(a), torch.randn(b)) for a, b in products.shapes]

    def multiply() -> None:
        for a, b in pairs:
            torch.matmul(a, b)

    seconds = []
    for work in (iteration, multiply):
        work()
        start = time.process_time()
        for _ in range(repeats):
            work()
        seconds.append((time.process_time() - start) / repeats)
    return seconds[0], seconds[1]


def side_by_side(
    peer: Peer, settings: dict[str, Any], name: str, version: str, seed: int, budget: str
) -> dict[str, Any]:
    """Train ours, then the peer, in one process; where a side never gets there, its seconds in all stand in as a lower bound."""
    torch.set_num_threads(1)
    family = Bandit(arms=5, pulls=10)
    config = rl2.Config(seed=seed, episodes=family.pulls, **SETTINGS["rl2-bandit-n10-k5"]["short"])
    begun = time.process_time()
    reached, rate = ours(family, config)
    training = time.process_time() - begun
    whole, products = floor(family, config)
    peer_reached, peer_seconds, peer_rate = peer(family, seed, budget)
    figure = training if reached is None else reached
    peer_figure = peer_seconds if peer_reached is None else peer_reached
    return {
        "figure": figure,
        "cpu_seconds": training,
        "settings": {**asdict(config), "peer": settings, "budget": budget},
        "reference": {
            "reached (share of seeds)": float(reached is not None),
            "peer reached (share of seeds)": float(peer_reached is not None),
            "steps per CPU second": rate,
            "peer's steps per CPU second": peer_rate,
            "one iteration over its matrix products": whole / products,
        },
        "peer": {"name": name, "version": version, "figure": peer_figure, "cpu_seconds": peer_seconds},
        "ratio": peer_figure / figure,
    }
