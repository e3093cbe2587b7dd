"""The user's own environment off its training distribution: `shifted_tasks`, from the family to the report."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from rich.console import Console

from advisor import fit as stage
from advisor.engine import recommend
from advisor.executors import InProcess
from advisor.facts import Known
from advisor.fit import environment, execute, jobs, page, plan_for, render, shift, train
from advisor.fit.train import Outcome
from advisor.rulebook import load as load_rules
from reference_impls.tasks.gym import Faulty, Gym, moves_of
from tests.fit.small import Reach, far, reach

BOOK = load_rules()
HERE = "tests.fit.test_own_shift"
DISTANCES = (0.0, 0.25, 0.5, 0.75, 1.0)


class CartPoleTasks(CartPoleEnv):
    """The pole's length differs by task; off the training distribution it is longer."""

    def sample_tasks(self, n, seed):
        return np.random.default_rng(seed).uniform(0.3, 0.6, (n, 1))

    def shifted_tasks(self, n, seed, distance):
        return (1 + 9 * distance) * self.sample_tasks(n, seed)

    def set_task(self, task):
        self.length = float(task[0])
        self.polemass_length = self.masspole * self.length


def cartpole():
    return gym.wrappers.TimeLimit(CartPoleTasks(), 40)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(factory, monkeypatch, trainings=(), **facts):
    """A fit with hardly any training, for a scenario of these facts; new tasks without gradients where none are given.

    `trainings`: those that take part beside the recommended one and the references; all without any.
    """
    monkeypatch.setattr(environment, "STEPS", {"smoke": 400})
    monkeypatch.setattr(environment, "TESTED", 6)
    monkeypatch.setattr(environment, "WATCHED", (20, 40, 20))
    facts = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "adaptation_gradients": "not_allowed",
             "task_belief": "not_required"} | facts  # fmt: skip
    advice = recommend({name: Known(value, 1.0, "file") for name, value in facts.items()}, BOOK)
    plan = environment.substitute(plan_for(advice, None, "smoke", 2), f"tests.fit.small:{factory}")
    if trainings:
        kept = tuple(c for c in plan.candidates if c.role != "control" or c.training in trainings)
        plan = replace(plan, candidates=kept, row=replace(plan.row, candidates=kept), refused={})
    return execute(plan, "mine", "0", "advisor fit mine", InProcess())


def printed(report):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))
    render(report, console)
    return console.export_text()


def test_distances_reach_the_report(monkeypatch):
    """With a `distance`, recommended and best control are followed over five distances, the detector is tried, and nothing else changes."""
    report, without = (fitted(name, monkeypatch, ["rl2", "dictionary"]) for name in ("far", "reach"))
    found = report.shift
    assert [p.distance for p in found.points] == list(DISTANCES) and all(p.control is not None for p in found.points)
    assert found.moves == "The place lies up to five times as far out" and report.to_shift == ""
    assert {n.name for n in found.noticed} == {"farthest", "actions"} and found.false_alarms <= 0.1
    assert "score at distance 0 to 1" in printed(report) and found.moves in printed(report)
    assert "as test tasks move off the training distribution" in page(report)
    assert [(c.name, c.returns, c.score) for c in report.candidates] == [
        (c.name, c.returns, c.score) for c in without.candidates
    ]


def test_without_shifted_tasks_the_report_says_how(monkeypatch):
    """Without the method actions are turned round all the same, and the report says what wasn't tested and shows code that would."""
    report = fitted("reach", monkeypatch, ["rl2"])
    assert [p.distance for p in report.shift.points] == [0.0] and [n.name for n in report.shift.noticed] == ["actions"]
    assert report.shift.says.startswith("How the score falls with distance was not tested")
    words, code = printed(report), environment.EXAMPLE.splitlines()
    assert "gives no shifted tasks" in words and all(line in words for line in code)
    assert "def shifted_tasks(self, n, seed, distance)" in page(report) and "was not measured in this run" in page(
        report
    )


