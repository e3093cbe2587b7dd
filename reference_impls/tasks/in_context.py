"""Labelling by example: a rule labels words yes or no, a few labelled words are given, and others are to be labelled.

A word is a vector, as from a frozen embedding, and a rule says on which side of a line through the origin the yes lies. Pretraining shows
rules of one half of all directions, as pretraining text knows a word such as "good" as a yes; turned by half a circle, yes and no have
changed places. A task is the direction of the yes (x, y); like regression it has `points` and no steps. Scores are shares of right labels.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

GRID = 64  # directions of the exact posterior


@dataclass(frozen=True)
class Labels:
    """Rules with a yes in a half circle of directions, words from N(0, spread^2 I). Raises ValueError for no example or spread."""

    examples: int = 3  # labelled words that are given
    queries: int = 32  # words of each task to be labelled after them
    turned: float = 0.0  # radians by which the half circle of directions is turned
    spread: float = 1.0  # size of the words
    word_size: int = 2  # numbers a word

    def __post_init__(self) -> None:
        if min(self.examples, self.queries) < 1 or self.spread <= 0 or self.word_size != 2:
            raise ValueError(f"there is at least one example and one query, words have two numbers and some size; got {self}")

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n rules (n, 2), uniform on the half circle."""
        return self._direction(torch.rand(n, generator=generator, device=generator.device))

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n rules (n, 2) off the distribution: yes and no have changed places."""
        return self.moved(1.0).sample(n, generator)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {
            "labels": "the half circle of rules turns, at distance 1 until yes and no have changed places",
            "words": "the words get larger, at distance 1 three times as large; the rules stay",
        }

    def moved(self, distance: float, what: str = "labels") -> "Labels":
        """The family at a distance from 0, this one, to 1."""
        if what == "words":
            return replace(self, spread=self.spread * (1 + 2 * distance))
        return replace(self, turned=self.turned + math.pi * distance)

    def _direction(self, share: Tensor) -> Tensor:
        """Directions (..., 2) at a share (...) of the half circle, from 0 to 1."""
        angle = math.pi * share - self.turned
        return torch.stack([angle.cos(), angle.sin()], -1)

    def points(self, tasks: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw k words for each rule, with their labels: rules (n, 2) -> words (n, k, 2) and labels (n, k, 1), 0 or 1."""
        words = self.spread * torch.randn(len(tasks), k, self.word_size, generator=generator, device=generator.device)
        return words, (words @ tasks.unsqueeze(-1) > 0).to(words.dtype)

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Share of right labels (n,) of a coin: exact."""
        return torch.full_like(tasks[:, 0], 0.5)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Share of right labels (n,) of who knows the rule: exact."""
        return torch.ones_like(tasks[:, 0])

    def bayes_labels(self, words: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
        """Probability (n, query) of a yes for the words asked (n, query, 2), by the exact posterior after words (n, k, 2), labels (n, k, 1).

        The prior is this family's half circle, in GRID directions; where no direction is left of it, one fits the examples best.
        """
        rules = self._direction((torch.arange(GRID, device=words.device) + 0.5) / GRID)  # (grid, 2)
        right = ((words @ rules.T > 0) == (labels > 0.5)).sum(1)  # (n, grid)
        posterior = (right == right.amax(1, keepdim=True)).to(words.dtype)
        yes = (asked @ rules.T > 0).to(words.dtype)  # (n, query, grid)
        return (yes * posterior.unsqueeze(1)).sum(-1) / posterior.sum(1, keepdim=True)
