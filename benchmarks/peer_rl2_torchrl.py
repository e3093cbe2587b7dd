"""RL² against the parts of TorchRL on bandits with 5 arms and 10 pulls: CPU seconds of training to a return of 6.30.

The peer is TorchRL's own GRUModule, ProbabilisticActor, ClipPPOLoss and advantage function over a batched environment of its EnvBase.
beside_rl2.py says how both sides are measured.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.beside_rl2 import TARGET, UNIT, side_by_side
from reference_impls.tasks.bandit import Bandit

CASES = {"peer-rl2-torchrl": UNIT}
PEER_SETTINGS = {
    "hidden": 32, "environments": 1024, "epochs": 4, "minibatches": 4, "learning_rate": 3e-3,
    "gamma": 0.99, "gae_lambda": 0.3, "entropy": 0.01,
}  # fmt: skip
PEER_BATCHES = {"short": 150, "long": 600}  # of 10,240 steps; given up here


def theirs(family: Bandit, seed: int, budget: str) -> tuple[float | None, float, float]:
    """CPU seconds to the target, if it was reached, CPU seconds in all, and environment steps per CPU second."""
    from tensordict import TensorDict, TensorDictBase
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded
    from torchrl.envs import EnvBase, InitTracker, TransformedEnv
    from torchrl.modules import GRUModule, ProbabilisticActor, set_recurrent_mode
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value.functional import generalized_advantage_estimate

    p = PEER_SETTINGS
    n, size = int(p["environments"]), family.arms + 2

    class Bandits(EnvBase):  # type: ignore[misc]
        """A trial is an episode of `pulls` steps; observation: action before, its reward, whether the trial has just begun."""

        def __init__(self) -> None:
            super().__init__(batch_size=[n])
            self.observation_spec = Composite(observation=Bounded(0, 1, (n, size)), shape=(n,))
            self.action_spec = Categorical(family.arms, shape=(n,))
            self.reward_spec = Unbounded((n, 1))
            flags = {name: Binary(1, shape=(n, 1), dtype=torch.bool) for name in ("done", "terminated")}
            self.full_done_spec = Composite(**flags, shape=(n,))

        def _reset(self, tensordict: TensorDictBase | None, **options: Any) -> TensorDictBase:
            self.arms, self.time, self.total = torch.rand(n, family.arms), 0, 0.0
            seen = torch.zeros(n, size)
            seen[:, -1] = 1.0
            return TensorDict({"observation": seen}, batch_size=[n])

        def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
            action = tensordict["action"].unsqueeze(-1)
            chance = self.arms.gather(1, action)
            reward = (torch.rand(n, 1) < chance).float()
            self.total += chance.mean().item()
            self.time += 1
            seen = torch.zeros(n, size).scatter(1, action, 1.0)
            seen[:, -2:-1] = reward
            over = torch.full((n, 1), self.time == family.pulls)
            return TensorDict({"observation": seen, "reward": reward, "done": over, "terminated": over}, batch_size=[n])

        def _set_seed(self, seed: int | None) -> None: ...

    torch.manual_seed(seed)
    gru = GRUModule(
        input_size=size, hidden_size=int(p["hidden"]),
        in_keys=["observation", "recurrent_state", "is_init"], out_keys=["embedding", ("next", "recurrent_state")],
    )  # fmt: skip
    environments = TransformedEnv(Bandits(), InitTracker()).append_transform(gru.make_tensordict_primer())
    logits = TensorDictModule(nn.Linear(int(p["hidden"]), family.arms), ["embedding"], ["logits"])
    value = TensorDictModule(nn.Linear(int(p["hidden"]), 1), ["embedding"], ["state_value"])
    actor = ProbabilisticActor(
        TensorDictSequential(gru, logits), in_keys=["logits"], out_keys=["action"],
        distribution_class=torch.distributions.Categorical, return_log_prob=True,
    )  # fmt: skip
    critic = TensorDictSequential(gru, value)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=p["entropy"], normalize_advantage=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=p["learning_rate"])
    last: deque[float] = deque(maxlen=5)  # batches of 1,024 trials
    reached, steps, start = None, 0, time.process_time()
    for _ in range(PEER_BATCHES[budget]):
        with torch.no_grad():
            batch = environments.rollout(family.pulls, actor)  # (environment, step)
            with set_recurrent_mode(True):
                now: Tensor = critic(batch.clone())["state_value"]  # (environment, step, 1)
            following = torch.cat([now[:, 1:], torch.zeros_like(now[:, :1])], 1)
            over = batch["next", "terminated"]
            batch["advantage"], batch["value_target"] = generalized_advantage_estimate(
                p["gamma"], p["gae_lambda"], now, following, batch["next", "reward"], over, over
            )
        for _ in range(int(p["epochs"])):
            for rows in torch.randperm(n).chunk(int(p["minibatches"])):
                with set_recurrent_mode(True):
                    losses = loss(batch[rows])
                optimizer.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
                optimizer.step()
        steps += n * family.pulls
        last.append(environments.base_env.total)
        if len(last) == last.maxlen and sum(last) / len(last) >= TARGET:
            reached = time.process_time() - start
            break
    seconds = time.process_time() - start
    return reached, seconds, steps / seconds


def run(case: str, seed: int, budget: str) -> dict[str, Any]:
    """Ours and the peer in one process."""
    try:
        import torchrl
    except ImportError:
        sys.exit("this case needs torchrl: install the extra `peers`")
    return side_by_side(theirs, PEER_SETTINGS, "TorchRL ClipPPOLoss and GRUModule", torchrl.__version__, seed, budget)
