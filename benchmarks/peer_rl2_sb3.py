"""RL² against RecurrentPPO of sb3-contrib on bandits with 5 arms and 10 pulls: CPU seconds of training to a return of 6.30.

The peer sees what the paper's agent sees: the action before as one-hot, its reward, and whether a trial has begun. Its environments are written
as one vectorised environment, so that Python's share of its time is small. beside_rl2.py says how both sides are measured.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any

import torch

from benchmarks.beside_rl2 import TARGET, UNIT, side_by_side
from reference_impls.tasks.bandit import Bandit

CASES = {"peer-rl2-sb3": UNIT}
PEER_STEPS = {"short": 500_000, "long": 2_000_000}  # given up here
PEER_SETTINGS: dict[str, Any] = {  # batch_size: 4 minibatches
    "n_steps": 80, "batch_size": 128 * 80 // 4, "n_epochs": 8, "learning_rate": 1e-3, "gamma": 0.99, "gae_lambda": 0.3,
}  # fmt: skip
ENVIRONMENTS = 128


def theirs(family: Bandit, seed: int, budget: str) -> tuple[float | None, float, float]:
    """CPU seconds to the target, if it was reached, CPU seconds in all, and environment steps per CPU second."""
    import numpy as np
    from gymnasium import spaces
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import VecEnv

    class Bandits(VecEnv):  # type: ignore[misc]
        """A trial is an episode of `pulls` steps; observation: action before, its reward, whether the trial has just begun."""

        def __init__(self) -> None:
            size = family.arms + 2
            box = spaces.Box(0.0, 1.0, (size,), np.float32)
            super().__init__(ENVIRONMENTS, box, spaces.Discrete(family.arms))
            self.generator = np.random.default_rng(seed)
            self.returns: deque[float] = deque(maxlen=5 * 8)  # mean of all environments, per trial: 5,120 trials
            self.total = 0.0

        def begin(self) -> Any:
            self.arms, self.time = self.generator.random((ENVIRONMENTS, family.arms)), 0
            seen = np.zeros((ENVIRONMENTS, family.arms + 2), np.float32)
            seen[:, -1] = 1.0
            return seen

        def reset(self) -> Any:
            return self.begin()

        def step_async(self, actions: Any) -> None:
            self.actions = actions

        def step_wait(self) -> Any:
            rows = np.arange(ENVIRONMENTS)
            chance = self.arms[rows, self.actions]
            reward = (self.generator.random(ENVIRONMENTS) < chance).astype(np.float32)
            self.total += float(chance.mean())
            self.time += 1
            seen = np.zeros((ENVIRONMENTS, family.arms + 2), np.float32)
            seen[rows, self.actions] = 1.0
            seen[:, -2] = reward
            over = self.time == family.pulls
            infos: list[dict[str, Any]] = [{} for _ in rows]
            if over:  # a trial ends by itself; all of them at once
                infos = [{"terminal_observation": one, "TimeLimit.truncated": False} for one in seen]
                self.returns.append(self.total)
                self.total, seen = 0.0, self.begin()
            return seen, reward, np.full(ENVIRONMENTS, over), infos

        def close(self) -> None: ...
        def get_attr(self, name: str, indices: Any = None) -> list[Any]:
            return [getattr(self, name, None)] * ENVIRONMENTS

        def set_attr(self, name: str, value: Any, indices: Any = None) -> None:
            setattr(self, name, value)

        def env_method(self, name: str, *args: Any, indices: Any = None, **options: Any) -> list[Any]:
            return [None] * ENVIRONMENTS

        def env_is_wrapped(self, wrapper: Any, indices: Any = None) -> list[bool]:
            return [False] * ENVIRONMENTS

    class Watch(BaseCallback):  # type: ignore[misc]
        """Stops the training at the target."""

        reached: float | None = None

        def _on_step(self) -> bool:
            returns = environments.returns
            if len(returns) == returns.maxlen and sum(returns) / len(returns) >= TARGET:
                self.reached = time.process_time() - start
            return self.reached is None

    environments, watch = Bandits(), Watch()
    model = RecurrentPPO("MlpLstmPolicy", environments, seed=seed, device="cpu", **PEER_SETTINGS)
    torch.set_num_threads(1)
    start = time.process_time()
    model.learn(PEER_STEPS[budget], callback=watch)
    seconds = time.process_time() - start
    return watch.reached, seconds, model.num_timesteps / seconds


def run(case: str, seed: int, budget: str) -> dict[str, Any]:
    """Ours and the peer in one process."""
    try:
        import sb3_contrib
    except ImportError:
        sys.exit("this case needs sb3-contrib: install the extra `peers`")
    settings = {**PEER_SETTINGS, "environments": ENVIRONMENTS}
    return side_by_side(theirs, settings, "sb3-contrib RecurrentPPO", sb3_contrib.__version__, seed, budget)
