"""Stage 6: Recommendation + budget -> FitReport: the recommended implementation is trained beside its rivals, and judged.

Importing this loads no torch; it is the workers that train.
"""

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import Recommendation
from ..errors import Stopped
from ..rulebook import Rulebook
from . import concerns, environment, train
from .judge import Interval, Judgement, interval, judge, normalise
from .page import Curve, RunReport, page
from .plan import SEEDS, Candidate, Plan, make
from .progress import Progress, carry_out, label, own_pool
from .report import CandidateReport, FitReport, render
from .resume import Store, write
from .shift import Shift
from .shift import report as shift_report
from .train import Job, Outcome

__all__ = [
    "CandidateReport",
    "FitReport",
    "Interval",
    "Plan",
    "RunReport",
    "execute",
    "jobs",
    "page",
    "render",
    "run",
    "write",
]

Outcomes = Mapping[str, list[Outcome]]  # training -> outcome of each seed
LONG = 10  # the budget `long`: so many times the training of `standard`, and twice its seeds


def run(
    scenario_id: str,
    recommendation: Recommendation,
    book: Rulebook,
    *,
    family: str | None = None,
    budget: str = "smoke",
    seeds: int | None = None,
    env: str | None = None,
    horizon: int | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    on_progress: Progress | None = None,
    folder: Path | None = None,
    resume: bool = False,
) -> RunReport:
    """Trains the recommended implementation and its admitted controls on a stand-in family, and judges the recommendation.

    `family` fits that algorithm in place of the recommended one. `env`, "package.module:factory", puts the user's own environment in the
    stand-in's place; `horizon` is its time limit in steps where it names none. Trainings are jobs for any `executor` of processes, or for
    `workers` processes of this machine (default two); the report doesn't depend on which, but for its CPU seconds.
    `on_progress(what runs, done, total)` is called at the start and after each job. With a `folder` each outcome is kept there, and
    `resume` goes on with the run that lies there. Ctrl-C gives a report of the seeds that are whole, marked by `unfinished`.

    Raises NoProject where there is nothing to train, AdvisorError for an unknown family or budget and fewer than two seeds,
    BadEnvironment for a faulty `env`, Stopped where Ctrl-C came before two seeds were whole, and what Store.open raises.
    """
    plan = plan_for(recommendation, family, budget, seeds, book, own=env is not None)
    if env is not None:
        plan = environment.substitute(plan, env, horizon)
    command = ["advisor", "fit", scenario_id, "--budget", plan.budget, "--seeds", str(plan.seeds)]
    command += [*(["--env", env] if env else []), *(["--horizon", str(horizon)] if horizon else [])]
    return execute(
        plan, scenario_id, book.version, shlex.join(command), executor, on_progress,
        workers=workers, folder=folder, resume=resume,
    )  # fmt: skip


def plan_for(
    recommendation: Recommendation,
    family: str | None,
    budget: str,
    seeds: int | None,
    book: Rulebook | None = None,
    own: bool = False,
) -> Plan:
    """The plan at a budget; `long` is the plan of `standard` with more iterations and seeds."""
    if budget != "long" or budget in SEEDS:
        return make(recommendation, family, budget, seeds, book, own)
    plan = make(recommendation, family, "standard", seeds, book, own)
    longer = {
        name: {k: LONG * v if k == "iterations" else v for k, v in settings.items()}
        for name, settings in plan.settings.items()
    }
    return replace(plan, budget="long", seeds=seeds or 2 * SEEDS["standard"], settings=longer)


