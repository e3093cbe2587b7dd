import torch

from reference_impls.tasks.sine import Sine

FAMILY = Sine()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_curves_fill_the_ranges_of_the_paper() -> None:
    """Amplitudes are uniform in [0.1, 5], phases in [0, pi]."""
    curves = FAMILY.sample(20_000, generator())
    low, high = torch.tensor([0.1, 0.0]), torch.tensor([5.0, torch.pi])
    assert (curves >= low).all() and (curves <= high).all()
    assert torch.allclose(curves.mean(0), (low + high) / 2, atol=0.05)
    assert torch.allclose(curves.std(0), (high - low) / 12**0.5, atol=0.03)


def test_shifted_curves_have_amplitudes_never_trained_on() -> None:
    """Curves off the distribution are all larger than the largest of it."""
    assert FAMILY.shifted(1000, generator())[:, 0].min() > 5


def test_points_lie_on_their_curve() -> None:
    """Inputs fill [-5, 5], and each target is amplitude times sine of input minus phase, of its own curve."""
    curves = FAMILY.sample(50, generator())
    x, y = FAMILY.points(curves, 200, generator(1))
    assert x.shape == y.shape == (50, 200, 1)
    assert -5 <= x.min() < -4.9 and 4.9 < x.max() <= 5
    for (amplitude, phase), inputs, targets in zip(curves, x, y, strict=True):
        assert torch.allclose(targets, amplitude * torch.sin(inputs - phase))


def test_error_of_the_answer_zero() -> None:
    """The formula for the answer 0 is the mean of the squared targets over many points."""
    curves = FAMILY.sample(20, generator())
    _, y = FAMILY.points(curves, 50_000, generator(1))
    assert torch.allclose(FAMILY.zero_error(curves), y.square().mean((1, 2)), rtol=0.03, atol=1e-3)
