"""The catalogue of point goals: who knows the goal, what a step pays, and what the references are worth."""

import math

import pytest
import torch

from reference_impls.tasks.catalogue import Catalogue


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_goals_lie_at_distance_one_in_the_order_of_their_ids() -> None:
    """Goal i lies at distance 1 and angle i * arc / tasks, and carries the id i."""
    family = Catalogue(tasks=7, arc=3.0)
    tasks = family.catalogue()
    for i, (x, y, id) in enumerate(tasks.tolist()):
        assert (x, y) == pytest.approx((math.cos(i * 3 / 7), math.sin(i * 3 / 7)), abs=1e-6)
        assert id == i
    assert family.ids(tasks).tolist() == list(range(7))


def test_sampled_tasks_are_known_and_shifted_ones_are_not() -> None:
    """Each sampled task is a row of the catalogue; no shifted goal is, all lie 1 to 1.5 away and have the id -1."""
    family = Catalogue()
    known, sampled, shifted = family.catalogue(), family.sample(50, generator()), family.shifted(50, generator())
    assert torch.equal(known[family.ids(sampled)], sampled)
    assert len(set(family.ids(sampled).tolist())) == 10
    assert torch.cdist(shifted[:, :2], known[:, :2]).min() > 0.2
    distance = shifted[:, :2].norm(dim=-1)
    assert distance.min() >= 1 - 1e-6 and distance.max() <= 1.5 + 1e-6
    assert (family.ids(shifted) == -1).all()


def test_observation_is_the_position_only() -> None:
    """Two tasks in the same place look the same."""
    family = Catalogue()
    observation = family.observe(family.reset(family.catalogue()))
    assert observation.shape == (10, 2) and (observation == 0).all()


def test_step_cuts_the_move_and_pays_for_the_place_reached() -> None:
    """A move is at most 0.1 along each axis, and the reward is minus the distance after it."""
    family = Catalogue()
    tasks = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]])  # leading axes (1, 2)
    state, reward, terminated = family.step(
        tasks, family.reset(tasks), torch.tensor([[[5.0, -0.5], [0.0, 1.0]]]), generator()
    )
    torch.testing.assert_close(state, torch.tensor([[[0.1, -0.05], [0.0, 0.1]]]))
    torch.testing.assert_close(reward, torch.tensor([[-math.hypot(0.9, 0.05), -0.9]]))
    assert terminated.dtype == torch.bool and not terminated.any()


def test_oracle_return_is_that_of_a_walk() -> None:
    """The closed form equals a plain loop of a robot that goes as far towards its goal as each axis allows."""
    family = Catalogue()
    tasks = torch.cat([family.catalogue(), family.shifted(10, generator())])
    oracle = family.oracle_return(tasks, generator())
    for row, (goal_x, goal_y, _) in enumerate(tasks.tolist()):
        x = y = total = 0.0
        for _ in range(family.horizon):
            x += min(max(goal_x - x, -0.1), 0.1)
            y += min(max(goal_y - y, -0.1), 0.1)
            total -= math.hypot(goal_x - x, goal_y - y)
        assert oracle[row].item() == pytest.approx(total, abs=1e-4)
    assert oracle[0].item() == pytest.approx(-4.5, abs=1e-4)


def test_no_walk_beats_the_oracle() -> None:
    """The straight line at full speed, the obvious rival, is never better than the oracle."""
    family = Catalogue()
    tasks = family.catalogue()
    direction = tasks[:, :2] / tasks[:, :2].abs().amax(-1, keepdim=True)
    state, total = family.reset(tasks), torch.zeros(10)
    for _ in range(family.horizon):
        left = (tasks[:, :2] - state).abs().amax(-1, keepdim=True) / 0.1
        state, reward, _ = family.step(tasks, state, direction * left.clamp(max=1), generator())
        total += reward
    assert (total <= family.oracle_return(tasks, generator()) + 1e-4).all()


def test_random_return_is_far_below_the_oracle() -> None:
    """Random moves stay near the start, which costs about 20, and the estimate follows its seed."""
    family = Catalogue()
    tasks = family.catalogue()
    random = family.random_return(tasks, generator())
    assert random.shape == (10,) and -22 < random.mean() < -19
    assert torch.equal(random, family.random_return(tasks, generator()))


@pytest.mark.parametrize("settings", [{"tasks": 0}, {"horizon": 0}, {"arc": 0.0}, {"arc": 7.0}])
def test_impossible_catalogues_are_refused(settings: dict[str, float]) -> None:
    """A catalogue without goals, steps or arc, or with more than the circle, is an error that shows the values."""
    with pytest.raises(ValueError, match="Catalogue"):
        Catalogue(**settings)  # type: ignore[arg-type]
