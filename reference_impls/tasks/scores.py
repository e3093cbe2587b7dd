"""Scores: a family of discrete actions for learners of continuous ones. Each action gets a score, and the highest is played."""

from typing import Any

import torch
from torch import Tensor


class Scores:
    """Everything else is that of `family`. An action is a row of scores (..., action) in [-1, 1]; ties go to the first."""

    discrete = False

    def __init__(self, family: Any) -> None:
        self.family = family

    def __getattr__(self, name: str) -> Any:
        if name == "family":  # not there yet while a copy is being unpacked
            raise AttributeError(name)
        return getattr(self.family, name)

    def moved(self, *where: Any) -> "Scores":
        """The moved family, played by scores as well."""
        return Scores(self.family.moved(*where))

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Play the action with the highest score: next state, reward (...), terminated (...) as the family gives them."""
        result: tuple[Tensor, Tensor, Tensor] = self.family.step(tasks, state, action.argmax(-1), generator)
        return result
