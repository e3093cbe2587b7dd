from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np
import pytest
import torch

from advisor import fit
from advisor.fit import controls, execute, jobs, train
from advisor.fit.families import FAMILIES, KNOWN_TASKS
from advisor.fit.plan import Candidate, Plan, planned
from advisor.fit.train import run
from reference_impls.tasks.catalogue import Catalogue
from reference_impls.tasks.scores import Scores
from tests.fit.small import STAND_INS

KNOWN = next(r for r in STAND_INS if r.id == "catalogue")
KNOWN = replace(
    KNOWN, candidates=tuple(c for c in KNOWN.candidates if c.training.startswith(("multi_task", "references")))
)  # the others are run by tests of their own
TINY = {
    "multi_task": {"iterations": 2}, "multi_task_hidden": {"iterations": 2}, "multi_task_separate": {"iterations": 2},
    "maml": {"iterations": 1}, "maml_pretrained": {"iterations": 2, "inner_steps": 0}, "maml_scratch": {},
    "rl2": {"iterations": 3}, "rl2_memoryless": {"iterations": 3}, "pearl": {"iterations": 1}, "dictionary": {"iterations": 1},
}  # fmt: skip


class Here(Executor):
    """Runs each job at once in this process."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def plan_for(row, seeds=2, settings=TINY):
    return Plan(row.verdict, "a stand-in", row, row.candidates, {}, settings, "smoke", seeds)


def everything(row, budget="smoke", seeds=2):
    """The plan with everybody in it whom the form of the family allows."""
    return planned(row, {}, True, budget, seeds)


@pytest.mark.parametrize("budget", ["smoke", "standard"])
@pytest.mark.parametrize("row", STAND_INS, ids=lambda row: row.id)
def test_equal_budgets(row, budget):
    """All trained candidates of a stand-in are granted the same number of environment steps, within 10 %."""
    plan = everything(row, budget)
    granted = {name: steps_of(row, name, dict(s)) for name, s in plan.settings.items() if name != "maml_scratch"}
    family = next(f for f in FAMILIES.values() if f.path == row.family)
    wanted = family.steps[budget == "standard"]
    assert granted and all(0.9 * wanted <= steps <= 1.1 * wanted for steps in granted.values()), (wanted, granted)


def steps_of(row, training, settings):
    """Environment steps of a training, counted by hand from its settings and the defaults of its implementation."""
    horizon = next(f for f in FAMILIES.values() if f.path == row.family).horizon
    if training.startswith("maml"):
        return (
            settings["iterations"]
            * settings.get("tasks", 20)
            * row.test["episodes"]
            * horizon
            * (1 + settings.get("inner_steps", 1))
        )
    if training.startswith("rl2"):
        return settings["iterations"] * settings.get("tasks", 512) * settings["episodes"] * horizon
    if training == "pearl":
        episodes = settings["iterations"] if "Diagnosis" in row.family else 10 + 3 * settings["iterations"]
        return settings["train_tasks"] * episodes * horizon
    if training.startswith("in_context"):
        return settings["iterations"] * 128 * 4
    tasks = KNOWN_TASKS if training == "dictionary" else row.family_settings["tasks"]
    return settings["iterations"] * settings["episodes"] * tasks * horizon


@pytest.mark.parametrize("training", TINY)
def test_granted_steps_are_made(training, monkeypatch):
    """An outcome's environment steps are those that its training has really made, counted at the environment."""
    made = {"steps": 0, "training": False}

    class Counted(Catalogue):
        def step(self, tasks, state, action, generator):
            made["steps"] += made["training"] * state[..., 0].numel()
            return super().step(tasks, state, action, generator)

    def counting(*arguments):
        made["training"] = True
        result = trained_on(*arguments)
        made["training"] = False
        return result

    trained_on, small = train.trained_on, {"episodes": 2} if training.startswith(("rl2", "multi", "dict")) else {}
    small |= {"tasks": 3} if training.startswith(("rl2", "maml")) else {"train_tasks": 3} if training == "pearl" else {}
    for module in (train, controls):
        monkeypatch.setattr(module, "trained_on", counting)
        monkeypatch.setattr(module, "family_of", lambda job, continuous=False: Counted(4))
    row = replace(KNOWN, test={"steps": 1, "episodes": 2})
    job = replace(
        jobs(plan_for(row, settings=TINY))[0], training=training, settings={**TINY[training], **small}, shift={}
    )
    assert run(job).environment_steps == made["steps"]


