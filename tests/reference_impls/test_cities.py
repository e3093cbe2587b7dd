import pytest
import torch

from reference_impls.tasks.cities import STEP, Cities


def test_cities_differ_in_their_dynamics():
    """The same steering brings cars of two cities to different places, mirrored in every other city."""
    family, generator = Cities(), torch.Generator().manual_seed(0)
    tasks = family.catalogue()
    start = family.reset(tasks)
    moved = family.step(tasks, start, torch.ones(10, 2), generator)[0] - tasks[:, 4:6]
    assert torch.allclose(moved[:, 0], STEP * tasks[:, 2]) and torch.allclose(moved[:, 1], moved[:, 0] * tasks[:, 3])
    assert tasks[:, 3].tolist() == [1.0, -1.0] * 5 and len(set(tasks[:, 2].tolist())) == 10


def test_oracle_is_the_best():
    """No random steering of many comes above the oracle, which arrives and stays, slope or not."""
    family, generator = Cities(), torch.Generator().manual_seed(0)
    tasks = family.catalogue()
    best = family.oracle_return(tasks, generator)
    many = torch.stack([family._return(tasks, generator) for _ in range(100)])
    assert (many < best).all() and (best > family.random_return(tasks, generator) + 10).all()
    level = tasks.clone()
    level[:, :2] = 0.0  # at the destination already: grip holds the car against the slope
    assert torch.allclose(family.oracle_return(level, generator), torch.zeros(10), atol=1e-5)


def test_icy_cities_are_off_the_list():
    """Shifted cities have half the least grip and no number; moving takes grip from all and keeps the numbers."""
    family = Cities()
    icy = family.shifted(20, torch.Generator().manual_seed(0))
    assert torch.allclose(icy[:, 2], torch.full((20,), 0.35)) and (family.ids(icy) == -1).all()
    assert torch.allclose(family.moved(1.0).catalogue()[:, 2], 0.5 * family.catalogue()[:, 2])
    assert family.ids(family.moved(1.0).catalogue()).tolist() == list(range(10))
    with pytest.raises(ValueError, match="at least one"):
        Cities(0)
