from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np
import pytest

from advisor.fit import execute, jobs
from advisor.fit.controls import best_order
from advisor.fit.plan import STAND_INS, Candidate, Plan
from advisor.fit.train import run

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


@pytest.mark.parametrize("row", STAND_INS, ids=lambda row: f"{row.verdict}-{row.family}")
def test_equal_budgets(row):
    """All trained candidates of a stand-in take the same number of environment steps, within 10 % where episodes may end early."""
    for budget in ("smoke", "standard"):
        steps = {}
        for name, settings in row.settings[budget].items():
            if name != "maml_scratch":  # it is not trained
                steps[name] = expected_steps(row, name, settings)
        assert max(steps.values()) <= 1.1 * min(steps.values()), steps


def expected_steps(row, name, settings):
    """Environment steps of a full training, from a training cut to one or two iterations and scaled up."""
    cut = [replace_iterations(row, name, settings, n) for n in (1, 2)]
    return cut[0] + (settings["iterations"] - 1) * (cut[1] - cut[0])


def replace_iterations(row, name, settings, n):
    plan = plan_for(row, settings={name: {**settings, "iterations": n}})
    only = replace(plan, candidates=tuple(c for c in plan.candidates if c.training == name)[:1])
    return run(replace(jobs(only)[0], tasks=min(row.tasks, 20))).environment_steps


def test_same_job_same_result():
    """A job's returns depend on nothing but the job: twice the same, with another seed another."""
    row = STAND_INS[0]
    first, second = jobs(plan_for(row))[:2]
    once, again, other = run(first), run(first), run(second)
    assert np.array_equal(once.returns["known"], again.returns["known"])
    assert not np.array_equal(once.returns["known"], other.returns["known"])


def test_executor_makes_no_difference():
    """Worker processes and this process give the same report, but for CPU seconds, and progress is told after each job."""
    plan, told = plan_for(STAND_INS[0]), []
    here = execute(plan, "s", "0", "again", Here()).as_dict()
    apart = execute(plan, "s", "0", "again", None, lambda *told_of: told.append(told_of)).as_dict()
    for report in (here, apart):
        report.pop("cpu_seconds")
        for candidate in report["candidates"]:
            candidate.pop("cpu_seconds")
    assert here == apart
    assert [done for _, done, _ in told] == list(range(len(jobs(plan)) + 1))


def test_better_control_is_admitted_to_be_better():
    """With the worse training put forward as the recommendation, real training ends in "does not fit" and names the better control."""
    row = replace(
        STAND_INS[0],
        family_settings={"tasks": 6},
        candidates=(
            Candidate("task hidden", "recommended", "the worse one, on purpose", "multi_task_hidden", "hidden"),
            Candidate("task known", "control", "the better one", "multi_task", "known"),
            *(c for c in STAND_INS[0].candidates if c.role == "reference"),
        ),
    )
    report = execute(
        plan_for(row, seeds=3, settings=dict.fromkeys(TINY, {"iterations": 25})), "s", "0", "again", Here()
    )
    assert report.verdict == "does_not_fit"
    assert "`task known`" in report.reason


def test_order_of_the_dictionary():
    """The policies are tried in the order in which each adds most on the training tasks."""
    returns = np.array([[0.0, 0.0, 9.0], [5.0, 5.0, 0.0], [5.0, 4.0, 0.0]])  # (id, task)
    assert best_order(returns, 2) == [1, 0]
    assert best_order(returns, 5) == [1, 0, 2]
