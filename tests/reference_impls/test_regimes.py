import pytest
import torch

from reference_impls.tasks.regimes import Regimes


def total(family, tasks, choose, seed=0):
    """Expected return (task,) of a run; `choose(means)` picks assets (task,)."""
    generator, state = torch.Generator().manual_seed(seed), family.reset(tasks)
    paid = torch.zeros(len(tasks))
    changed = 0
    for _ in range(family.horizon):
        action = choose(family._means(tasks, state), family.observe(state))
        paid += family.expected_reward(tasks, state, action)
        before = state[:, 0]
        state, _, ended = family.step(tasks, state, action, generator)
        changed += int((state[:, 0] != before).sum())
        assert not ended.any()
    return paid, changed / len(tasks)


def test_references_are_exact():
    """Playing the best asset of each regime, and any asset, comes on average to the exact figures; regimes change about twice a run."""
    family, generator = Regimes(), torch.Generator().manual_seed(1)
    tasks = family.sample(4000, generator)
    best, changes = total(family, tasks, lambda means, seen: means.argmax(-1))
    some, _ = total(family, tasks, lambda means, seen: torch.randint(4, (len(means),), generator=generator))
    assert float(best.mean()) == pytest.approx(float(family.oracle_return(tasks, generator).mean()), rel=0.02)
    assert float(some.mean()) == pytest.approx(float(family.random_return(tasks, generator).mean()), abs=0.3)
    assert changes == pytest.approx(2.0, abs=0.1)


def test_last_returns_alone_tell_little():
    """The last returns are worth something, and far less than knowing the regime: one has to remember."""
    family, generator = Regimes(), torch.Generator().manual_seed(1)
    tasks = family.sample(4000, generator)
    followed, _ = total(family, tasks, lambda means, seen: seen.argmax(-1))
    oracle, random = (float(f(tasks, generator).mean()) for f in (family.oracle_return, family.random_return))
    assert 0.2 < (float(followed.mean()) - random) / (oracle - random) < 0.6


def test_slump():
    """Off the distribution every asset returns less, which changes no order among them; a change must be a probability."""
    family = Regimes()
    here, there = (f.sample(5, torch.Generator().manual_seed(0)) for f in (family, family.moved(1.0)))
    assert torch.allclose(here - 3, there)
    assert torch.equal(there, family.shifted(5, torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match="change from 0 to 1"):
        Regimes(change=1.5)
