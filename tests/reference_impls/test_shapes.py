import pytest
import torch

from reference_impls.tasks.shapes import Shapes


def play(family, tasks, put):
    """Observations (step, task, obs) and rewards (step, task) of one episode; `put(step)` is the action."""
    generator, state = torch.Generator().manual_seed(0), family.reset(tasks)
    seen, paid = [], []
    for t in range(family.horizon):
        seen.append(family.observe(state))
        state, reward, ended = family.step(tasks, state, put(t), generator)
        paid.append(reward)
        assert not ended.any()
    return torch.stack(seen), torch.stack(paid)


def test_first_shown_then_drawn():
    """The first half shows the corners, nearly, whatever the agent does, and pays nothing; in the second nothing of the shape is shown."""
    family = Shapes()
    tasks = family.sample(30, torch.Generator().manual_seed(1))
    corners = tasks.unflatten(-1, (-1, 2))
    seen, paid = play(family, tasks, lambda t: torch.full((30, 2), 0.9))
    assert (paid[:4] == 0).all() and (paid[4:] < 0).all()
    assert float((seen[:4, :, -2:].transpose(0, 1) - corners).abs().mean()) < 0.1
    assert (seen[5:, :, -2:] == 0.9).all() and (seen[:4, :, 4] == 1).all() and (seen[4:, :, 4] == 0).all()
    assert seen[:, 0, :4].argmax(-1).tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_drawing_from_memory_is_nearly_the_oracle():
    """Whoever repeats what was shown loses only what the hand shakes; whoever knows the shape loses nothing."""
    family, generator = Shapes(), torch.Generator().manual_seed(1)
    tasks = family.sample(200, generator)
    corners = tasks.unflatten(-1, (-1, 2))
    known = play(family, tasks, lambda t: corners[:, t % 4])[1].sum(0)
    assert torch.equal(known, family.oracle_return(tasks, generator))
    shown = play(family, tasks, lambda t: corners[:, t % 4])[0][:4, :, -2:]
    copied = play(family, tasks, lambda t: shown[t % 4])[1].sum(0)
    assert -0.6 < float(copied.mean()) < 0 and float(family.random_return(tasks, generator).mean()) < -3


def test_pushed_corners():
    """Shifted shapes have every corner on the rim, half pushed ones lie between, and odd sizes are refused."""
    family, generator = Shapes(), torch.Generator().manual_seed(0)
    rim = family.shifted(50, generator).unflatten(-1, (-1, 2)).abs().amax(-1)
    assert torch.allclose(rim, torch.ones_like(rim))
    half = family.moved(0.5).sample(50, generator).unflatten(-1, (-1, 2)).abs().amax(-1)
    assert (half > 0.5).all() and (half < 0.86).all()
    with pytest.raises(ValueError, match="size"):
        Shapes(size=0.0)