def execute(
    plan: Plan,
    scenario_id: str,
    rules_version: str,
    command: str,
    executor: Executor | None = None,
    on_progress: Progress | None = None,
    *,
    workers: int | None = None,
    folder: Path | None = None,
    resume: bool = False,
) -> RunReport:
    """Runs a plan and reports; parameters and errors as for `run`."""
    versions = {**{name: _version(name) for name in ("metarl-advisor", "torch", "numpy")},
                "python": platform.python_version(), "rules": rules_version}  # fmt: skip
    work = jobs(plan)
    store = None if folder is None else Store.open(folder, work, versions, resume)
    held = [None] * len(work) if store is None else store.held()
    workers = workers or min(2, os.cpu_count() or 1)
    with ExitStack() as stack, environment.faults():
        place = executor or stack.enter_context(own_pool(workers))
        ahead = len(work) if executor is not None else workers
        found = carry_out(work, held, place, ahead, store.keep if store else None, on_progress)
    left = [job for job, outcome in zip(work, found, strict=True) if outcome is None]
    whole = [seed for seed in range(plan.seeds) if seed not in {job.seed for job in left}]
    if len(whole) < min(2, plan.seeds):
        ended = ", ".join(label(j) for j, o in zip(work, found, strict=True) if o is not None) or "none"
        hint = f"they are kept: go on with --run {folder} --resume" if folder else "--run DIR keeps what has ended"
        raise Stopped(f"stopped by Ctrl-C before two seeds were whole; ended: {ended}", hint=hint)
    outcomes: dict[str, list[Outcome]] = {}
    for job, outcome in zip(work, found, strict=True):
        if outcome is not None and job.seed in whole:
            outcomes.setdefault(job.training, []).append(environment.in_own_units(plan, outcome))
    report = _report(
        replace(plan, seeds=len(whole)), scenario_id, versions, command, outcomes, [label(j) for j in left]
    )
    if folder is not None:
        write(folder / "report.json", report.as_json())
    return report


def _report(
    plan: Plan, scenario_id: str, versions: dict[str, str], command: str, outcomes: Outcomes, left: Sequence[str]
) -> RunReport:
    scores = {c.name: _scores(plan, c, outcomes) for c in plan.candidates if c.role != "reference"}
    recommended = next(c.name for c in plan.candidates if c.role == "recommended")
    judgement = judge(scores[recommended], {n: s for n, s in scores.items() if n != recommended})
    lines = [_line(plan, c, outcomes, scores, judgement) for c in plan.row.candidates]
    verdict, reason = judgement.verdict, judgement.reason
    if plan.verdict == "none_reliable":
        reason = shift_reason(judgement)
    means = next((c.means for c in plan.candidates if c.name == judgement.better), "")
    if means:
        reason += f"; {means}"
    if left:
        verdict = "not_enough_evidence"
        reason = f"stopped before the end, with {len(left)} trainings left; on the {plan.seeds} seeds that are whole: {reason}"
    return RunReport(
        scenario=scenario_id,
        recommendation=plan.verdict,
        stand_in=plan.stand_in,
        verdict=verdict,
        reason=reason,
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
        versions=versions,
        command=command,
        cpu_seconds=round(_cpu_seconds(outcomes), 2),
        curves={c.name: _curve(plan, c, outcomes) for c in plan.candidates},
        unfinished=tuple(left),
        means=means,
        left_out=plan.row.left_out,
        shift=_shift(plan, outcomes),
        to_shift=plan.row.to_shift,
        concerns=_concerns(plan, outcomes),
    )


def jobs(plan: Plan) -> list[Job]:
    """Every training of a plan that an admitted candidate needs, for each seed; the longest, the recommended one, first."""
    row = plan.row
    test_sets = tuple(sorted({c.tested_on for c in plan.candidates}))
    needed = dict.fromkeys(c.training for c in plan.candidates if c.training != "references")
    lead = next(c.training for c in plan.candidates if c.role == "recommended")
    wider = {f"{lead}_wide_{w:g}": w for w in train.WIDTHS} if plan.verdict == "none_reliable" and row.distances else {}
    diagnosed = [] if plan.concerns is None else ["concerns"]
    return [
        Job(
            name,
            row.family,
            dict(row.family_settings),
            dict(plan.settings.get(lead if name in wider or name in diagnosed else name, {})),
            dict(row.test),
            row.tasks,
            seed,
            test_sets,
            _moves(plan, name == lead) if name in _movers(plan) or name in wider else {},
            _diagnosed(plan) if name in diagnosed else {},
        )
        for name in (*needed, *wider, *diagnosed, "references")
        for seed in range(plan.seeds)
    ]


