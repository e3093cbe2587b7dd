"""Moved families, what is measured in them, and the report on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import betainc, betaln

from advisor.fit.judge import interval
from advisor.fit.shift import DISTANCES, halves_at, measure, overtaken_at, places, references, report, widened
from reference_impls.tasks.bandit import Bandit
from reference_impls.tasks.catalogue import Catalogue
from reference_impls.tasks.cities import Cities
from reference_impls.tasks.diagnosis import Diagnosis
from reference_impls.tasks.grid import Grid
from reference_impls.tasks.in_context import Labels
from reference_impls.tasks.maze import Maze
from reference_impls.tasks.mdp import TabularMDP
from reference_impls.tasks.navigation import Navigation
from reference_impls.tasks.objects import Objects
from reference_impls.tasks.regimes import Regimes
from reference_impls.tasks.semicircle import Semicircle
from reference_impls.tasks.shapes import Shapes
from reference_impls.tasks.sine import Sine
from reference_impls.tasks.support import Support

FAMILIES = [
    Bandit,
    Catalogue,
    Cities,
    Diagnosis,
    Grid,
    Labels,
    Maze,
    Navigation,
    Objects,
    Regimes,
    Semicircle,
    Shapes,
    Sine,
    Support,
    TabularMDP,
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(family, n=200):
    """The rows that a fit tests on: the catalogue where there is one."""
    return family.catalogue() if hasattr(family, "catalogue") else family.sample(n, seeded())


@pytest.mark.parametrize("family", [make() for make in FAMILIES], ids=lambda f: type(f).__name__)
def test_every_family_can_be_moved(family):
    """At distance 0 a family draws its own tasks, farther off others of the same form that it plays itself; each move says what it moves."""
    for name, says in family.moves.items():
        assert torch.equal(drawn(family.moved(0.0, name)), drawn(family))
        far = family.moved(1.0, name)
        assert drawn(far).shape == drawn(family).shape and len(says) > 20
        if isinstance(family, Labels) and name == "words":
            assert (
                far.points(drawn(far), 3, seeded())[0].abs().mean()
                > family.points(drawn(family), 3, seeded())[0].abs().mean()
            )
        else:
            assert not torch.equal(drawn(far), drawn(family))
    assert family.moved(1.0) == family.moved(1.0, next(iter(family.moves)))
    assert type(family.moved(0.5)) is type(family)


def test_moved_goals_lie_where_the_words_say():
    """Doubled radii are doubled, the turned half circle is the other half, and poor arms are poor."""
    assert drawn(Semicircle().moved(1.0, "radius")).norm(dim=-1).allclose(torch.tensor(2.0))
    assert (drawn(Semicircle().moved(1.0))[:, 1] <= 1e-6).all()
    assert drawn(Navigation().moved(1.0)).norm(dim=-1).min() >= 0.8
    assert 0.9 < drawn(Navigation().moved(1.0, "radius"), 2000).abs().max() <= 1.0
    assert drawn(Catalogue().moved(1.0, "radius"))[:, :2].norm(dim=-1).allclose(torch.tensor(2.0))
    assert drawn(Bandit().moved(1.0)).max() <= 0.3
    assert (drawn(Diagnosis().moved(1.0, "priors"))[:, 0] == 0).all()
    share = drawn(Diagnosis().moved(0.5), 4000)[:, 1].mean()
    assert 0.46 < share < 0.54
    assert drawn(Maze().moved(1.0, "walls"))[:, 3:].sum(1).eq(2 * 24).all()  # every wall between two cells is gone


@pytest.mark.parametrize("wins, losses", [(0, 0), (3, 0), (1, 7)])
def test_posterior_mean_of_poor_arms_is_exact(wins, losses):
    """Under U(0, 0.3) the mean winning probability is a ratio of incomplete beta functions; under U(0, 1) it is Laplace's."""
    above, below = (betainc(wins + k, losses + 1, 0.3) * np.exp(betaln(wins + k, losses + 1)) for k in (2, 1))
    assert Bandit(highest=0.3).posterior_mean(wins, losses) == pytest.approx(above / below, rel=1e-5)
    assert Bandit().posterior_mean(wins, losses) == (wins + 1) / (wins + losses + 2)


def test_bayes_optimum_of_poor_arms_by_hand():
    """With one arm it is the prior's mean a pull, and with more it lies between that and the best arm's mean."""
    assert Bandit(arms=1, pulls=4, highest=0.3).bayes_optimum() == pytest.approx(4 * 0.15)
    assert 10 * 0.15 < Bandit(highest=0.3).bayes_optimum() < 10 * 0.25
    with pytest.raises(ValueError, match="highest"):
        Bandit(highest=1.2)


