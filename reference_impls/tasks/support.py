"""Support: questions about products of a known list of categories; what the right answer is depends on both.

A contextual bandit in continuous form, for "a known set of 200, and the question tells nothing of the category". A question is a vector of
features, an answer a point, and the reward minus the distance between the answer and the right one. The right answer adds what all
categories have in common, a function of the question, and what each has of its own: so there is something to share and something to tell
apart. An episode is a sitting of ten questions of one category; the first is always the same, the others are drawn.

A task is a row (own x, own y, id): id is the category's place in the list, and -1 for a category that is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

FEATURES = 4
# What the categories have in common: the right answer moves by SHARE * tanh(question @ COMMON).
COMMON = ((1.2, -0.4), (-0.7, 0.9), (0.3, 1.1), (0.8, 0.2))
SHARE = 0.5  # of each axis that the question decides; the category decides the other half
RANDOM_EPISODES = 64  # of each task behind `random_return`


@dataclass(frozen=True)
class Support:
    """`tasks` categories, the same in every process. Raises ValueError for fewer than one category or question."""

    tasks: int = 200
    horizon: int = 10  # questions in a sitting: a time limit, no state is terminal
    own_range: float = 1.0  # what a category has of its own lies within +-this, along each axis

    observation_size = FEATURES  # the question; never the category
    action_size = 2  # the answer, each axis cut to [-1, 1]
    discrete = False

    def __post_init__(self) -> None:
        if self.tasks < 1 or self.horizon < 1:
            raise ValueError(f"there is at least one category and one question; got {self}")

    def catalogue(self) -> Tensor:
        """All categories in the order of their ids: (tasks, 3)."""
        own = 2 * torch.rand(self.tasks, 2, generator=torch.Generator().manual_seed(200)) - 1  # one list for all seeds
        return torch.cat([self.own_range * own, torch.arange(self.tasks)[:, None].float()], -1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n known categories, drawn with replacement: (n, 3)."""
        return self.catalogue()[torch.randint(self.tasks, (n,), generator=generator)]

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """n categories that are not in the list, each farther out along one axis at least than any that is: (n, 3)."""
        own = 2 * torch.rand(n, 2, generator=generator) - 1
        far = own / own.abs().amax(-1, keepdim=True) * self.own_range * (1 + 0.5 * torch.rand(n, 1, generator=generator))
        return torch.cat([far, torch.full((n, 1), -1.0)], -1)

    def ids(self, tasks: Tensor) -> Tensor:
        """The id of each task, -1 where it is not in the list: (..., 3) -> (...) long."""
        return tasks[..., 2].long()

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {"own": "what each category has of its own grows, at distance 1 to twice as much; their numbers stay"}

    def moved(self, distance: float, what: str = "own") -> Support:
        """The family at a distance from 0, this one, to 1."""
        return replace(self, own_range=self.own_range * (1 + distance))

    def reset(self, tasks: Tensor) -> Tensor:
        """A sitting begins with the plainest question: (..., 3) -> (..., feature), zeros."""
        return tasks.new_zeros(*tasks.shape[:-1], FEATURES)

    def observe(self, state: Tensor) -> Tensor:
        """The question: (..., feature) -> (..., feature)."""
        return state

    def right_answer(self, tasks: Tensor, state: Tensor) -> Tensor:
        """Tasks (..., 3), questions (..., feature) -> the answer (..., 2) that is paid best."""
        return SHARE * torch.tanh(state @ state.new_tensor(COMMON)) + (1 - SHARE) * tasks[..., :2]

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Answer (..., 2): the next question (..., feature), drawn; minus the distance to the right answer (...); never terminated."""
        reward = -(action.clamp(-1, 1) - self.right_answer(tasks, state)).norm(dim=-1)
        following = torch.randn(state.shape, generator=generator, device=generator.device)
        return following, reward, torch.zeros_like(reward, dtype=torch.bool)

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Mean return of uniformly random answers, over 64 sittings of each task: (n, 3) -> (n,)."""
        rows = tasks.expand(RANDOM_EPISODES, *tasks.shape)  # (episode, n, 3)
        state, total = self.reset(rows), torch.zeros(rows.shape[:-1])
        for _ in range(self.horizon):
            answer = 2 * torch.rand(*rows.shape[:-1], 2, generator=generator) - 1
            state, reward, _ = self.step(rows, state, answer, generator)
            total = total + reward
        return total.mean(0)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """The return of one that knows every right answer: (n, 3) -> (n,), exact.

        It is 0 for a category of the list; one far out may want an answer beyond what can be given, and the rest is simulated.
        """
        rows = tasks.expand(RANDOM_EPISODES, *tasks.shape)
        state, total = self.reset(rows), torch.zeros(rows.shape[:-1])
        for _ in range(self.horizon):
            state, reward, _ = self.step(rows, state, self.right_answer(rows, state), generator)  # `step` cuts it, axis by axis
            total = total + reward
        return total.mean(0)
