"""Stage 6: Recommendation + budget -> FitReport: the recommended implementation is trained beside its rivals, and judged.

Importing this loads no torch; it is the workers that train.
"""

import os
import platform
import shlex
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context

import numpy as np

from ..engine import Recommendation
from ..rulebook import Rulebook
from . import train
from .judge import Interval, Judgement, interval, judge, normalise
from .plan import Candidate, Plan, make
from .report import CandidateReport, FitReport, render
from .train import Job, Outcome

__all__ = ["CandidateReport", "FitReport", "Interval", "Plan", "execute", "render", "run"]

Progress = Callable[[str, int, int], None]
Outcomes = Mapping[str, list[Outcome]]  # training -> outcome of each seed


def run(
    scenario_id: str,
    recommendation: Recommendation,
    book: Rulebook,
    *,
    family: str | None = None,
    budget: str = "smoke",
    seeds: int | None = None,
    executor: Executor | None = None,
    on_progress: Progress | None = None,
) -> FitReport:
    """Trains the recommended implementation and its admitted controls on a stand-in family, and judges the recommendation.

    `family` fits that algorithm in place of the recommended one. Trainings are jobs for any `executor` of processes; the report doesn't
    depend on which, but for its CPU seconds. `on_progress(what ended, done, total)` is called after each job. Raises NoProject where
    there is nothing to train, AdvisorError for an unknown family or budget and fewer than two seeds.
    """
    plan = make(recommendation, family, budget, seeds)
    command = ["advisor", "fit", scenario_id, "--budget", plan.budget, "--seeds", str(plan.seeds)]
    return execute(plan, scenario_id, book.version, shlex.join(command), executor, on_progress)


def execute(
    plan: Plan,
    scenario_id: str,
    rules_version: str,
    command: str,
    executor: Executor | None = None,
    on_progress: Progress | None = None,
) -> FitReport:
    """Runs a plan and reports."""
    outcomes = _train(plan, executor, on_progress)
    scores = {c.name: _scores(plan, c, outcomes) for c in plan.candidates if c.role != "reference"}
    recommended = next(c.name for c in plan.candidates if c.role == "recommended")
    judgement = judge(scores[recommended], {n: s for n, s in scores.items() if n != recommended})
    lines = [_line(plan, c, outcomes, scores, judgement) for c in plan.row.candidates]
    return FitReport(
        scenario=scenario_id,
        recommendation=plan.verdict,
        stand_in=plan.stand_in,
        verdict=judgement.verdict,
        reason=_shift_reason(judgement) if plan.verdict == "none_reliable" else judgement.reason,
        score=judgement.score,
        more_seeds=judgement.more_seeds,
        candidates=tuple(lines),
        stage=plan.row.stage,
        seeds=plan.seeds,
        budget=plan.budget,
        settings={
            "family": plan.row.family,
            "family_settings": dict(plan.row.family_settings),
            "test": dict(plan.row.test),
            "test_tasks": plan.row.tasks or plan.row.family_settings["tasks"],
            "tasks_per_score": plan.row.pool,
            "scored_stage": plan.row.scored,
            "training": {name: dict(settings) for name, settings in plan.settings.items()},
        },
        versions={**{name: _version(name) for name in ("metarl-advisor", "torch", "numpy")},
                  "python": platform.python_version(), "rules": rules_version},
        command=command,
        cpu_seconds=round(sum(o.cpu_seconds for seeds in outcomes.values() for o in seeds), 2),
    )  # fmt: skip


def jobs(plan: Plan) -> list[Job]:
    """Every training of a plan that an admitted candidate needs, for each seed; the longest, the recommended one, first."""
    row = plan.row
    test_sets = tuple(sorted({c.tested_on for c in plan.candidates}))
    needed = dict.fromkeys(c.training for c in plan.candidates if c.training != "references")
    return [
        Job(
            name,
            row.family,
            dict(row.family_settings),
            dict(plan.settings.get(name, {})),
            dict(row.test),
            row.tasks,
            seed,
            test_sets,
        )
        for name in (*needed, "references")
        for seed in range(plan.seeds)
    ]


def _train(plan: Plan, executor: Executor | None, on_progress: Progress | None) -> Outcomes:
    work = jobs(plan)
    with ExitStack() as stack:
        if executor is None:
            workers = min(2, os.cpu_count() or 1)
            executor = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
        futures = {executor.submit(train.run, job): job for job in work}
        try:
            if on_progress is not None:
                on_progress("training", 0, len(work))
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if on_progress is not None:
                    job = futures[future]
                    on_progress(f"{job.training.replace('_', ' ')}, seed {job.seed}", done, len(work))
        except BaseException:  # a failed job or Ctrl-C: what has not begun never begins
            for future in futures:
                future.cancel()
            raise
    outcomes: dict[str, list[Outcome]] = {}
    for future, job in futures.items():  # in the order of submission, whatever ended first
        outcomes.setdefault(job.training, []).append(future.result())
    return outcomes


def _returns(plan: Plan, candidate: Candidate, outcomes: Outcomes) -> list[train.Returns]:
    """Returns (stage, task) of each seed."""
    return [outcome.returns[candidate.outcome] for outcome in outcomes[candidate.training]]


def _scored(plan: Plan, returns: list[train.Returns]) -> train.Returns:
    """The returns that count, (seed, task)."""
    return np.stack([r.mean(0) if plan.row.scored == "mean" else r[-1] for r in returns])


def _scores(plan: Plan, candidate: Candidate, outcomes: Outcomes) -> train.Returns:
    prefix = "" if candidate.tested_on == "held_out" else f"{candidate.tested_on}/"
    ends = [_scored(plan, [o.returns[prefix + name] for o in outcomes["references"]]) for name in ("random", "oracle")]
    return normalise(_scored(plan, _returns(plan, candidate, outcomes)), ends[0], ends[1], plan.row.pool)


def _line(
    plan: Plan, candidate: Candidate, outcomes: Outcomes, scores: Mapping[str, train.Returns], judgement: Judgement
) -> CandidateReport:
    name, role, says = candidate.name, candidate.role, candidate.says
    if name in plan.refused:
        return CandidateReport(name, role, says, False, plan.refused[name], (), (), None, None, 0, 0.0)
    returns, ran = _returns(plan, candidate, outcomes), outcomes[candidate.training]
    score = judgement.score if role == "recommended" else interval(scores[name]) if name in scores else None
    return CandidateReport(
        name=name,
        role=role,
        says=says,
        admitted=True,
        reason="",
        returns=tuple(float(x) for x in _scored(plan, returns).mean(1)),
        stages=tuple(float(x) for x in np.stack([r.mean(1) for r in returns]).mean(0)),
        score=score,
        difference=judgement.differences.get(name),
        environment_steps=ran[0].environment_steps,
        cpu_seconds=round(sum(o.cpu_seconds for o in ran), 2),
    )


def _shift_reason(judgement: Judgement) -> str:
    """The same judgement, worded for a warning: the difference is the fall from the training distribution to the shifted tasks."""
    (fall,) = judgement.differences.values()
    size = f"{fall.figure:.2f} ({fall.low:.2f} to {fall.high:.2f}) of the way from random to the oracle"
    if judgement.verdict == "fits":
        return f"the warning is borne out: off its training distribution the learner falls by {size}"
    if judgement.verdict == "does_not_fit":
        return f"the warning is not borne out here: off its training distribution the learner changes by {-fall.figure:.2f} of the way"
    return f"the fall off the training distribution, {size}, is not clear of zero"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
