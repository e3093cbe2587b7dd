import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv, Continuous_MountainCarEnv, PendulumEnv

from advisor.engine import recommend
from advisor.errors import AdvisorError
from advisor.executors import InProcess
from advisor.facts import Known
from advisor.fit import environment, execute, jobs, plan_for, train
from advisor.rulebook import load as load_rules
from reference_impls.tasks.gym import Gym, load
from tests.fit.small import Far, Reach, faulty, reach

HERE = "tests.fit.test_environment"
BOOK = load_rules()


class PendulumTasks(PendulumEnv):
    """Mass and length differ by task."""

    def sample_tasks(self, n, seed):
        return np.random.default_rng(seed).uniform(0.5, 1.5, (n, 2))

    def set_task(self, task):
        self.m, self.l = float(task[0]), float(task[1])


class CartPoleTasks(CartPoleEnv):
    """The pole's length differs by task; tasks are plain dicts, as no array has to be."""

    def sample_tasks(self, n, seed):
        return [{"length": length} for length in np.random.default_rng(seed).uniform(0.2, 2.0, n)]

    def set_task(self, task):
        self.length = task["length"]
        self.polemass_length = self.masspole * self.length


class MountainCarTasks(Continuous_MountainCarEnv):
    """The motor's power against gravity differs by task."""

    def sample_tasks(self, n, seed):
        return np.random.default_rng(seed).uniform(0.001, 0.002, n)

    def set_task(self, task):
        self.power = float(np.asarray(task).item())


def pendulum():
    return gym.wrappers.TimeLimit(PendulumTasks(), 20)


def cartpole():
    return gym.wrappers.TimeLimit(CartPoleTasks(), 20)


def mountain_car():
    return gym.wrappers.TimeLimit(MountainCarTasks(), 20)


def own_plan(family, factory, monkeypatch, steps=1000, budget="smoke"):
    monkeypatch.setattr(environment, "STEPS", {"smoke": steps})
    monkeypatch.setattr(environment, "TESTED", 3)
    monkeypatch.setattr(train, "TUNING_TASKS", 3)
    facts = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "adaptation_gradients": "allowed",
             "task_belief": "not_required"}  # fmt: skip
    advice = recommend({name: Known(value, 1.0, "file") for name, value in facts.items()}, BOOK)
    return environment.substitute(plan_for(advice, family, budget, 2), factory)


@pytest.mark.parametrize(
    ("family", "name"),
    [("multi_task", "cartpole"), ("maml", "mountain_car"), ("maml", "cartpole"), ("rl2", "pendulum"), ("rl2", "cartpole"),
     ("pearl", "pendulum"), ("pearl", "cartpole")],
)  # fmt: skip
def test_all_implementations_and_controls_run(family, name, monkeypatch):
    """Every training of a fit runs on variations of classic control, discrete or continuous, and gives finite returns of each task."""
    plan = own_plan(family, f"{HERE}:{name}", monkeypatch)
    assert not [c.name for c in plan.candidates if c.training not in {j.training for j in jobs(plan)}]
    for job in jobs(plan):
        if job.seed == 0 and not (name == "cartpole" and job.training in ("maml_pretrained", "rl2_memoryless")):
            outcome = train.run(job)
            known = {o: r for o, r in outcome.returns.items() if o not in ("oracle", "greedy")}
            assert known and all(np.isfinite(r).all() and r.ndim == 2 for r in known.values()), job.training


def test_report_on_an_own_environment(monkeypatch):
    """A fit on the user's environment names it, reports returns in its own unit, and says that score 1 is the best candidate."""
    plan = own_plan("rl2", "tests.fit.small:reach", monkeypatch)
    report = execute(plan, "mine", "0", "advisor fit mine", InProcess())
    assert report.stand_in.startswith("Your environment tests.fit.small:reach") and "no best return" in report.stand_in
    random = next(c for c in report.candidates if c.name == "random")
    steps = Gym(reach, 10)
    generator = torch.Generator().manual_seed(0)
    own = float(steps.random_return(steps.sample(50, generator), generator).mean())
    assert np.mean(random.returns) == pytest.approx(own, abs=0.4 * abs(own))
    assert max(c.score.figure for c in report.candidates if c.score) <= 2.0