def _movers(plan: Plan) -> dict[str, str]:
    """Training -> the candidate whose score is followed off the training distribution: the recommended first, then the controls."""
    found: dict[str, str] = {}
    for c in plan.candidates:
        if c.training == "references":
            found[c.training] = ""
        elif c.training in _MOVED:
            found.setdefault(c.training, c.name.removesuffix(", shifted"))
    return found


# The controls that are moved beside the recommended one; the others are as far behind or cost too much.
_MOVED = ("multi_task", "multi_task_hidden", "maml", "maml_pretrained", "rl2", "pearl", "dictionary", "references",
          "in_context", "in_context_tuned")  # fmt: skip


def _moves(plan: Plan, watched: bool) -> dict[str, Any]:
    """How much is played off the training distribution: a pool of tasks for each score, the agent `watched` by the detector or not."""
    row = plan.row
    tasks = 0 if row.tasks == 0 else 40 if row.pool == 1 else 10 * row.pool
    moves = {"tasks": tasks, "scored": row.scored, "control": not watched}
    return moves if row.family != environment.FAMILY else environment.less(plan, moves)


def _diagnosed(plan: Plan) -> dict[str, Any]:
    """Which trainings tell of the concerns, and on how many tasks."""
    wanted = plan.concerns
    return {} if wanted is None else {"kinds": list(wanted.kinds), "tasks": wanted.tasks, "told": wanted.told}


def _concerns(plan: Plan, outcomes: Outcomes) -> concerns.Diagnosis | None:
    """Which concerns of multi-task training were found, and what to try first."""
    if plan.concerns is None or "concerns" not in outcomes:
        return None
    return concerns.report([o.concerns for o in outcomes["concerns"]], plan.concerns)


def _shift(plan: Plan, outcomes: Outcomes) -> Shift | None:
    """What became of the scores off the training distribution, and whether the adaptation data alone told."""
    movers = _movers(plan)
    moved = {name: [o.shifted for o in outcomes[name]] for name in movers if name in outcomes}
    lead = next(c.training for c in plan.candidates if c.role == "recommended")
    if lead not in moved or not moved[lead][0]:
        return None
    controls = {movers[n]: found for n, found in moved.items() if n not in (lead, "references")}
    wide = {
        w: [o.shifted for o in outcomes[f"{lead}_wide_{w:g}"]] for w in train.WIDTHS if f"{lead}_wide_{w:g}" in outcomes
    }
    return shift_report(moved[lead], moved["references"], controls, pool=plan.row.pool, widths=wide)


def _cpu_seconds(outcomes: Outcomes) -> float:
    return sum(o.cpu_seconds for seeds in outcomes.values() for o in seeds)


