"""The families in which a concern bites: what differs from task to task, and what the oracle is worth."""

import math

import pytest
import torch

from reference_impls.tasks.catalogue import Catalogue
from reference_impls.tasks.varied import FAMILIES, Varied


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_plain_is_the_catalogue() -> None:
    """Without its own settings the family has the catalogue's goals, steps, random and best returns."""
    plain, varied = Catalogue(tasks=6, arc=2.0), Varied(tasks=6, arc=2.0)
    tasks, rows = plain.catalogue(), varied.catalogue()
    assert torch.equal(rows[:, :2], tasks[:, :2]) and varied.ids(rows).tolist() == list(range(6))
    action = 3 * torch.randn(6, 2, generator=generator())
    for a, b in zip(
        plain.step(tasks, plain.reset(tasks), action, generator()),
        varied.step(rows, varied.reset(rows), action, generator()),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(plain.oracle_return(tasks, generator()), varied.oracle_return(rows, generator()))
    torch.testing.assert_close(plain.random_return(tasks, generator()), varied.random_return(rows, generator()))


def test_one_task_is_loud() -> None:
    """The last task's rewards are `spread` times the others', and so are its random and best returns."""
    family = FAMILIES["imbalance"]
    tasks = family.catalogue()
    assert family.scale(tasks).tolist() == pytest.approx([0.1, 0.1, 0.1, 10.0])
    assert (family.oracle_return(tasks, generator()) / family.scale(tasks)).tolist() == pytest.approx([-4.5] * 4)
    reward = family.step(tasks, family.reset(tasks), torch.zeros(4, 2), generator())[1]
    assert reward.tolist() == pytest.approx([-0.1, -0.1, -0.1, -10.0])


def test_interfering_tasks_differ_in_dynamics_alone() -> None:
    """One goal for all, and the same action leads an eighth of a turn further from task to task."""
    family = FAMILIES["interference"]
    tasks = family.catalogue()
    assert (tasks[:, :2] == tasks[0, :2]).all()
    state, _, _ = family.step(tasks, family.reset(tasks), torch.tensor([[1.0, 0.0]]).expand(8, 2), generator())
    angle = torch.arange(8) * math.pi / 4
    torch.testing.assert_close(state, 0.1 * torch.stack([angle.cos(), angle.sin()], -1))


def test_diverse_tasks_are_turned_and_every_second_is_mirrored() -> None:
    """The dynamics keep lengths and angles, mirrored for odd ids; the seed decides, and so it is the same catalogue each time."""
    family = FAMILIES["capacity"]
    tasks = family.catalogue()
    dynamics = tasks[:, 2:6].view(10, 2, 2)
    torch.testing.assert_close(dynamics @ dynamics.mT, torch.eye(2).expand(10, 2, 2))
    torch.testing.assert_close(torch.linalg.det(dynamics), torch.tensor([1.0, -1.0] * 5))
    torch.testing.assert_close(tasks[:, :2].norm(dim=1), torch.ones(10))
    assert torch.equal(tasks, family.catalogue())
    assert not torch.equal(tasks, Varied(tasks=10, diverse=1).catalogue())


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_beats_the_oracle_and_the_oracle_is_reached(name: str) -> None:
    """A robot that moves each axis of its own frame as fast as it may gets the oracle's return, and no random one gets more."""
    family = FAMILIES[name]
    tasks = family.catalogue()
    best = family.oracle_return(tasks, generator())
    state, total = family.reset(tasks), torch.zeros(len(tasks))
    dynamics = tasks[:, 2:6].view(-1, 2, 2)
    for _ in range(family.horizon):
        left = (dynamics.mT @ (tasks[:, :2] - state)[..., None])[..., 0]  # in the frame of the action
        state, reward, terminated = family.step(tasks, state, left / 0.1, generator())
        total = total + reward
        assert not terminated.any()
    torch.testing.assert_close(total, best, rtol=1e-4, atol=1e-4)
    assert (family.random_return(tasks, generator()) < best).all()


def test_shifted_tasks_are_new_goals_under_known_dynamics() -> None:
    """They lie half again as far out, away from every known goal, and carry no id."""
    family = FAMILIES["capacity"]
    known, shifted = family.catalogue(), family.shifted(30, generator())
    assert (family.ids(shifted) == -1).all()
    torch.testing.assert_close(shifted[:, :2].norm(dim=1), torch.full((30,), 1.5))
    assert all((known[:, 2:6] == row[2:6]).all(1).any() for row in shifted)


def test_settings_out_of_range_are_refused() -> None:
    """No tasks, an arc or a turn beyond a circle, a spread below 1."""
    for settings in ({"tasks": 0}, {"arc": 7.0}, {"turn": -0.1}, {"turn": 2 * math.pi + 0.1}, {"spread": 0.5}):
        with pytest.raises(ValueError):
            Varied(**settings)