def test_wrapped_rows_are_the_environment():
    """Rows of the task family see what the environment itself shows and pays, step by step, each in its own task."""
    family, generator = Gym(pendulum, 20), torch.Generator().manual_seed(0)
    tasks = family.sample(3, generator)
    seeds = family._random.getstate()
    state = family.reset(tasks)
    family._random.setstate(seeds)
    plain = [PendulumTasks() for _ in tasks]
    seen = []
    for task, own in zip(tasks.tolist(), plain, strict=True):
        own.set_task(np.array([k for row, k in family._tasks.items() if list(row) == task][0]))
        seen.append(own.reset(seed=family._random.getrandbits(31))[0])
    for _ in range(5):
        assert np.array_equal(family.seen(state).numpy(), np.stack(seen))
        action = family.random_action(3, generator)
        state, reward, terminated = family.step(tasks, state, action, generator)
        steps = [own.step(2 * row.numpy()) for own, row in zip(plain, action, strict=True)]
        seen = [s[0] for s in steps]
        assert reward.numpy() == pytest.approx([float(s[1]) for s in steps], rel=1e-5)
        assert not terminated.any()


def test_ended_rows_stay_ended():
    """Nothing resets by itself: a row that has terminated shows its last observation and is paid nothing more."""
    family, generator = Gym(cartpole, 20), torch.Generator().manual_seed(0)
    tasks = family.sample(1, generator)
    state, last = family.reset(tasks), None
    for _ in range(20):
        state, reward, terminated = family.step(tasks, state, torch.tensor([0]), generator)
        if last is not None:
            assert float(reward) == 0.0 and bool(terminated) and torch.equal(family.seen(state), last)
        elif bool(terminated):
            last = family.seen(state)
    assert last is not None


def test_scores_play_discrete_actions():
    """With scores for actions the highest is played, and a family of discrete actions counts as continuous."""
    family = Gym(cartpole, 20, scores=True)
    assert not family.discrete and family.action_size == 2
    assert family._chosen(torch.tensor([[0.1, 0.3], [0.9, -0.2]])) == [1, 0]


def test_only_those_that_need_scores_play_by_them(monkeypatch):
    """On an environment of discrete actions RL² and MAML draw the actions themselves, PEARL and multi-task play by scores, and this is said."""
    plan = own_plan("rl2", f"{HERE}:cartpole", monkeypatch)
    job = jobs(plan)[0]
    assert train.family_of(job).discrete and not train.family_of(job, continuous=True).discrete
    assert "PEARL and multi-task play discrete actions as the highest of a score each" in plan.stand_in
    assert "highest of a score" not in own_plan("rl2", f"{HERE}:pendulum", monkeypatch).stand_in


FAULTS = {
    "nan reward": "step 3 of an episode .* the reward is nan",
    "nan observation": "step 3 of an episode .* is no finite number",
    "shape": r"has shape \(3,\), the observation space says \(2,\)",
    "exception": r"ZeroDivisionError: the arm is stuck \(small.py, line \d+\)",
    "four values": "step must give .observation, reward, terminated, truncated, info.",
    "cut short": "cut off .truncated. before the time limit of 10 steps",
    "task not set": "set_task changes nothing",
    "not reset": "a task is not reset",
    "unseeded tasks": "gave other tasks for the same seed",
    "chance without seed": "two different episodes",
}


FAR_FAULTS = {
    "shifted raises": r"at distance 0.75: shifted_tasks raised KeyError: 'no such place' \(small.py, line \d+\)",
    "shifted few": r"shifted_tasks\(4, seed, distance=0.25\) must give 4 tasks",
    "shifted rows": "a task of 2 numbers where others have 1",
    "shifted unseeded": r"shifted_tasks\(n, seed\) gave other tasks for the same seed",
    "shifted same": "gives the tasks that sample_tasks gives",
    "shifted alike": "the same tasks at distance 0.25 and 1",
    "far nan": r"off the training distribution, at distance .* the reward is nan",
}


