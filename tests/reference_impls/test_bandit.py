"""The Bernoulli bandits and their exact references."""

from __future__ import annotations

import pytest
import torch

from reference_impls.tasks.bandit import Bandit


def brute_force(wins: list[int], losses: list[int], left: int) -> float:
    """Bayes optimum by the plain recursion over every arm and outcome, with nothing remembered or merged."""
    if left == 0:
        return 0.0
    best = 0.0
    for arm in range(len(wins)):
        p = (wins[arm] + 1) / (wins[arm] + losses[arm] + 2)
        won, lost = wins.copy(), losses.copy()
        won[arm] += 1
        lost[arm] += 1
        best = max(best, p * (1 + brute_force(won, losses, left - 1)) + (1 - p) * brute_force(wins, lost, left - 1))
    return best


@pytest.mark.parametrize(("arms", "pulls"), [(1, 4), (2, 1), (2, 5), (3, 4), (4, 3)])
def test_optimum_equals_brute_force(arms: int, pulls: int) -> None:
    """The optimum over multisets of counts is that of the plain recursion."""
    assert Bandit(arms, pulls).bayes_optimum() == pytest.approx(brute_force([0] * arms, [0] * arms, pulls), abs=1e-12)


def test_optimum_is_the_published_one() -> None:
    """With 5 arms and 10 pulls the optimum is the 6.660 that the literature's Gittins figure rounds to."""
    assert Bandit(5, 10).bayes_optimum() == pytest.approx(6.660, abs=5e-4)


def test_references_stand_in_order() -> None:
    """Random, greedy, Bayes optimum and oracle come in this order on average."""
    family, generator = Bandit(), torch.Generator().manual_seed(0)
    tasks = family.sample(20_000, generator)
    random = family.random_return(tasks, generator).mean().item() * family.pulls
    greedy = family.greedy_return(tasks, generator).sum(1).mean().item()
    oracle = family.oracle_return(tasks, generator).mean().item() * family.pulls
    assert random < greedy - 1 < family.bayes_optimum() < oracle
    assert random == pytest.approx(5, abs=0.05)
    assert oracle == pytest.approx(10 * 5 / 6, abs=0.05)  # mean of the largest of five uniform numbers


def test_step_draws_the_chosen_arm() -> None:
    """A pull pays with the probability of the chosen arm, whatever the leading axes, and terminates its episode."""
    family, generator = Bandit(arms=3), torch.Generator().manual_seed(0)
    tasks = torch.tensor([0.0, 0.25, 1.0]).expand(2, 20_000, 3)
    state = family.reset(tasks)
    for arm, chance in enumerate((0.0, 0.25, 1.0)):
        action = torch.full((2, 20_000), arm)
        _, reward, terminated = family.step(tasks, state, action, generator)
        assert terminated.all()
        assert reward.mean().item() == pytest.approx(chance, abs=0.02)
        assert torch.equal(family.expected_reward(tasks, state, action), torch.full((2, 20_000), chance))
    assert family.observe(state).shape == (2, 20_000, 1)


def test_shifted_tasks_lie_off_the_distribution() -> None:
    """Shifted tasks are poor in every arm, and the same seed draws the same tasks."""
    family = Bandit()
    tasks = family.shifted(1000, torch.Generator().manual_seed(3))
    assert tasks.shape == (1000, 5)
    assert tasks.max() <= 0.3
    assert torch.equal(tasks, family.shifted(1000, torch.Generator().manual_seed(3)))


def test_impossible_settings_are_refused() -> None:
    """No arm, no pull and a table too large to compute end with a ValueError."""
    for settings in ({"arms": 0}, {"pulls": 0}, {"horizon": 2}):
        with pytest.raises(ValueError, match="bandit"):
            Bandit(**settings)
    with pytest.raises(ValueError, match="20 pulls"):
        Bandit(pulls=21).bayes_optimum()


def retire(wins: int, losses: int, left: int, pay: float) -> float:
    """What the best use of one arm and a sure pay is worth, by the plain recursion; who takes the pay once keeps to it."""
    if left == 0:
        return 0.0
    p = (wins + 1) / (wins + losses + 2)
    play = p * (1 + retire(wins + 1, losses, left - 1, pay)) + (1 - p) * retire(wins, losses + 1, left - 1, pay)
    return max(left * pay, play)


@pytest.mark.parametrize(("wins", "losses", "left"), [(0, 0, 1), (0, 0, 6), (1, 0, 5), (2, 3, 4), (0, 2, 3)])
def test_gittins_index_is_where_playing_and_retiring_are_worth_the_same(wins: int, losses: int, left: int) -> None:
    """Just under the index playing on is better than the sure pay, just above it retiring at once is."""
    index = Bandit(pulls=8).gittins_index()[left, wins, losses].item()
    assert retire(wins, losses, left, index - 2e-3) > left * (index - 2e-3) + 1e-9
    assert retire(wins, losses, left, index + 2e-3) == pytest.approx(left * (index + 2e-3), abs=1e-9)


def test_gittins_comes_up_to_the_optimum() -> None:
    """At 10 pulls the index earns the Bayes optimum to 0.02, and at 50 more than greedy by a clear margin."""
    generator = torch.Generator().manual_seed(0)
    family = Bandit()
    tasks = family.sample(50_000, generator)
    assert family.gittins_return(tasks, generator).sum(1).mean().item() == pytest.approx(
        family.bayes_optimum(), abs=0.02
    )
    family = Bandit(pulls=50)
    tasks = family.sample(4000, generator)
    gittins, greedy = (f(tasks, generator).sum(1).mean() for f in (family.gittins_return, family.greedy_return))
    assert gittins > greedy + 0.3
    with pytest.raises(ValueError, match="200 pulls"):
        Bandit(pulls=201).gittins_index()


def test_the_teacher_pulls_the_arm_of_the_highest_index() -> None:
    """The teacher names the arm with the highest Gittins index for what was seen before each pull, the first of equals."""
    family, generator = Bandit(arms=3, pulls=8), torch.Generator().manual_seed(0)
    action = torch.randint(3, (8, 20), generator=generator)
    reward = torch.randint(2, (8, 20), generator=generator).float()
    told, table = family.teacher(action, reward), family.gittins_index()
    for i in range(20):
        wins, losses = [0, 0, 0], [0, 0, 0]
        for t in range(8):
            index = [table[8 - t, w, n].item() for w, n in zip(wins, losses, strict=True)]
            assert told[t, i] == index.index(max(index))
            (wins if reward[t, i] else losses)[int(action[t, i])] += 1