def test_the_example_is_code_that_works():
    """The lines that the report shows make an environment without shifted tasks one that draws them at every distance."""
    namespace = {"np": np, "Reach": Reach}
    exec(f"class Mended(Reach):\n{environment.EXAMPLE}", namespace)
    spec = environment.look_over(lambda: gym.wrappers.TimeLimit(namespace["Mended"](), 10))
    assert spec.distances == DISTANCES
    assert len(environment.EXAMPLE.splitlines()) == 3


def test_shifted_tasks_without_a_distance_are_two_points(monkeypatch):
    """Tasks that are off the distribution and nothing more are distance 1; nothing is claimed of what lies between."""
    report = fitted("far_at_once", monkeypatch, ["rl2"])
    assert [p.distance for p in report.shift.points] == [0.0, 1.0]
    assert report.shift.halves_at is None and report.shift.overtaken_at is None
    assert "takes no `distance`" in printed(report)


def test_none_reliable_says_where_it_breaks(monkeypatch):
    """For a shifted scenario the fit follows the fall with distance, and trains on wider and wider tasks."""
    report = fitted("far", monkeypatch, ["rl2"], test_tasks="shifted")
    assert report.recommendation == "none_reliable" and len(report.shift.points) == 5
    assert [w.width for w in report.shift.widths] == list(train.WIDTHS)
    assert "To cover means" in report.shift.says


def test_what_is_lost_is_counted_in_what_is_reached_in_training():
    """Without a best return, scores off the training distribution keep its scale: the best out there isn't 1 by definition."""
    facts = {"training_tasks": "distribution", "test_tasks": "shifted"}
    advice = recommend({name: Known(value, 1.0, "file") for name, value in facts.items()}, BOOK)
    plan = environment.substitute(plan_for(advice, None, "smoke", 2), "tests.fit.small:far")

    def outcomes(**returns):
        noise = np.random.default_rng(0)
        return [Outcome({n: v + noise.normal(0, 0.1, (1, 20)) for n, v in returns.items()}, 0) for _ in range(2)]

    made_up = {
        "references": outcomes(
            **{"random": -10.0, "oracle": np.nan, "shifted/random": -30.0, "shifted/oracle": np.nan}
        ),
        "pearl": outcomes(believing=0.0, shifted=-28.0),
        "rl2": outcomes(shifted=-26.0),
    }
    scores = {c.name: stage._scores(plan, c, made_up).mean() for c in plan.candidates if c.training in ("pearl", "rl2")}
    assert scores == pytest.approx({"same distribution": 1.0, "PEARL, shifted": 0.2, "RL², shifted": 0.4}, abs=0.02)


def test_known_tasks_are_moved_with_their_ids(monkeypatch):
    """In multi-task training the i-th moved task stands in the place of the i-th known one, and the policy is told its number."""
    family = Gym(far, 10, tasks=4)
    known, moved = family.catalogue(), family.moved(1.0)
    assert torch.allclose(moved.catalogue(), 5 * known)
    assert moved.ids(moved.catalogue()).tolist() == family.ids(known).tolist() == [0, 1, 2, 3]
    drawn = moved.sample_known(30, seeded())
    assert torch.equal(moved.catalogue()[moved.ids(drawn)], drawn) and len(moved.ids(drawn).unique()) == 4
    assert family.ids(family.sample(3, seeded())).tolist() == [-1, -1, -1]
    report = fitted(
        "far", monkeypatch, ["multi_task_hidden"], training_tasks="known_set", test_tasks="same_as_training"
    )
    assert report.recommendation == "multi_task" and len(report.shift.points) == 5 and report.shift.noticed


def test_moved_families_share_their_environments():
    """At distance 0 the tasks are the family's own, farther off those of the environment; episodes of all places use the same copies."""
    made = []

    def make():
        made.append(1)
        return far()

    family = Gym(make, 10)
    tasks = {d: family.moved(d).sample(3, seeded()) for d in DISTANCES}
    assert torch.equal(tasks[0.0], family.sample(3, seeded()))
    for distance, rows in tasks.items():
        assert torch.allclose(rows, (1 + 4 * distance) * tasks[0.0], atol=1e-6)
        there = family.moved(distance)
        there.step(rows, there.reset(rows), torch.zeros(3, 1), seeded())
    assert len(made) == 4  # one to be asked, and one for each row
    assert torch.equal(family.shifted(3, seeded()), tasks[1.0])


