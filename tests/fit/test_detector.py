"""What an agent saw, and the alarms that are raised over it."""

import numpy as np
import pytest
import torch

from advisor.fit.detector import GROUPS, STEPS, Around, Detector, Seen, Turned, watch
from reference_impls.tasks.bandit import Bandit
from reference_impls.tasks.grid import Grid
from reference_impls.tasks.in_context import Labels
from reference_impls.tasks.semicircle import Semicircle


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def tasks_of(n, seed, rewards=0.0, dynamics=1.0):
    """Made-up data: changes follow the action, rewards hold something of the task and noise."""
    rng = np.random.default_rng(seed)
    observation, action = rng.normal(size=(n, 30, 2)), rng.normal(size=(n, 30, 2))
    own = rng.normal(size=(n, 1)) + rewards
    return Seen(observation, action, own + rng.normal(size=(n, 30)), 0.1 * dynamics * action, np.ones((n, 30)))


@pytest.fixture(scope="module")
def detector():
    return Detector(tasks_of(150, 0), tasks_of(250, 1))


def test_false_alarms_are_rare_and_shifts_are_noticed(detector):
    """Fresh training tasks give alarm at most once in twenty, and turned dynamics and far lower rewards nearly always."""
    assert detector.alarms(tasks_of(2000, 2)).mean() <= 0.05
    assert detector.alarms(tasks_of(500, 3, dynamics=-1.0)).mean() > 0.99
    assert detector.alarms(tasks_of(500, 4, rewards=-6.0)).mean() > 0.9


def test_several_tasks_together_tell_more(detector):
    """A shift that one task hardly shows is plain in ten of them, at false alarms as rare."""
    moved, fresh = tasks_of(1000, 5, rewards=-2.0), tasks_of(2000, 6)
    shares = [detector.alarms(moved, size).mean() for size in GROUPS]
    assert shares[0] < 0.6 and shares[-1] > 0.95
    assert detector.alarms(fresh, 3).mean() <= 0.06
    assert len(detector.alarms(moved, 3)) == 333


def test_what_comes_after_an_end_does_not_count(detector):
    """Rows after the end of an episode change nothing, whatever they hold."""
    seen = tasks_of(50, 7)
    seen.valid[:, 20:] = 0
    before = detector.unusual(seen)
    seen.reward[:, 20:], seen.change[:, 20:] = 1e6, -1e6
    np.testing.assert_array_equal(detector.unusual(seen), before)


def test_too_few_tasks_to_calibrate_on_are_refused():
    """A threshold for one false alarm in forty needs forty tasks."""
    with pytest.raises(ValueError, match="at least 40"):
        Detector(tasks_of(50, 0), tasks_of(39, 1))


def test_the_detector_never_learns_from_what_it_judges(detector):
    """The same data are judged alike, alone and among others."""
    seen = tasks_of(40, 8)
    one = Seen(*(x[:1] for x in (seen.observation, seen.action, seen.reward, seen.change, seen.valid)))
    assert detector.unusual(one)[0] == pytest.approx(detector.unusual(seen)[0])


def walk(family, tasks, seed):
    """An agent that plays three episodes with random actions, and goes on stepping after an end as some implementations do."""
    generator, returns = seeded(seed), []
    for _ in range(3):
        state = family.reset(tasks)
        for _ in range(family.horizon):
            shape = (len(tasks),) if family.discrete else (len(tasks), family.action_size)
            action = (
                torch.randint(family.action_size, shape, generator=generator)
                if family.discrete
                else torch.randn(shape, generator=generator)
            )
            state, reward, _ = family.step(tasks, state, action, generator)
        returns.append(reward)
    return torch.stack(returns, 1)


def test_watching_writes_down_the_first_steps():
    """Observations, actions as chosen, rewards and changes of the first STEPS steps are those of the family, and the agent is stopped there."""
    family = Semicircle()
    tasks = family.sample(5, seeded(0))
    seen = watch(family, walk, tasks, 1)
    assert seen.reward.shape == (5, STEPS) and seen.action.shape == (5, STEPS, 2)
    np.testing.assert_allclose(seen.change[:, :20], 0.1 * seen.action[:, :20].clip(-1, 1), atol=1e-6)
    after = seen.observation + seen.change
    np.testing.assert_allclose(seen.reward, -np.linalg.norm(after - tasks.numpy()[:, None], axis=-1), atol=1e-5)
    assert seen.valid.all()


def test_rows_after_an_end_are_marked_until_the_next_reset():
    """Where a goal is found and the agent steps on, `valid` is 0 until the next episode begins."""
    family = Grid(2, horizon=6)
    seen = watch(family, walk, family.sample(50, seeded(0)), 1)
    found = seen.reward[:, :6] > 0
    first = np.where(found.any(1), found.argmax(1), 5)
    expected = np.arange(6) <= first[:, None]
    np.testing.assert_array_equal(seen.valid[:, :6] > 0, expected)
    assert (seen.valid[:, 6] == 1).all()


def test_turned_actions_play_the_opposite():
    """Turned, an action does what its opposite did, for continuous and discrete actions and for mean rewards; the family's class is kept."""
    family = Semicircle()
    tasks, action = family.sample(4, seeded(0)), torch.randn(4, 2, generator=seeded(1))
    for one, other in zip(
        Turned(family).step(tasks, tasks, action, seeded(2)), family.step(tasks, tasks, -action, seeded(2)), strict=True
    ):
        assert torch.equal(one, other)
    bandit = Bandit()
    arms = bandit.sample(3, seeded(0))
    first, last = torch.zeros(3, dtype=torch.long), torch.full((3,), 4)
    assert torch.equal(Turned(bandit).expected_reward(arms, arms, first), bandit.expected_reward(arms, arms, last))
    assert not hasattr(Turned(family), "expected_reward")
    assert isinstance(Around(family), Semicircle)


def test_regression_is_watched_by_its_first_points():
    """Of a family with points and no steps, the points adapted to are what is seen, labels as rewards."""
    family = Labels()
    tasks = family.sample(6, seeded(0))
    seen = watch(family, lambda f, t, s: f.points(t, 3, seeded(s)), tasks, 1)
    words, labels = family.points(tasks, 3, seeded(1))
    np.testing.assert_allclose(seen.observation, words)
    np.testing.assert_allclose(seen.reward, labels[..., 0])
    assert seen.action.shape == (6, 3, 0) and seen.change.shape == (6, 3, 0)