def _returns(plan: Plan, candidate: Candidate, outcomes: Outcomes) -> list[train.Returns]:
    """Returns (stage, task) of each seed, at the stages of the plan: after so many episodes, or after the gradient steps that take them."""
    found = [outcome.returns[candidate.outcome] for outcome in outcomes[candidate.training]]
    steps, episodes = int(plan.row.test.get("steps", 1)), int(plan.row.test.get("episodes", 0))
    by_gradient, last = candidate.training.startswith("maml"), len(found[0]) - 1
    if last == 0 or plan.row.scored == "mean" or by_gradient == (plan.row.stage == "gradient step"):
        return found
    if by_gradient:
        stages = [min(n // episodes, last) for n in range(steps * episodes + 1)]
    else:
        stages = [min(n * episodes, last) for n in range(steps)] + [last]
    return [returns[stages] for returns in found]


def _scored(plan: Plan, returns: list[train.Returns]) -> train.Returns:
    """The returns that count, (seed, task)."""
    return np.stack([r.mean(0) if plan.row.scored == "mean" else r[-1] for r in returns])


def _ends(plan: Plan, tested_on: str, outcomes: Outcomes) -> tuple[train.Returns, train.Returns]:
    """Returns (seed, task) that score 0 and 1.

    Where no oracle is known, 1 is as far above random as the best candidate gets, on average, on the training distribution; off it, too,
    or whoever loses least there would seem to lose nothing.
    """
    random, oracle = (_reference(plan, tested_on, name, outcomes) for name in ("random", "oracle"))
    if plan.row.family == environment.FAMILY:
        environment.check_best(random, oracle)
    if np.isnan(oracle).any():
        rivals = [c for c in plan.candidates if c.role != "reference" and c.tested_on == "held_out"]
        near = _reference(plan, "held_out", "random", outcomes)
        leads = [float((_scored(plan, _returns(plan, c, outcomes)) - near).mean()) for c in rivals]
        oracle = random + (max(leads) if max(leads) > 0 else max(float(np.abs(leads).max()), 1e-9))
    return random, oracle


def _reference(plan: Plan, tested_on: str, name: str, outcomes: Outcomes) -> train.Returns:
    """What a reference gets, (seed, task)."""
    prefix = "" if tested_on == "held_out" else f"{tested_on}/"
    return _scored(plan, [o.returns[prefix + name] for o in outcomes["references"]])


def _scores(plan: Plan, candidate: Candidate, outcomes: Outcomes) -> train.Returns:
    random, oracle = _ends(plan, candidate.tested_on, outcomes)
    return normalise(_scored(plan, _returns(plan, candidate, outcomes)), random, oracle, plan.row.pool)


def _curve(plan: Plan, candidate: Candidate, outcomes: Outcomes) -> Curve:
    """The score at each stage with its interval, and the learning curve of each seed where the training tells one."""
    random, oracle = _ends(plan, candidate.tested_on, outcomes)
    stages = np.stack(_returns(plan, candidate, outcomes), axis=1)  # (stage, seed, task)
    scores = [interval(normalise(returns, random, oracle, plan.row.pool)) for returns in stages]
    told = [tuple(getattr(o, "learning", ())) for o in outcomes[candidate.training]]
    return Curve(tuple(scores), tuple(told) if all(told) else ())


def _line(
    plan: Plan, candidate: Candidate, outcomes: Outcomes, scores: Mapping[str, train.Returns], judgement: Judgement
) -> CandidateReport:
    name, role, says = candidate.name, candidate.role, candidate.says
    if name in plan.refused:
        return CandidateReport(name, role, says, False, plan.refused[name], (), (), None, None, 0, 0.0)
    returns, ran = _returns(plan, candidate, outcomes), outcomes[candidate.training]
    score = judgement.score if role == "recommended" else interval(scores[name]) if name in scores else None
    if role == "reference" and candidate.training != "references":
        score = interval(_scores(plan, candidate, outcomes))
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


def shift_reason(judgement: Judgement) -> str:
    """A judgement, worded for a warning: how far every method stays behind, off the distribution, what is reached on it."""
    nearest = min(judgement.differences, key=lambda n: judgement.differences[n].figure)
    fall = judgement.differences[nearest]
    size = f"{fall.figure:.2f} ({fall.low:.2f} to {fall.high:.2f}) of the way from random to the oracle"
    if judgement.verdict == "fits":
        return f"the warning is borne out: off the training distribution the best of what was tried, `{nearest}`, stays behind by {size}"
    if judgement.verdict == "does_not_fit" and judgement.better:
        return (
            f"the warning is not borne out here: off the training distribution `{nearest}` is better by {-fall.figure:.2f} of the way "
            "from random to the oracle than what is reached on it"
        )
    if judgement.verdict == "does_not_fit":
        return judgement.reason
    return f"the fall off the training distribution, at least {size} for `{nearest}`, is not clear of zero"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
