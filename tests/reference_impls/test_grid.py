"""The open grid with a hidden goal."""

from __future__ import annotations

import pytest
import torch

from reference_impls.tasks.grid import STEP_COST, Grid


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_start_and_goal_are_two_cells_anywhere() -> None:
    """Start and goal differ, every cell is either as often, and their distance has the mean that follows."""
    family = Grid()
    tasks = family.sample(20_000, generator())
    start, goal = tasks[:, :2], tasks[:, 2:4]
    assert not (start == goal).all(-1).any()
    for place in (start, goal):
        counts = torch.bincount((place[:, 0] * 5 + place[:, 1]).long(), minlength=25)
        assert counts.min() > 600
    assert family.shortest(tasks).mean().item() == pytest.approx(10 / 3, abs=0.05)


def test_moves_borders_and_goal() -> None:
    """A move changes the cell, the border stops it, the goal pays 1 and ends the episode, and shifted controls go the other way."""
    family, g = Grid(), generator()
    task = torch.tensor([[0.0, 0.0, 0.0, 2.0, 1.0]])
    state = family.reset(task)
    state, reward, terminated = family.step(task, state, torch.tensor([0]), g)  # north, against the border
    assert state.tolist() == [[0, 0]]
    assert reward.item() == pytest.approx(-STEP_COST)
    state, _, terminated = family.step(task, state, torch.tensor([1]), g)
    assert state.tolist() == [[0, 1]]
    assert not terminated.any()
    state, reward, terminated = family.step(task, state, torch.tensor([1]), g)
    assert terminated.all()
    assert reward.item() == pytest.approx(1 - STEP_COST)
    turned = torch.tensor([[0.0, 0.0, 0.0, 2.0, -1.0]])
    assert family.step(turned, family.reset(turned), torch.tensor([3]), g)[0].tolist() == [[0, 1]]
    assert family.shifted(10, g)[:, 4].tolist() == [-1.0] * 10


def test_observation_shows_the_cell_and_never_the_goal() -> None:
    """Row and column stand one-hot, with free leading axes."""
    family = Grid(size=3)
    assert family.observe(torch.tensor([[[2.0, 1.0]]])).tolist() == [[[0, 0, 1, 0, 1, 0]]]
    assert family.observation_size == 6


def test_a_return_says_steps_and_success() -> None:
    """Steps and success are read back from the returns of played episodes, found goals and time-outs alike."""
    family, g = Grid(), generator(1)
    tasks = family.sample(2000, g)
    state, total = family.reset(tasks), torch.zeros(2000)
    steps, found = torch.zeros(2000), torch.zeros(2000, dtype=torch.bool)
    for _ in range(family.horizon):
        state, reward, terminated = family.step(tasks, state, torch.randint(4, (2000,), generator=g), g)
        total, steps = total + reward * ~found, steps + ~found
        found |= terminated
    read_steps, read_success = family.steps_and_success(total)
    assert torch.equal(read_success, found)
    assert torch.equal(read_steps, steps)
    assert 0.1 < found.float().mean() < 0.9
    assert total.mean().item() == pytest.approx(family.random_return(tasks, g).mean().item(), abs=0.04)


def test_oracle_walks_the_shortest_way() -> None:
    """The oracle's return is that of the distance, or of a time-out where the goal lies too far."""
    family = Grid(size=5, horizon=6)
    tasks = torch.tensor([[0.0, 0.0, 1.0, 2.0, 1.0], [0.0, 0.0, 4.0, 4.0, 1.0]])
    assert family.oracle_return(tasks, generator()).tolist() == pytest.approx([1 - 3 * STEP_COST, -6 * STEP_COST])


def test_impossible_settings_are_refused() -> None:
    """A single cell, no step and other moves end with a ValueError."""
    for settings in ({"size": 1}, {"horizon": 0}, {"action_size": 5}):
        with pytest.raises(ValueError, match="grid"):
            Grid(**settings)