def test_what_shifted_tasks_takes_is_read_from_it():
    """A parameter `distance` is used, none isn't missed; the first line of its docstring says what it moves."""

    def far(n, seed, distance=1.0):
        """Heavier loads.

        And more.
        """

    assert moves_of(far) == ({"tasks": "Heavier loads"}, DISTANCES, True)
    assert moves_of(lambda n, seed: []) == ({"tasks": "tasks as your shifted_tasks draws them"}, (0.0, 1.0), False)
    assert moves_of(None) == ({}, (0.0,), False)
    assert moves_of(max)[1:] == ((0.0, 1.0), False)
    unnamed = Gym(reach, 10)
    unnamed._free[0].unwrapped.shifted_tasks = lambda n, seed, how_far: []
    with pytest.raises(Faulty, match=r"must take \(n, seed\) or \(n, seed, distance\), not \(n, seed, how_far\)"):
        unnamed.shifted(3, seeded())


def balancing(family, tasks, seed):
    """A controller that balances poles of ordinary length, and adapts to nothing."""
    state, total = family.reset(tasks), torch.zeros(len(tasks))
    for _ in range(family.horizon):
        x, speed, angle, turn = family.observe(state).unbind(-1)
        state, reward, _ = family.step(tasks, state, (angle + turn + 0.05 * x + 0.2 * speed > 0).long(), seeded(seed))
        total = total + reward
    return total[:, None]


def test_a_longer_pole_is_noticed():
    """On a real cart-pole poles ten times as long and actions turned round are noticed in at least 90 % of tasks, with few false alarms."""
    family = Gym(cartpole, 40)
    found = [shift.measure(family, balancing, tasks=20, seed=s, watched=(60, 120, 60)) for s in range(2)]
    known = [shift.references(family, tasks=20, seed=s) for s in range(2)]
    report = shift.report(found, known)
    shares = {n.name: n.share for n in report.noticed}
    assert report.false_alarms <= 0.075
    assert shares["farthest"] >= 0.9 and shares["actions"] >= 0.9
    assert report.points[0].noticed < report.points[2].noticed + 1e-9


def test_wide_observations_are_not_watched(monkeypatch):
    """Observations of more numbers than the detector's model can take in are tested at each distance, without a detector."""
    monkeypatch.setattr(environment, "_WIDEST", 1)
    report = fitted("far", monkeypatch, ["rl2"])
    assert len(report.shift.points) == 5 and report.shift.noticed == () and report.shift.false_alarms is None
    assert "alarm" not in report.shift.says and "Alarm" not in page(report)


def test_a_best_return_below_random_is_named_after_training(monkeypatch):
    """Where a best return turns out to be none only in the tasks that are scored, the error names it; there is no traceback."""
    monkeypatch.setattr(
        environment,
        "look_over",
        lambda *_: environment.Spec(10, False, 0, True, DISTANCES, False, (0.0,), (1.0,), 1.0, -1.0),
    )
    monkeypatch.setattr(Reach, "best_return", lambda self, task: -99.0, raising=False)
    with pytest.raises(environment.BadEnvironment, match="best_return says -99"):
        fitted("reach", monkeypatch, ["rl2"])


def test_every_job_of_a_seed_plays_the_same_moved_tasks(monkeypatch):
    """Recommended, controls and references are asked for as many tasks with the same seeds, so that scores compare like with like."""
    monkeypatch.setattr(environment, "TESTED", 6)
    facts = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "adaptation_gradients": "allowed",
             "task_belief": "not_required"}  # fmt: skip
    advice = recommend({name: Known(value, 1.0, "file") for name, value in facts.items()}, BOOK)
    plan = environment.substitute(plan_for(advice, None, "smoke", 2), "tests.fit.small:far")
    moved = [j for j in jobs(plan) if j.shift]
    assert {j.training for j in moved} == {"maml", "rl2", "pearl", "maml_pretrained", "dictionary", "references"}
    assert {j.shift["tasks"] for j in moved} == {6} and [j.training for j in moved if not j.shift["control"]] == [
        "maml",
        "maml",
    ]
