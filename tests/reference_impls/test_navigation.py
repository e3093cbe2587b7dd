import torch

from reference_impls.tasks.navigation import Navigation

FAMILY = Navigation()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_goals_fill_the_square() -> None:
    """Goals of the distribution lie in the square of side 1, and spread to all of its corners."""
    goals = FAMILY.sample(5000, generator())
    assert goals.shape == (5000, 2)
    assert goals.abs().max() <= 0.5
    assert torch.allclose(goals.mean(0), torch.zeros(2), atol=0.02)
    assert torch.allclose(goals.std(0), torch.full((2,), 1 / 12**0.5), atol=0.01)


def test_shifted_goals_lie_outside_the_square() -> None:
    """Goals off the distribution share no point with the square, and lie in all directions."""
    goals = FAMILY.shifted(5000, generator())
    radius = goals.norm(dim=1)
    assert radius.min() >= 0.8 and radius.max() <= 1.2
    assert (goals.abs().max(dim=1).values > 0.5).all()
    assert torch.allclose(goals.mean(0), torch.zeros(2), atol=0.05)


def test_a_step_is_clipped_on_each_axis_and_paid_by_the_distance() -> None:
    """A move is at most `max_speed` along each axis; its reward is minus the distance after it, not squared."""
    goals = torch.tensor([[0.4, 0.3], [0.4, 0.3]])
    state, reward, terminated = FAMILY.step(
        goals, FAMILY.reset(goals), torch.tensor([[7.0, -0.5], [0.0, 0.0]]), generator()
    )
    assert torch.allclose(state, torch.tensor([[0.1, -0.05], [0.0, 0.0]]))
    assert torch.allclose(reward, -torch.tensor([(0.3**2 + 0.35**2) ** 0.5, 0.5]))
    assert not terminated.any()


def test_an_episode_ends_at_the_goal_only() -> None:
    """`terminated` is true within the goal radius and nowhere else; the horizon is not an end."""
    goals = torch.tensor([[0.1, 0.0], [0.1, 0.0]])
    _, _, terminated = FAMILY.step(goals, FAMILY.reset(goals), torch.tensor([[0.95, 0.0], [0.85, 0.0]]), generator())
    assert terminated.tolist() == [True, False]


def test_the_goal_cannot_be_seen() -> None:
    """Two environments with different goals and the same position look the same."""
    goals = FAMILY.sample(2, generator())
    observation = FAMILY.observe(FAMILY.reset(goals))
    assert observation.shape == (2, FAMILY.observation_size)
    assert torch.equal(observation[0], observation[1])


def test_leading_axes_are_free() -> None:
    """Environments in a grid of tasks and episodes move as the same environments in one row do."""
    goals = FAMILY.sample(6, generator())
    action = torch.randn(6, 2, generator=generator(1))
    row = FAMILY.step(goals, FAMILY.reset(goals), action, generator())
    grid = FAMILY.step(goals.view(2, 3, 2), FAMILY.reset(goals.view(2, 3, 2)), action.view(2, 3, 2), generator())
    for one, other in zip(row, grid, strict=True):
        assert torch.equal(one, other.flatten(0, 1))


def test_the_oracle_walks_straight_to_the_goal() -> None:
    """The oracle's return is the sum of the distances left at full speed, counted by hand."""
    goals = torch.tensor([[0.25, 0.0], [0.25, -0.1]])
    by_hand = torch.tensor([-(0.15 + 0.05), -(0.15 + 0.05)])
    assert torch.allclose(FAMILY.oracle_return(goals, generator()), by_hand, atol=1e-6)


def test_random_is_worse_than_standing_still_and_that_than_the_oracle() -> None:
    """Over the distribution: random moves < standing at the start (-38.3, the mean distance of the square) < oracle."""
    goals = FAMILY.sample(2000, generator())
    standing = -FAMILY.horizon * goals.norm(dim=1)
    oracle = FAMILY.oracle_return(goals, generator())
    assert abs(standing.mean() + 38.26) < 1
    assert FAMILY.random_return(goals, generator()).mean() < standing.mean() - 15
    assert (oracle > standing).all()
    assert oracle.mean() > -0.6
