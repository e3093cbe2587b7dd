"""Sine regression: few points of a sine curve, and the curve is asked for (Finn et al. 2017, section 5.1).

A task is amplitude and phase, and no reinforcement learning: instead of steps a family like this one has `points`. Inputs are uniform
in [-5, 5] and targets are without noise, so two points nearly always fix the curve, and what error is left is the learner's.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sine:
    """y = amplitude * sin(x - phase); amplitude, phase (radians) and x uniform in their ranges, those of the paper."""

    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, torch.pi)
    input_range: float = 5.0  # x lies in [-5, 5]
    shifted_amplitude: tuple[float, float] = (6.0, 8.0)  # of curves off the distribution

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n curves (n, 2), amplitude and phase, of the distribution."""
        return self._curves(n, self.amplitude, generator)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n curves (n, 2) with amplitudes larger than any of the distribution."""
        return self._curves(n, self.shifted_amplitude, generator)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"amplitude": "amplitudes grow, at distance 1 to a range that lies wholly above that of training"}

    def moved(self, distance: float, what: str = "amplitude") -> "Sine":
        """The family at a distance from 0, this one, to 1."""
        low, high = (old + distance * (new - old) for old, new in zip(self.amplitude, self.shifted_amplitude, strict=True))
        return replace(self, amplitude=(low, high))

    def _curves(self, n: int, amplitude: tuple[float, float], generator: torch.Generator) -> Tensor:
        low, high = torch.tensor([amplitude, self.phase], device=generator.device).unbind(-1)
        return low + (high - low) * torch.rand(n, 2, generator=generator, device=generator.device)

    def points(self, tasks: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw k points of each curve: curves (n, 2) -> inputs x and targets y, each (n, k, 1)."""
        x = self.input_range * (2 * torch.rand(len(tasks), k, 1, generator=generator, device=generator.device) - 1)
        return x, tasks[:, None, :1] * torch.sin(x - tasks[:, None, 1:])

    def zero_error(self, tasks: Tensor) -> Tensor:
        """Mean squared error (n,) of the answer 0, over the inputs' whole range: curves (n, 2) -> exact."""
        a, p, r = tasks[:, 0], tasks[:, 1], self.input_range
        # The mean of sin^2(x - p) over [-r, r] is 1/2 - sin(2r) cos(2p) / (4r).
        return a.square() * (0.5 - torch.sin(torch.tensor(2 * r)) * torch.cos(2 * p) / (4 * r))
