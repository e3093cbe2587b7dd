"""RL²: what its memory does, its returns and advantages, and that it learns."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reference_impls import rl2
from reference_impls.tasks.bandit import Bandit


@dataclass(frozen=True)
class Walk:
    """A walk on a line to a hidden end: +1 right or left each step; the episode ends on the task's side, at distance 2."""

    horizon: int = 4
    observation_size: int = 1
    action_size: int = 2
    discrete: bool = True

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (n, 1), generator=generator).float() * 2 - 1

    def reset(self, tasks: Tensor) -> Tensor:
        return torch.zeros_like(tasks)

    def observe(self, state: Tensor) -> Tensor:
        return state

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        move = action.unsqueeze(-1) * 2.0 - 1 if self.discrete else action[..., :1].clamp(-1, 1)
        state = state + move
        terminated = (state * tasks).squeeze(-1) >= 2
        return state, terminated.float() - 0.1, terminated


def play(config: rl2.Config, seed: int = 0, family: rl2.Family | None = None) -> tuple[rl2.Agent, rl2.Rollout]:
    """A rollout of an untrained agent in 64 tasks."""
    family = family or Walk()
    torch.manual_seed(seed)
    agent = rl2.Agent(config, family)
    generator = torch.Generator().manual_seed(seed)
    return agent, rl2.rollout(agent, config, family, family.sample(64, generator), generator)