def test_places_are_the_distances_the_other_kinds_and_turned_actions():
    """A family is tested at each distance of its first move, at 1 of the others, and with actions turned round where it has any."""
    assert list(places(Semicircle())) == [*(f"{d:g}" for d in DISTANCES), "radius", "actions"]
    assert "actions" not in places(Sine())


class Old:
    """A family that only knows `shifted`."""

    horizon, discrete, observation_size, action_size = 20, False, 2, 2

    def __init__(self):
        self._family = Semicircle()
        for name in ("sample", "shifted", "reset", "observe", "step", "random_return", "oracle_return"):
            setattr(self, name, getattr(self._family, name))


def test_a_family_with_shifted_tasks_alone_has_two_points():
    """Without `moves` the shifted tasks are distance 1, and there is nothing between."""
    there = places(Old())
    assert list(there) == ["0", "1", "actions"]
    assert (there["1"][1].sample(50, seeded())[:, 1] <= 0).all()


def homing(family, tasks, seed):
    """An agent that searches for its goal on the upper half circle alone: one episode to look, then to the angle that paid best."""
    generator = torch.Generator().manual_seed(seed)
    angles = torch.pi * torch.arange(8) / 7
    ways = torch.stack([angles.cos(), angles.sin()], -1)  # (way, 2)
    guess = torch.full((len(tasks),), 3)
    returns = []
    for _ in range(2):
        state, total, felt = family.reset(tasks), torch.zeros(len(tasks)), []
        for t in range(family.horizon):
            target = torch.where(torch.tensor(t < 2 or bool(returns)), ways[guess], state)
            action = (target - state).clamp(-0.1, 0.1) * 10 + 0.1 * torch.randn(state.shape, generator=generator)
            state, reward, _ = family.step(tasks, state, action, generator)
            total, felt = total + reward, [*felt, (state.clone(), reward)]
        errors = sum((-(place[:, None] - ways).norm(dim=-1) - reward[:, None]).abs() for place, reward in felt)
        guess = errors.argmin(1)
        returns.append(total)
    return torch.stack(returns, 1)


@pytest.fixture(scope="module")
def measured():
    family = Semicircle()
    return [
        (
            measure(family, homing, tasks=40, seed=seed),
            references(family, tasks=40, seed=seed),
            measure(family, homing, tasks=40, seed=seed, control=True),
        )
        for seed in range(3)
    ]


def test_measuring_is_repeatable_and_a_control_is_asked_the_same(measured):
    """The same seed gives the same arrays, and a control that is the same agent reaches the same in the same tasks."""
    again = measure(Semicircle(), homing, tasks=40, seed=0)
    assert all(np.array_equal(again[key], value) for key, value in measured[0][0].items())
    for key, value in measured[0][2].items():
        np.testing.assert_array_equal(value, measured[0][0][key])
    assert not any(key.startswith("alarms") or key.endswith("actions") for key in measured[0][2])


def test_a_report_shows_the_fall_and_the_alarms(measured):
    """An agent that knows the upper half alone falls with distance; doubled radius and turned actions are noticed, the rest is left alone."""
    found = report([m for m, _, _ in measured], [r for _, r, _ in measured], {"same": [c for _, _, c in measured]})
    scores = [p.score.figure for p in found.points]
    assert [p.distance for p in found.points] == list(DISTANCES)
    assert scores[0] > 0.8 and scores[-1] < 0.3 and found.halves_at is not None and 0.2 < found.halves_at < 1
    assert found.control == "same" and found.points[0].control == found.points[0].score and found.overtaken_at is None
    assert found.false_alarms <= 0.06
    kinds = {n.name: n for n in found.noticed}
    assert set(kinds) == {"farthest", "radius", "actions"}
    for name in ("radius", "actions"):
        assert kinds[name].share > 0.9 and kinds[name].tasks == 1
    for words in ("half circle", "false alarm", "`radius`", "`same`"):
        assert words in found.says


