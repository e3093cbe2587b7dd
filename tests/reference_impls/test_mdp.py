"""The tabular MDPs, their exact references and the planners that keep a posterior."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from reference_impls.tasks.mdp import TabularMDP


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def play(family: TabularMDP, tasks: torch.Tensor, policy: torch.Tensor | None, g: torch.Generator) -> torch.Tensor:
    """Mean-reward return (n,) of one episode under policy (n, step, state), or of actions drawn all alike."""
    rows, state, total = torch.arange(len(tasks)), family.reset(tasks), torch.zeros(len(tasks))
    for t in range(family.horizon):
        drawn = torch.randint(family.actions, (len(tasks),), generator=g)
        action = drawn if policy is None else policy[rows, t, state[:, 0]]
        total += family.expected_reward(tasks, state, action)
        state, _, terminated = family.step(tasks, state, action, g)
        assert torch.equal(terminated, torch.full_like(terminated, t == family.horizon - 1))
    return total


def test_tasks_are_those_of_the_paper() -> None:
    """Mean rewards have mean 1 and deviation 1, transitions are uniform on the simplex, and each row sums to one."""
    family = TabularMDP()
    mean, transition = family.split(family.sample(4000, generator()))
    assert mean.shape == (4000, 10, 5)
    assert transition.shape == (4000, 10, 5, 10)
    assert mean.mean().item() == pytest.approx(1, abs=0.02)
    assert mean.std().item() == pytest.approx(1, abs=0.02)
    assert torch.allclose(transition.sum(-1), torch.ones(4000, 10, 5), atol=1e-5)
    # A component of a flat Dirichlet over 10 is Beta(1, 9): variance 9 / (100 * 11).
    assert transition.var().item() == pytest.approx(9 / 1100, rel=0.02)


def test_step_follows_the_task() -> None:
    """Rewards and next states have the task's means and probabilities."""
    family, g = TabularMDP(states=3, actions=2, horizon=5), generator(1)
    task = family.sample(1, g)
    mean, transition = family.split(task)
    tasks = task.expand(60_000, -1)
    state = torch.tensor([2, 3]).expand(60_000, 2)
    action = torch.ones(60_000, dtype=torch.long)
    following, reward, terminated = family.step(tasks, state, action, g)
    assert reward.mean().item() == pytest.approx(mean[0, 2, 1].item(), abs=0.02)
    assert reward.std().item() == pytest.approx(1, abs=0.02)
    frequency = torch.bincount(following[:, 0], minlength=3) / 60_000
    assert torch.allclose(frequency, transition[0, 2, 1], atol=0.01)
    assert torch.equal(following[:, 1], torch.full((60_000,), 4))
    assert not terminated.any()


def test_plan_equals_trying_every_policy() -> None:
    """The best of all deterministic policies by step, tried one by one, is worth what backward induction says."""
    family = TabularMDP(states=2, actions=2, horizon=2)
    tasks = family.sample(5, generator(2))
    mean, transition = family.split(tasks)
    _, value = family.plan(mean, transition)
    for n in range(5):
        worth = []
        for first, *second in product(range(2), repeat=3):  # the action at the start, and in each state afterwards
            late = sum(transition[n, 0, first, s] * mean[n, s, second[s]] for s in range(2))
            worth.append((mean[n, 0, first] + late).item())
        assert value[n, 0].item() == pytest.approx(max(worth), abs=1e-5)


def test_exact_returns_agree_with_play() -> None:
    """What is computed for random and for oracle is what playing them brings on average."""
    family, g = TabularMDP(), generator(3)
    tasks = family.sample(4000, g)
    policy, _ = family.plan(*family.split(tasks))
    for exact, played in (
        (family.random_return(tasks, g), play(family, tasks, None, g)),
        (family.oracle_return(tasks, g), play(family, tasks, policy, g)),
    ):
        assert (exact - played).mean().item() == pytest.approx(0, abs=0.15)


def test_planners_learn_the_task() -> None:
    """Random, PSRL, planning on the posterior mean and oracle come in this order, and both planners get better by the episode."""
    family, g = TabularMDP(), generator(4)
    tasks = family.sample(500, g)
    psrl, mean = (family.posterior_return(tasks, g, 10, bonus) for bonus in (None, 0.3))
    assert psrl.shape == (500, 10)
    for returns in (psrl, mean):
        assert returns[:, 7:].mean() > returns[:, :3].mean() + 2
    totals = [x.mean().item() for x in (family.random_return(tasks, g), psrl, mean, family.oracle_return(tasks, g))]
    assert totals == sorted(totals)


def test_state_is_shown_one_hot_and_the_time_is_not() -> None:
    """The observation names the state alone, with free leading axes."""
    family = TabularMDP(states=4)
    state = torch.tensor([[[3, 0], [3, 7]]])
    assert family.observe(state).tolist() == [[[0, 0, 0, 1], [0, 0, 0, 1]]]
    assert family.observation_size == 4
    assert not family.reset(family.sample(3, generator())).any()


def test_shifted_tasks_pay_less() -> None:
    """Shifted tasks have mean rewards around -1, and the same seed draws the same tasks."""
    family = TabularMDP()
    tasks = family.shifted(1000, generator(5))
    assert family.split(tasks)[0].mean().item() == pytest.approx(-1, abs=0.05)
    assert torch.equal(tasks, family.shifted(1000, generator(5)))


def test_impossible_settings_are_refused() -> None:
    """No state, no action, no step and continuous actions end with a ValueError."""
    for settings in ({"states": 0}, {"actions": 0}, {"horizon": 0}, {"discrete": False}):
        with pytest.raises(ValueError, match="tabular MDP"):
            TabularMDP(**settings)
