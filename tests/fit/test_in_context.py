"""The trainings of the language-model pair."""

import numpy as np
import pytest

from advisor.fit.in_context import TRAININGS
from advisor.fit.shift import references, report
from advisor.fit.train import Job, family_of

SETTINGS = {"iterations": 60, "tasks": 64, "width": 16}


def job(training, seed):
    moved = {"tasks": 40, "control": training != "in_context"}
    return Job(training, "in_context:Labels", {}, SETTINGS, {}, 30, seed, ("held_out", "shifted"), moved)


@pytest.fixture(scope="module")
def outcomes():
    return {(name, seed): train(job(name, seed)) for name, train in TRAININGS.items() for seed in (0, 1)}


def test_both_ways_start_from_the_same_weights(outcomes):
    """The pretraining is the same, number for number, and is granted the same."""
    for seed in (0, 1):
        read, tuned = outcomes["in_context", seed], outcomes["in_context_tuned", seed]
        assert read.learning == tuned.learning and len(read.learning) == 60
        assert read.environment_steps == tuned.environment_steps == 60 * 64 * 4
    assert outcomes["in_context", 0].learning != outcomes["in_context", 1].learning


def test_a_stage_is_an_example(outcomes):
    """Each way tells the share of right labels after one, two and three examples, and an empty prompt has one figure."""
    read, tuned = outcomes["in_context", 0].returns, outcomes["in_context_tuned", 0].returns
    assert read["in_context"].shape == read["shifted"].shape == tuned["fine_tuned"].shape == (3, 30)
    assert read["zero_shot"].shape == (1, 30)
    assert all(((0 <= r) & (r <= 1)).all() for r in (*read.values(), *tuned.values()))
    assert not np.array_equal(read["in_context"], read["shifted"])


def test_the_pair_makes_a_shift_report(outcomes):
    """What both measured off the distribution makes a report with fine-tuning as the control, and words for it."""
    family = family_of(job("in_context", 0))
    known = [references(family, tasks=40, seed=seed) for seed in (0, 1)]
    read, tuned = ([outcomes[name, seed].shifted for seed in (0, 1)] for name in TRAININGS)
    found = report(read, known, {"few-shot fine-tuned": tuned})
    assert found.control == "few-shot fine-tuned" and len(found.points) == 5
    assert {n.name for n in found.noticed} == {"farthest", "words"}
    assert "changed places" in found.says


def test_repeating_a_training_gives_the_same(outcomes):
    """A job is a pure function of its data."""
    again = TRAININGS["in_context_tuned"](job("in_context_tuned", 1))
    np.testing.assert_array_equal(again.returns["fine_tuned"], outcomes["in_context_tuned", 1].returns["fine_tuned"])
