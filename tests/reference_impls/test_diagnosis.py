"""The diagnosis family: exact belief and exact optimum against independent computations."""

import itertools
import math

import pytest
import torch

from reference_impls.tasks.diagnosis import Diagnosis

TINY = Diagnosis(positive=((0.9, 0.6), (0.2, 0.3)), test_cost=0.07, horizon=3)
THREE = Diagnosis(positive=((0.9, 0.6, 0.5), (0.2, 0.3, 0.8), (0.4, 0.7, 0.1)), test_cost=0.02, horizon=4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def brute_force(family: Diagnosis, weights: tuple[float, ...], actions_left: int) -> float:
    """Best expected return over all plans, by recursion over ordered histories; weights are P(condition, history)."""
    mass = sum(weights)
    best = max(2.0 * weight - mass for weight in weights)  # name a condition
    if actions_left == 0:
        return -mass
    for test in range(family.tests):
        value = -family.test_cost * mass
        for positive in (True, False):
            rows = zip(weights, family.positive, strict=True)
            after = tuple(w * (row[test] if positive else 1.0 - row[test]) for w, row in rows)
            value += brute_force(family, after, actions_left - 1)
        best = max(best, value)
    return best


@pytest.mark.parametrize("family", [TINY, THREE])
def test_bayes_optimum_against_brute_force(family: Diagnosis) -> None:
    """Dynamic programming over counts gives the value of an exhaustive search over ordered histories."""
    prior = tuple(1.0 / family.conditions for _ in range(family.conditions))
    assert family.bayes_optimum() == pytest.approx(brute_force(family, prior, family.horizon), abs=1e-6)


def test_oracle_return_is_the_optimum_split_by_condition() -> None:
    """The oracle's returns average to the Bayes optimum over equally likely conditions, inverted results or not."""
    tasks = torch.tensor([[float(c), 0.0] for c in range(THREE.conditions)])
    returns = THREE.oracle_return(tasks)
    assert float(returns.mean()) == pytest.approx(THREE.bayes_optimum(), abs=1e-6)
    assert torch.equal(returns, THREE.oracle_return(tasks + torch.tensor([0.0, 1.0])))


def test_optimum_of_the_default_family_is_between_guessing_and_knowing() -> None:
    """With tests to order, the optimum lies above naming at once (2/5 - 1) and below knowing the condition (1)."""
    assert 2.0 / 5.0 - 1.0 < Diagnosis().bayes_optimum() < 1.0


def test_exact_posterior_by_hand() -> None:
    """One positive first test and one negative second one give the posterior that Bayes' rule gives on paper."""
    results = torch.tensor([[1.0, 0.0], [0.0, -1.0]])  # (step, test)
    joint = [0.5 * 0.9 * (1 - 0.6), 0.5 * 0.2 * (1 - 0.3)]
    expected = torch.tensor([j / sum(joint) for j in joint], dtype=torch.float64)
    torch.testing.assert_close(TINY.exact_posterior(results), expected)


def test_step_pays_and_ends_as_written() -> None:
    """A test costs and goes on; a right diagnosis pays 1, a wrong one -1, and both end the episode."""
    tasks = torch.zeros(3, 2)
    state, reward, terminated = TINY.step(tasks, TINY.reset(tasks), torch.tensor([1, 2, 3]), seeded())
    torch.testing.assert_close(reward, torch.tensor([-0.07, 1.0, -1.0]))
    assert terminated.tolist() == [False, True, True]
    assert state[:, 0].tolist() == [1.0, 1.0, 1.0] and abs(float(state[0, 2])) == 1.0 and not state[1:, 1:].any()


def test_running_out_of_actions_counts_as_a_wrong_diagnosis() -> None:
    """The last action allowed, if it is a test, costs the test and a wrong diagnosis, and ends the episode."""
    state = torch.tensor([[2.0, 0.0, 0.0]])
    _, reward, terminated = TINY.step(torch.zeros(1, 2), state, torch.tensor([0]), seeded())
    assert float(reward) == pytest.approx(-1.07) and bool(terminated)


def test_results_follow_the_table_and_the_inversion() -> None:
    """Over many patients a test is positive as often as the table says, and as often negative where inverted."""
    n = 20_000
    for inverted, expected in ((0.0, 0.9), (1.0, 0.1)):
        tasks = torch.tensor([[0.0, inverted]]).expand(n, 2)
        state, _, _ = TINY.step(tasks, TINY.reset(tasks), torch.zeros(n, dtype=torch.long), seeded(3))
        share = float((state[:, 1] > 0).float().mean())
        assert abs(share - expected) < 4.0 * math.sqrt(0.09 / n)


def test_random_return_against_enumeration() -> None:
    """The formula for random actions gives the mean over all action sequences, each weighted alike."""
    total = 0.0
    for actions in itertools.product(range(TINY.action_size), repeat=TINY.horizon):
        value = 0.0
        for action in actions:
            if action >= TINY.tests:
                value += 1.0 if action - TINY.tests == 0 else -1.0
                break
            value -= TINY.test_cost
        else:
            value -= 1.0
        total += value
    expected = total / TINY.action_size**TINY.horizon
    assert float(TINY.random_return(torch.zeros(1, 2), seeded())) == pytest.approx(expected, abs=1e-6)