def test_widths_say_which_is_the_first_to_cover(measured):
    """Of the widths whose training reaches 80 % of the score before, the smallest is named; none is said to be none."""
    runs, refs = [m for m, _, _ in measured], [r for _, r, _ in measured]
    good = [{**m, "reached/1": r["oracle/1"]} for m, r in zip(runs, refs, strict=True)]
    found = report(runs, refs, widths={1.0: good, 0.5: runs, 0.75: good})
    assert [w.width for w in found.widths] == [0.5, 0.75, 1.0] and [w.covers for w in found.widths] == [
        False,
        True,
        True,
    ]
    assert found.covered_by == 0.75 and "0.75 of the distance is the first" in found.says
    none = report(runs, refs, widths={0.5: runs}).says
    assert "none covers the case" in none and "lost the old ones" not in none
    lost = [{**m, "reached/0": r["random/0"]} for m, r in zip(runs, refs, strict=True)]
    assert "lost the old ones, too: a longer training" in report(runs, refs, widths={0.5: lost}).says


def test_scores_without_a_known_best_are_scaled_by_the_best_candidate(measured):
    """Where no oracle is known, the best candidate's mean at distance 0 is 1; the middle half of its tasks lies about there."""
    runs = [m for m, _, _ in measured]
    refs = [{k: np.full_like(v, np.nan) if k.startswith("oracle") else v for k, v in r.items()} for _, r, _ in measured]
    assert report(runs, refs).points[0].score.figure == pytest.approx(1.0, abs=0.2)


def test_what_cannot_be_moved_has_no_report():
    """A family with neither `moves` nor `shifted` is measured nowhere, and nothing is claimed about it."""

    class Still:
        horizon = 1

    assert measure(Still(), homing, tasks=4, seed=0) == {} and references(Still(), tasks=4, seed=0) == {}
    assert report([{}, {}], [{}, {}]) is None


def test_a_known_set_is_moved_with_its_numbers():
    """For a catalogue the rows are its tasks in order, so that an agent can be told the number of each."""
    told = []

    def play(family, tasks, seed):
        told.append(family.ids(tasks).tolist())
        return torch.zeros(len(tasks), 1)

    measure(Catalogue(), play, tasks=0, seed=0, control=True)
    assert told == [list(range(10))] * len(DISTANCES)


def test_a_pool_is_averaged_before_it_is_scored(measured):
    """Scores of pools of 10 tasks are as many as there are pools, as in the judgement."""
    runs, refs = [m for m, _, _ in measured], [r for _, r, _ in measured]
    pooled = report(runs, refs, pool=10).points[0].score
    by_hand = [
        (m["reached/0"].reshape(4, 10).mean(1) - r["random/0"].reshape(4, 10).mean(1))
        / (r["oracle/0"].reshape(4, 10).mean(1) - r["random/0"].reshape(4, 10).mean(1))
        for m, r in zip(runs, refs, strict=True)
    ]
    assert pooled == interval(np.stack(by_hand))


def test_half_of_the_score_is_found_on_a_straight_line():
    """Between two points the fall is straight; without a fall to the half, or without a score, there is no distance."""
    assert halves_at([(0.0, 0.8), (0.5, 0.6), (1.0, 0.2)]) == pytest.approx(0.75)
    assert halves_at([(0.0, 0.8), (1.0, 0.5)]) is None
    assert halves_at([(0.0, 0.01), (1.0, -0.5)]) is None


def test_being_overtaken_means_to_the_end():
    """A control is ahead from where it crosses for the last time, from the start if it always is, nowhere if it is not in the end."""
    assert overtaken_at([(0.0, 0.8, 0.6), (0.5, 0.6, 0.6), (1.0, 0.2, 0.6)]) == pytest.approx(0.5)
    assert overtaken_at([(0.0, 0.8, 0.6), (1.0, 0.4, 0.8)]) == pytest.approx(1 / 3)
    assert overtaken_at([(0.0, 0.5, 0.6), (1.0, 0.2, 0.6)]) == 0.0
    assert overtaken_at([(0.0, 0.8, 0.6), (1.0, 0.7, 0.6)]) is None
    assert overtaken_at([]) is None


def test_a_widened_family_draws_all_distances_and_stays_itself():
    """Tasks of every distance up to the width are drawn, the rest is the family's, and the same numbers give the same tasks."""
    family = Semicircle()
    wide = widened(family, 1.0)
    goals = wide.sample(4000, seeded())
    angle = torch.atan2(goals[:, 1], goals[:, 0])
    assert (torch.histc(angle, 8, -torch.pi, torch.pi) > 80).all()  # the far ends the least
    near = widened(family, 0.25).sample(4000, seeded())
    assert float((near[:, 1] < -0.8).float().mean()) == 0.0
    assert torch.equal(goals, wide.sample(4000, seeded()))
    assert isinstance(wide, Semicircle) and wide.horizon == family.horizon and wide.radius == family.radius
    with pytest.raises(AttributeError):
        _ = wide.no_such_thing
    assert replace(family, turned=0.0) == family
