import pytest
import torch

from reference_impls.tasks.objects import STEP, Objects


def test_weight_slows_and_is_not_seen():
    """A heavy object moves less far under the same action, and the observation tells neither weight nor grip point."""
    family, generator = Objects(), torch.Generator().manual_seed(0)
    tasks = torch.tensor([[0.3, 0.3, 0.7], [0.3, 0.3, 1.4]])
    state = family.reset(tasks)
    assert torch.equal(family.observe(state)[0], family.observe(state)[1])
    state = family.step(tasks, state, torch.ones(2, 2), generator)[0]
    assert torch.allclose(state[:, 0], torch.tensor([STEP / 0.7, STEP / 1.4]))


def test_oracle_is_the_best():
    """No random episode of many comes above the oracle, and an object at hand costs nothing."""
    family, generator = Objects(), torch.Generator().manual_seed(0)
    tasks = family.sample(50, generator)
    best = family.oracle_return(tasks, generator)
    assert (family.random_return(tasks, generator) < best).all()
    assert float(family.oracle_return(torch.tensor([[0.0, 0.0, 1.0]]), generator)) == 0.0


def test_shifted_objects_lie_beyond_reach():
    """Every shifted object is to be held beyond the trained square, and moving stretches the square."""
    family, generator = Objects(), torch.Generator().manual_seed(0)
    assert (family.shifted(100, generator)[:, :2].abs().amax(-1) > 0.8).all()
    assert family.moved(1.0).reach == 2 * family.reach and family.moved(0.0) == family
    with pytest.raises(ValueError, match="above 0"):
        Objects(weight=(0.0, 1.0))
