"""Shapes: a pen is shown a shape that it has never drawn, corner by corner, and then draws it.

A task is a shape of a few corners, new in each task. An episode has two halves. In the first a demonstrator puts the pen on the corners
one after the other, with a hand that shakes a little, and what the agent does is without effect and reward. In the second the agent puts the
pen where it wants, and the reward is minus the distance to the corner whose turn it is. So the demonstration has to be remembered, and
a second demonstration of the same shape, in the next episode, still helps. No state is terminal; the horizon is a time limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

RANDOM_EPISODES = 64  # of each task behind `random_return`


@dataclass(frozen=True)
class Shapes:
    """Shapes (n, 2 x corner) of `corners` corners. Raises ValueError for fewer than one corner or a size that is not positive."""

    corners: int = 4
    size: float = 0.7  # corners lie uniformly in [-size, size]^2; the pen reaches [-1, 1]^2
    shake: float = 0.1  # standard deviation of the demonstrator's hand along each axis; the first corner is shown as it is
    pushed: float = 0.0  # share of the way to the rim by which each corner is pushed outwards
    action_size: int = 2  # where the pen is put
    discrete: bool = False

    def __post_init__(self) -> None:
        if self.corners < 1 or not 0 < self.size <= 1:
            raise ValueError(f"a shape has at least one corner, and a size above 0 and at most 1; got {self}")

    @property
    def horizon(self) -> int:
        """Steps: each corner is shown once and drawn once."""
        return 2 * self.corners

    @property
    def observation_size(self) -> int:
        """Whose turn it is, one-hot; 1 while it is being shown; and where the pen is."""
        return self.corners + 3

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n shapes (n, 2 x corner) of the distribution."""
        u = 2 * torch.rand(n, self.corners, 2, generator=generator, device=generator.device) - 1
        corners = self.size * u
        return corners.lerp(corners / corners.abs().amax(-1, keepdim=True), self.pushed).flatten(1)

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n shapes larger than any of the distribution: each corner on the rim of what the pen reaches."""
        return self.moved(1.0).sample(n, generator)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"pushed": "the corners are pushed outwards, at distance 1 on to the rim of what the pen reaches"}

    def moved(self, distance: float, what: str = "pushed") -> Shapes:
        """The family at a distance from 0, this one, to 1."""
        return replace(self, pushed=self.pushed + (1 - self.pushed) * distance)

    def reset(self, tasks: Tensor) -> Tensor:
        """Begin with the first corner shown: shapes (..., 2 x corner) -> states (..., 3), steps made and the pen's place."""
        return torch.cat([torch.zeros_like(tasks[..., :1]), tasks[..., :2]], -1)

    def observe(self, state: Tensor) -> Tensor:
        """States (..., 3) -> observations (..., corner + 3)."""
        time = state[..., 0].long()
        shown = (time < self.corners).to(state.dtype).unsqueeze(-1)
        return torch.cat([F.one_hot(time % self.corners, self.corners).to(state.dtype), shown, state[..., 1:]], -1)

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Put the pen at action (..., 2): next state (..., 3), reward (...), terminated (...), always False."""
        time, corners = state[..., 0].long(), tasks.unflatten(-1, (-1, 2))  # (..., corner, 2)
        drawing = time >= self.corners
        pen = action.clamp(-1, 1)
        turn = (time % self.corners)[..., None, None].expand(*time.shape, 1, 2)
        reward = torch.where(drawing, -(pen - corners.gather(-2, turn).squeeze(-2)).norm(dim=-1), 0.0)
        coming = ((time + 1) % self.corners)[..., None, None].expand(*time.shape, 1, 2)
        noise = self.shake * torch.randn(pen.shape, generator=generator, device=generator.device)
        shown = corners.gather(-2, coming).squeeze(-2) + noise
        place = torch.where((time + 1 < self.corners).unsqueeze(-1), shown, torch.where(drawing.unsqueeze(-1), pen, 0.0))
        return torch.cat([state[..., :1] + 1, place], -1), reward, torch.zeros_like(drawing)

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return of a pen put anywhere, over 64 episodes of each shape: (n, 2 x corner) -> (n,)."""
        corners = tasks.unflatten(-1, (-1, 2))  # (n, corner, 2)
        pen = 2 * torch.rand(RANDOM_EPISODES, *corners.shape, generator=generator, device=generator.device) - 1
        return -(pen - corners).norm(dim=-1).sum(-1).mean(0)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Return (n,) of one that knows the shape: exactly 0."""
        return torch.zeros_like(tasks[:, 0])