@pytest.mark.parametrize("fault", FAR_FAULTS)
def test_faults_off_the_training_distribution_are_named(fault):
    """What fails in shifted tasks alone is found before any training, with the distance at which it fails."""
    with pytest.raises(AdvisorError, match=FAR_FAULTS[fault]) as refused, environment.faults():
        environment.look_over(faulty(fault, kind=Far), 10)
    assert "docs/own-environment.md" in refused.value.hint


@pytest.mark.parametrize(("said", "words"), [(-99.0, "random actions reach"), ("much", "must give a number")])
def test_a_best_return_that_is_none_is_named(said, words, monkeypatch):
    """A best return that is no number, or lower than what random actions reach, is found before any training."""
    monkeypatch.setattr(Reach, "best_return", lambda self, task: said, raising=False)
    with pytest.raises(AdvisorError, match=words), environment.faults():
        environment.look_over(reach, 10)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault):
    """A faulty environment is refused before any training with an error that says what, where, and where to read on."""
    with pytest.raises(AdvisorError, match=FAULTS[fault]) as refused, environment.faults():
        environment.look_over(
            faulty(fault, None if fault == "four values" else 10), 10
        )  # a wrapper would trip over four
    assert refused.value.code == "bad-environment" and "docs/own-environment.md" in refused.value.hint


def test_endless_episodes_are_named(monkeypatch):
    """Without a time limit an environment that never ends is refused with the option to give one, and with it accepted."""
    monkeypatch.setattr(environment, "_PATIENCE", 200)
    with pytest.raises(AdvisorError, match="never ends.*--horizon"), environment.faults():
        environment.look_over(faulty("", limit=None))
    assert environment.look_over(faulty("", limit=None), 10).horizon == 10


def test_faults_in_training_are_named(monkeypatch):
    """A fault that shows only later, in a worker's training, is the same clear error and no traceback."""
    plan = own_plan("rl2", "tests.fit.small:reach", monkeypatch)
    monkeypatch.setattr(Reach, "fault", "nan reward")
    with pytest.raises(AdvisorError, match="the reward is nan"):
        execute(plan, "mine", "0", "advisor fit mine", InProcess())


@pytest.mark.parametrize(
    ("factory", "words"),
    [("nowhere.at_all:make", "can't be imported"), ("tests.fit.small:Missing", "no callable"), ("tests.fit.small", "no package.module:factory"),
     (f"{HERE}:Plain", "has no `sample_tasks`")],
)  # fmt: skip
def test_wrong_factories_are_named(factory, words):
    """A factory that can't be found, or whose environment lacks the protocol, is named with what is missing."""
    with pytest.raises(AdvisorError, match=words), environment.faults():
        environment.look_over(factory)


def Plain():
    return gym.make("CartPole-v1")


def test_shifted_fit_needs_shifted_tasks():
    """Where the fit is about a shifted test distribution, an environment without shifted_tasks is refused with that name."""
    facts = {"training_tasks": "distribution", "test_tasks": "shifted"}
    advice = recommend({name: Known(value, 1.0, "file") for name, value in facts.items()}, BOOK)
    with pytest.raises(AdvisorError, match="shifted_tasks") as refused:
        environment.substitute(plan_for(advice, None, "smoke", 2), "tests.fit.small:reach")
    assert environment.EXAMPLE in refused.value.hint


def test_load_gives_the_callable():
    """A factory is found by its module and name."""
    assert load("tests.fit.small:reach") is reach


def test_long_is_standard_with_more_of_it():
    """The budget `long` trains ten times as many iterations as `standard`, with twice the seeds, and nothing else differs."""
    facts = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "adaptation_gradients": "not_allowed",
             "task_belief": "not_required"}  # fmt: skip
    advice = recommend({name: Known(value, 1.0, "file") for name, value in facts.items()}, BOOK)
    standard, longer = (plan_for(advice, None, budget, None) for budget in ("standard", "long"))
    assert (longer.budget, longer.seeds, longer.row) == ("long", 2 * standard.seeds, standard.row)
    for name, settings in standard.settings.items():
        assert longer.settings[name] == {**settings, "iterations": 10 * settings["iterations"]}