@pytest.mark.parametrize("row", STAND_INS, ids=lambda row: row.id)
def test_everybody_runs_on_every_family(row):
    """Every training of every stand-in runs on its family, discrete or continuous, and gives finite returns of each held-out task."""
    plan = everything(row)
    for job in jobs(plan):
        if job.seed == 0 and "_wide_" not in job.training:
            fewer = {
                n: v
                for n, v in {"iterations": 1, "tasks": 10, "train_tasks": 5, "episodes": 1}.items()
                if n in job.settings
            }
            fewer |= {"gradient_steps": 1, "initial_episodes": 1, "meta_batch": 4} if job.training == "pearl" else {}
            fewer |= {"updates": 1} if job.training.startswith(("multi", "dict")) else {}
            outcome = run(replace(job, settings={**job.settings, **fewer}, tasks=min(job.tasks, 4), shift={}))
            wanted = {c.outcome for c in plan.candidates if c.training == job.training}
            assert wanted <= set(outcome.returns) | {"oracle"}, job.training
            held = {n: r for n, r in outcome.returns.items() if n in wanted}
            assert all(
                np.isfinite(r).all() and r.shape[1] in (4, row.family_settings.get("tasks")) for r in held.values()
            )


def test_scores_play_the_highest():
    """A family of discrete actions can be played by scores: the highest is the action, and everything else stays as it was."""
    from reference_impls.tasks.regimes import Regimes

    family, generator = Regimes(), torch.Generator().manual_seed(0)
    tasks = family.sample(3, generator)
    state, action = family.reset(tasks), torch.tensor([0, 2, 1])
    scores = torch.nn.functional.one_hot(action, 4) - 0.5
    played = Scores(family).step(tasks, state, scores, torch.Generator().manual_seed(1))
    plain = family.step(tasks, state, action, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(played, plain, strict=True))
    assert not Scores(family).discrete and Scores(family).horizon == family.horizon
    assert not Scores(family).moved(1.0).discrete and Scores(family).moved(1.0).level == -3


def test_same_job_same_result():
    """A job's returns depend on nothing but the job: twice the same, with another seed another."""
    row = KNOWN
    first, second = jobs(plan_for(row))[:2]
    once, again, other = run(first), run(first), run(second)
    assert np.array_equal(once.returns["known"], again.returns["known"])
    assert not np.array_equal(once.returns["known"], other.returns["known"])


@pytest.fixture
def unmoved(monkeypatch):
    """Nothing is played off the training distribution: tests/fit/test_shift.py is about that."""
    monkeypatch.setattr(fit, "_movers", lambda plan: {})


def test_executor_makes_no_difference(unmoved):
    """Worker processes and this process give the same report, but for CPU seconds, and progress is told after each job."""
    plan, told = plan_for(KNOWN), []
    here = execute(plan, "s", "0", "again", Here()).as_dict()
    apart = execute(plan, "s", "0", "again", None, lambda *told_of: told.append(told_of)).as_dict()
    for report in (here, apart):
        report.pop("cpu_seconds")
        for candidate in report["candidates"]:
            candidate.pop("cpu_seconds")
    assert here == apart
    assert [done for _, done, _ in told] == list(range(len(jobs(plan)) + 1))


def test_better_control_is_admitted_to_be_better(unmoved):
    """With the worse training put forward as the recommendation, real training ends in "does not fit" and names the better control."""
    row = replace(
        KNOWN,
        family_settings={"tasks": 6},
        candidates=(
            Candidate("task hidden", "recommended", "the worse one, on purpose", "multi_task_hidden", "hidden"),
            Candidate("task known", "control", "the better one", "multi_task", "known"),
            *(c for c in KNOWN.candidates if c.role == "reference"),
        ),
    )
    report = execute(
        plan_for(row, seeds=3, settings=dict.fromkeys(TINY, {"iterations": 25})), "s", "0", "again", Here()
    )
    assert report.verdict == "does_not_fit"
    assert "`task known`" in report.reason