@pytest.mark.parametrize("core", ["attention", "gru"])
def test_memory_is_kept_across_episodes_and_cleared_between_tasks(core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a task each step starts from the memory that the one before left, over ends of episodes too; each task from none."""
    given: list[Tensor] = []
    left: list[Tensor] = []
    original = rl2.Agent.step

    def watched(self: rl2.Agent, observation: Tensor, memory: rl2.Memory) -> tuple[Tensor, Tensor]:
        result = original(self, observation, memory)
        given.append(memory.hidden)
        left.append(result[1])
        return result

    monkeypatch.setattr(rl2.Agent, "step", watched)
    family, config = Bandit(arms=2, pulls=4), rl2.Config(episodes=4, core=core)
    trained = rl2.train(replace(config, iterations=1, tasks=8), family)
    tasks = family.sample(8, torch.Generator().manual_seed(0))
    given.clear()
    left.clear()
    rl2.evaluate(trained, config, family, tasks, 0)
    rl2.evaluate(trained, config, family, tasks, 1)
    assert len(given) == 8  # two trials of four episodes of one step
    for trial in (given[:4], given[4:]):
        assert not trial[0].any()
        assert all(hidden.any(-1).all() if core == "gru" else hidden.any() for hidden in trial[1:])
    for start in (0, 4):
        for step in range(start, start + 3):
            assert torch.equal(given[step + 1], left[step])
    given.clear()
    rl2.evaluate(trained, config, family, tasks, 0, forget=True)
    assert not torch.stack(given).any()


@pytest.mark.parametrize("core", ["attention", "gru"])
@pytest.mark.parametrize("memory", [True, False])
def test_whole_trials_at_once_equal_step_by_step(core: str, memory: bool) -> None:
    """The form that takes in whole trials gives the heads what the form that acts gives them."""
    config = rl2.Config(episodes=3, core=core, memory=memory, key=3)
    agent, batch = play(config)
    whole = agent.sequence(batch.observation, batch.past)
    state = agent.clear(64)
    for t in range(len(batch.action)):
        if not memory:
            state = agent.clear(64)
        assert memory or not batch.past[t].any()
        features, hidden = agent.step(batch.observation[t], rl2.Memory(state.hidden, batch.past[t]))
        state = rl2.Memory(hidden, batch.past[t])
        assert torch.allclose(features, whole[t], atol=1e-5)


def test_advantages_equal_a_plain_loop() -> None:
    """Advantages are the discounted sum of residuals; ended trials count nothing afterwards, cut-off ones the value that follows."""
    rng, steps, discount, gae_lambda = random.Random(0), 7, 0.9, 0.8
    lengths, afters = (7, 4, 1, 5), (0.0, 2.5, -1.0, 0.0)  # terminated, truncated, truncated, terminated
    rewards = [[rng.gauss(0, 1) for _ in range(length)] for length in lengths]
    values = [[rng.gauss(0, 1) for _ in range(length)] for length in lengths]
    reward, value, last = torch.zeros(steps, 4), torch.zeros(steps, 4), torch.zeros(steps, 4, dtype=torch.bool)
    for i, length in enumerate(lengths):
        reward[:length, i], value[:length, i] = torch.tensor(rewards[i]), torch.tensor(values[i])
        last[length - 1, i] = True
    reward[4:, 1] = 100.0  # padding must not reach back into the trial
    result = rl2.advantages(reward, value, last, torch.tensor(afters), discount, gae_lambda)
    for i, length in enumerate(lengths):
        following = [*values[i], afters[i]]
        for t in range(length):
            expected = 0.0
            for k in range(t, length):
                delta = rewards[i][k] + discount * following[k + 1] - following[k]
                expected += (discount * gae_lambda) ** (k - t) * delta
            assert result[t, i].item() == pytest.approx(expected, abs=1e-5)


def test_full_lambda_gives_the_plain_discounted_return() -> None:
    """With lambda 1 advantage plus value is the discounted return, with the value after a time limit counted in."""
    reward, value = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[5.0], [-1.0], [0.5]])
    last = torch.tensor([[False], [False], [True]])
    target = rl2.advantages(reward, value, last, torch.tensor([10.0]), 0.5, 1.0) + value
    assert target[0].item() == pytest.approx(1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 10)


def test_time_limits_stand_apart_from_ends() -> None:
    """An episode ends or is cut off, never both; what would have come counts only where the trial was cut off."""
    _, batch = play(rl2.Config(episodes=3))
    assert batch.terminated.any()
    assert batch.truncated.any()
    assert not (batch.terminated & batch.truncated).any()
    assert torch.equal((batch.terminated | batch.truncated).sum(0), torch.full((64,), 3))
    assert torch.equal(batch.last.sum(0), torch.ones(64, dtype=torch.long))
    cut = (batch.last & batch.truncated).any(0)
    assert batch.after[cut].ne(0).all()
    assert not batch.after[~cut].any()


def test_returns_equal_a_plain_loop() -> None:
    """The return of an episode is the sum of its rewards, told apart by the flags alone."""
    _, batch = play(rl2.Config(episodes=3, reward_scale=2.0))
    for i in range(64):
        totals, total = [], 0.0
        for t in range(len(batch.reward)):
            total += batch.reward[t, i].item() / 2
            if batch.terminated[t, i] or batch.truncated[t, i]:
                totals.append(total)
                total = 0.0
        assert batch.returns[i].tolist() == pytest.approx(totals, abs=1e-5)


def test_same_seed_same_result() -> None:
    """Training twice with one seed gives the same weights, and another seed others."""
    config = rl2.Config(iterations=3, tasks=16)
    first, again, other = (rl2.train(replace(config, seed=s), Bandit()).agent.policy.weight for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("core", ["attention", "gru"])
def test_a_resumed_training_ends_with_the_same_bits(core: str, tmp_path: Path) -> None:
    """A training broken off after its checkpoint and begun again gives the weights of one that ran through."""
    family, config, path = Bandit(), rl2.Config(iterations=6, tasks=16, core=core), str(tmp_path / "checkpoint")
    whole = rl2.train(config, family).agent.state_dict()

    def stop(done: int, of: int, mean: float) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rl2.train(config, family, stop, checkpoint=path, every=2)
    calls: list[int] = []
    resumed = rl2.train(config, family, lambda done, of, mean: calls.append(done), checkpoint=path, every=2)
    assert calls == [5, 6]
    assert all(torch.equal(whole[name], tensor) for name, tensor in resumed.agent.state_dict().items())
    with pytest.raises(ValueError, match="settings"):
        rl2.train(replace(config, learning_rate=1e-3), family, checkpoint=path)


def test_trials_grow_to_their_full_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """With growth trials begin short and are whole from that share of the run on; without it they always are."""
    lengths: list[int] = []
    original = rl2.update

    def watched(
        agent: rl2.Agent, optimizer: torch.optim.Optimizer, config: rl2.Config, batch: rl2.Rollout, *rest: Any
    ) -> None:
        lengths.append(batch.returns.shape[1])
        original(agent, optimizer, config, batch, *rest)

    monkeypatch.setattr(rl2, "update", watched)
    config = rl2.Config(iterations=8, tasks=8, episodes=40, growth=0.5)
    rl2.train(config, Bandit(pulls=40))
    assert lengths == [10, 10, 20, 30, 40, 40, 40, 40]
    lengths.clear()
    rl2.train(replace(config, growth=0.0), Bandit(pulls=40))
    assert lengths == [40] * 8


def test_the_agent_sees_and_learns_from_shifted_rewards() -> None:
    """The reward is shifted, then scaled, for the agent's eyes and for its learning; returns stay what they were."""
    plain, shifted = (play(rl2.Config(episodes=2, reward_shift=shift, reward_scale=0.5))[1] for shift in (0.0, 3.0))
    assert torch.equal(plain.action[0], shifted.action[0])  # before the first reward nothing differs
    assert torch.allclose(shifted.reward[0], plain.reward[0] - 1.5)
    assert torch.allclose(
        shifted.past[1][:, 4], plain.past[1][:, 4] - 1.5
    )  # two actions, two action x reward, the reward
    assert shifted.returns.max() <= 1 - 0.1 + 1e-5


def test_a_privileged_critic_leaves_the_policy_blind() -> None:
    """Privileged training learns from mean rewards with a critic that sees the task; what is played sees neither."""
    family, config = Bandit(), rl2.Config(episodes=10, privileged=True)
    agent, batch = play(config, family=family)
    assert torch.equal(batch.credit, batch.tasks.gather(1, batch.action.T).T)
    assert set(batch.reward.unique().tolist()) == {0.0, 1.0}  # as drawn, which is what the memory is shown
    assert torch.equal(batch.past[1:, :, 2 * family.arms], batch.reward[:-1])
    features = agent.sequence(batch.observation, batch.past)
    assert features.shape[-1] == agent.policy.in_features  # no room for the task
    other = agent.value(features, 1 - batch.tasks)
    assert not torch.allclose(agent.value(features, batch.tasks), other)
    plain, blind = play(rl2.Config(episodes=10), family=family)
    assert torch.equal(blind.credit, blind.reward)
    assert torch.equal(
        plain.value(features, batch.tasks), plain.value(features, 1 - batch.tasks)
    )  # not shown, so no matter


def test_a_critic_apart_sends_no_gradient_into_the_memory() -> None:
    """The critic's error moves its own layers only; a shared critic moves the core as well."""
    for apart in (False, True):
        config = rl2.Config(episodes=10, critic_apart=apart)
        agent, batch = play(config)
        agent.value(agent.sequence(batch.observation, batch.past), batch.tasks).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in agent.critic.parameters())
        reached = [p for p in agent.core.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        assert bool(reached) is not apart


def test_regret_takes_off_what_an_oracle_gets_and_nothing_that_is_seen() -> None:
    """What is learned from lies below the oracle by as much as the arm does; rewards, memory and returns stay as they were."""
    family = Bandit()
    _, plain = play(rl2.Config(episodes=10, privileged=True, reward_scale=0.5), family=family)
    _, batch = play(rl2.Config(episodes=10, privileged=True, reward_scale=0.5, regret=True), family=family)
    assert torch.equal(plain.action, batch.action)
    assert torch.allclose(batch.credit, plain.credit - 0.5 * batch.tasks.amax(1))
    assert batch.credit.max() <= 0
    for name in ("reward", "past", "returns"):
        assert torch.equal(getattr(batch, name), getattr(plain, name))


def test_a_teacher_is_imitated_for_its_share_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher is asked in its share of the iterations only, about what the agent itself played, and comes to be followed."""
    asked: list[tuple[Tensor, Tensor]] = []
    original = Bandit.teacher

    def watched(self: Bandit, action: Tensor, reward: Tensor) -> Tensor:
        asked.append((action, reward))
        return original(self, action, reward)

    monkeypatch.setattr(Bandit, "teacher", watched)
    family = Bandit(arms=3, pulls=6)
    rl2.train(rl2.Config(episodes=6, iterations=8, tasks=16, teacher=0.5), family)
    assert len(asked) == 4
    config = rl2.Config(episodes=6, iterations=80, tasks=128, teacher=1.0)
    agent = rl2.train(config, family).agent
    generator = torch.Generator().manual_seed(9)
    batch = rl2.rollout(agent, config, family, family.sample(2000, generator), generator, greedy=True)
    assert (original(family, batch.action, batch.reward) == batch.action).float().mean() > 0.85


def test_continuous_actions_take_part() -> None:
    """A family with continuous actions trains too, and its returns have one column an episode."""
    family, config = Walk(discrete=False, action_size=2), rl2.Config(iterations=2, tasks=16, episodes=2)
    calls: list[tuple[int, int, float]] = []
    trained = rl2.train(config, family, lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(1, 2), (2, 2)]
    result = rl2.evaluate(trained, config, family, family.sample(5, torch.Generator().manual_seed(0)), 0)
    assert result.shape == (5, 2)
    assert result.isfinite().all()


def test_wrong_settings_are_refused() -> None:
    """An unknown core and a count below one end with a ValueError that names them."""
    with pytest.raises(ValueError, match="lstm"):
        rl2.Config(core="lstm")
    with pytest.raises(ValueError, match="episodes"):
        rl2.Config(episodes=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_adapts_to_bandits_it_has_never_seen(seed: int) -> None:
    """After a short run the trained policy beats itself without memory by 0.8 of a pull, and random, and gets better by the pull."""
    family, config = Bandit(), rl2.Config(seed=seed, iterations=120)
    tasks = family.sample(10_000, torch.Generator().manual_seed(seed + 100))
    trained = rl2.train(config, family)
    adapted = rl2.evaluate(trained, config, family, tasks, seed).mean(0)
    forgetting = rl2.evaluate(trained, config, family, tasks, seed, forget=True).mean(0)
    assert adapted.sum() > forgetting.sum() + 0.8
    assert adapted.sum() > tasks.mean() * family.pulls + 0.8
    assert all(late >= early - 0.02 for early, late in pairwise(adapted.tolist()[::3]))


@pytest.mark.parametrize("seed", [0, 1])
def test_no_memory_no_gain(seed: int) -> None:
    """Trained without memory, a policy is no better than random on bandits, as nothing tells it the task."""
    family, config = Bandit(), rl2.Config(seed=seed, iterations=60, memory=False)
    tasks = family.sample(20_000, torch.Generator().manual_seed(seed + 100))
    total = rl2.evaluate(rl2.train(config, family), config, family, tasks, seed).sum(1).mean().item()
    assert total == pytest.approx(family.random_return(tasks, torch.Generator()).mean().item() * family.pulls, abs=0.1)
