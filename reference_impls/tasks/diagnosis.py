"""A small diagnosis: order noisy tests until one condition is likely enough, then name it.

A patient has one of a few conditions. A test comes out positive with a probability that depends on the condition alone,
costs a little, and may be repeated. Naming a condition ends the episode: +1 if right, -1 if wrong. Running out of
actions counts as naming a wrong one. The family is small enough for Bayes' rule and the Bayes-optimal return to be
computed exactly (dynamic programming over test counts), so both a learned belief and a learned policy can be judged.
"""

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

# P(test positive | condition): a row a condition, a column a test; the first four tests are good, the others poorer.
POSITIVE = (
    (0.88, 0.12, 0.15, 0.20, 0.65, 0.40, 0.75),
    (0.82, 0.85, 0.20, 0.15, 0.30, 0.70, 0.35),
    (0.15, 0.88, 0.84, 0.12, 0.70, 0.35, 0.30),
    (0.12, 0.20, 0.88, 0.85, 0.35, 0.75, 0.65),
    (0.20, 0.15, 0.12, 0.86, 0.60, 0.25, 0.55),
)


@dataclass(frozen=True)
class Diagnosis:
    """Tasks are patients (n, 2): the index of the condition, and 1 where test results are reported inverted, else 0.

    State (..., 1 + test): actions taken so far, then the last result as +1 or -1 at its test's place (all 0 at the
    start and after a diagnosis). Actions: 0 .. tests-1 order a test, tests .. tests+conditions-1 name a condition.
    """

    positive: tuple[tuple[float, ...], ...] = POSITIVE  # (condition, test)
    test_cost: float = 0.05  # in units of reward, a test
    horizon: int = 8  # actions at most, the diagnosis included
    discrete: bool = True
    inverting: float = 0.0  # share of the laboratories that report every result inverted
    crowding: float = 0.0  # share of the patients that have the first condition for sure; the others any, all alike

    @property
    def conditions(self) -> int:
        return len(self.positive)

    @property
    def tests(self) -> int:
        return len(self.positive[0])

    @property
    def observation_size(self) -> int:
        return 1 + self.tests

    @property
    def action_size(self) -> int:
        return self.tests + self.conditions

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return n patients (n, 2), all conditions equally likely where nothing is moved."""
        random = {"generator": generator, "device": generator.device}
        patients = torch.zeros(n, 2, device=generator.device)
        patients[:, 0] = torch.randint(self.conditions, (n,), **random).float()
        if self.inverting or self.crowding:
            patients[:, 0] *= torch.rand(n, **random) >= self.crowding
            patients[:, 1] = (torch.rand(n, **random) < self.inverting).float()
        return patients

    def shifted(self, n: int, generator: torch.Generator) -> Tensor:
        """Return n patients (n, 2) of a laboratory that reports every result inverted, which training never shows."""
        return replace(self, inverting=1.0).sample(n, generator)

    @property
    def moves(self) -> dict[str, str]:
        """What `moved` can move, in words."""
        return {
            "results": "more and more laboratories report every result inverted, at distance 1 all",
            "priors": "one condition crowds out the others, at distance 1 nobody has another",
        }

    def moved(self, distance: float, what: str = "results") -> "Diagnosis":
        """Return the family at a distance from 0, this one, to 1."""
        return replace(self, crowding=distance) if what == "priors" else replace(self, inverting=distance)

    def condition(self, tasks: Tensor) -> Tensor:
        """Return the hidden condition (..., ) as an index, of patients (..., 2)."""
        return tasks[..., 0].long()

    def reset(self, tasks: Tensor) -> Tensor:
        """Return the start (..., 1 + test) for patients (..., 2): no action taken, no result seen."""
        return tasks.new_zeros(*tasks.shape[:-1], 1 + self.tests)

    def observe(self, state: Tensor) -> Tensor:
        """Return the observation (..., 1 + test): share of the actions used up, and the last result."""
        return torch.cat([state[..., :1] / self.horizon, state[..., 1:]], dim=-1)

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take action (..., ) long; return next state (..., 1 + test), reward (...,), terminated (...,).

        The limit of actions is a rule of the task that the agent sees coming, so it is an end and no time limit.
        """
        condition, is_test = self.condition(tasks), action < self.tests
        test = action.clamp(max=self.tests - 1)
        probability = torch.tensor(self.positive, device=tasks.device)[condition, test]  # (...,)
        probability = torch.where(tasks[..., 1] > 0.5, 1.0 - probability, probability)
        drawn = torch.rand(probability.shape, generator=generator, device=tasks.device) < probability
        result = torch.nn.functional.one_hot(test, self.tests) * (2.0 * drawn - 1.0).unsqueeze(-1)  # (..., test)
        taken = state[..., :1] + 1.0
        state = torch.cat([taken, result * is_test.unsqueeze(-1)], dim=-1)
        out_of_actions = taken.squeeze(-1) >= self.horizon
        right = action - self.tests == condition
        diagnosis_reward = 2.0 * right - 1.0
        test_reward = -self.test_cost - 1.0 * out_of_actions
        return state, torch.where(is_test, test_reward, diagnosis_reward), ~is_test | out_of_actions

    def random_return(self, tasks: Tensor, generator: torch.Generator) -> Tensor:
        """Return the exact mean return (n,) of uniformly random actions; it is the same for every patient."""
        named = self.conditions / self.action_size  # chance that an action is a diagnosis
        value = -1.0  # after the last action without a diagnosis
        for _ in range(self.horizon):
            value = named * (2.0 / self.conditions - 1.0) + (1.0 - named) * (value - self.test_cost)
        return torch.full_like(tasks[..., 0], value)

    def oracle_return(self, tasks: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the exact mean return (n,) of the Bayes-optimal agent on patients with each one's condition.

        It knows the test probabilities and whether the laboratory inverts, never the condition. As inversion only
        renames the results, the return is the same with and without.
        """
        return _bayes_values(self).to(tasks.device)[self.condition(tasks)]

    def bayes_optimum(self) -> float:
        """Return the exact Bayes-optimal mean return over the task distribution."""
        return float(_bayes_values(self).mean())

    def exact_posterior(self, results: Tensor) -> Tensor:
        """Return P(condition | results) (..., condition) by Bayes' rule, results (..., step, test): -1, 0 or +1."""
        table = torch.tensor(self.positive, dtype=torch.float64, device=results.device)  # (condition, test)
        counts = torch.cat([(results > 0).sum(dim=-2), (results < 0).sum(dim=-2)], dim=-1).double()
        return (counts @ _log_likelihood(table)).softmax(dim=-1)


def _log_likelihood(table: Tensor) -> Tensor:
    """Return log P(result | condition) (2 * test, condition): positive results of all tests, then negative ones."""
    return torch.cat([table, 1.0 - table], dim=1).log().T


@lru_cache(maxsize=8)
def _bayes_values(family: Diagnosis) -> Tensor:
    """Return the mean return (condition,) of the Bayes-optimal policy, given the condition that it does not know.

    Backward dynamic programming over counts of results: their order carries no information, so with 7 tests and 8
    actions there are C(21, 7) = 116,280 information states. `next_value` holds W(state, condition), the best policy's
    return if the condition were the given one; an action is chosen by its mean over the exact posterior.
    """
    tests, conditions, horizon = family.tests, family.conditions, family.horizon
    kinds = 2 * tests  # a result: test i positive is kind i, negative is kind tests + i
    table = torch.tensor(family.positive, dtype=torch.float64)
    log_likelihood = _log_likelihood(table)  # (kind, condition)
    chance = log_likelihood.exp()
    place = horizon ** torch.arange(kinds)  # counts are below `horizon`, so they are the digits of one number
    diagnosis = 2.0 * torch.eye(conditions, dtype=torch.float64) - 1.0  # (named, condition)
    next_codes, next_value = torch.empty(0), torch.empty(0)
    for done in range(horizon - 1, -1, -1):  # tests done so far
        drawn = list(itertools.combinations_with_replacement(range(kinds), done))
        counts = torch.nn.functional.one_hot(torch.tensor(drawn, dtype=torch.long), kinds).sum(dim=1)  # (state, kind)
        posterior = (counts.double() @ log_likelihood).softmax(dim=-1)  # (state, condition)
        codes, order = (counts * place).sum(dim=1).sort()
        posterior = posterior[order]
        named = diagnosis.expand(len(codes), conditions, conditions)  # (state, action, condition)
        if done < horizon - 1:  # a test as the last action is never better than a diagnosis
            child = torch.searchsorted(next_codes, codes[:, None] + place)  # (state, kind)
            after = chance * next_value[child]  # (state, kind, condition)
            tested = after[:, :tests] + after[:, tests:] - family.test_cost
            named = torch.cat([tested, named], dim=1)
        best = torch.einsum("sac,sc->sa", named, posterior).argmax(dim=1)  # (state,)
        next_codes, next_value = codes, named[torch.arange(len(codes)), best]
    return next_value[0].float()
