"""The semicircle point robot: its dynamics, its rewards and its exact references."""

import torch

from reference_impls.tasks.semicircle import Semicircle


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_goals_lie_on_the_half_that_is_asked_for() -> None:
    """Sampled goals lie on the upper unit semicircle and shifted ones on the lower, so they never meet."""
    family = Semicircle()
    train, shifted = family.sample(500, seeded()), family.shifted(500, seeded())
    torch.testing.assert_close(train.norm(dim=-1), torch.ones(500))
    torch.testing.assert_close(shifted.norm(dim=-1), torch.ones(500))
    assert (train[:, 1] >= 0.0).all() and (shifted[:, 1] <= 0.0).all()


def test_step_moves_a_tenth_per_axis_and_never_terminates() -> None:
    """A step clips the action to one per axis, moves a tenth of that, pays minus the new distance, and never ends."""
    goal = torch.tensor([[0.0, 1.0]])
    state, reward, terminated = Semicircle().step(goal, torch.zeros(1, 2), torch.tensor([[-0.5, 7.0]]))
    torch.testing.assert_close(state, torch.tensor([[-0.05, 0.1]]))
    torch.testing.assert_close(reward, -torch.tensor([(0.05**2 + 0.9**2) ** 0.5]))
    assert not terminated.any()


def test_sparse_reward_is_paid_near_the_goal_only() -> None:
    """The sparse reward is one minus the distance within the goal radius and zero outside."""
    goal, action = torch.tensor([[0.0, 1.0]]).expand(2, 2), torch.zeros(2, 2)
    near_and_far = torch.tensor([[0.0, 0.9], [0.0, 0.7]])
    _, reward, _ = Semicircle(sparse=True).step(goal, near_and_far, action)
    torch.testing.assert_close(reward, torch.tensor([0.9, 0.0]))


def test_training_reward_is_dense_in_both() -> None:
    """The critic's reward is minus the distance after the step, for sparse tasks as well; in dense ones it is the reward."""
    goal, position = torch.tensor([[0.0, 1.0]]).expand(2, 2), torch.tensor([[0.0, 0.9], [0.0, 0.7]])
    _, reward, _ = Semicircle().step(goal, position, torch.zeros(2, 2))
    for sparse in (True, False):
        torch.testing.assert_close(Semicircle(sparse=sparse).training_reward(goal, position), reward)


def test_oracle_return_by_hand() -> None:
    """For a goal straight above, the oracle pays the distances 0.9, 0.8, ..., 0.1 and then nothing."""
    torch.testing.assert_close(Semicircle().oracle_return(torch.tensor([[0.0, 1.0]])), torch.tensor([-4.5]))


def test_oracle_beats_random_on_every_task() -> None:
    """The oracle's return is above the random policy's on each goal, by more than 10."""
    family = Semicircle()
    tasks = family.sample(50, seeded())
    assert (family.oracle_return(tasks) - family.random_return(tasks, seeded(1)) > 10.0).all()


def test_leading_axes_are_free() -> None:
    """A step on (task, environment, ...) tensors is the same as on each row alone."""
    family = Semicircle()
    tasks = family.sample(6, seeded())
    state, action = torch.rand(6, 2, generator=seeded(1)), torch.rand(6, 2, generator=seeded(2))
    flat = family.step(tasks, state, action)
    folded = family.step(tasks.view(2, 3, 2), state.view(2, 3, 2), action.view(2, 3, 2))
    for one, other in zip(flat, folded, strict=True):
        assert torch.equal(one.flatten(), other.flatten())
