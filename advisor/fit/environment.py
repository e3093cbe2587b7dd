"""The user's own environment in the place of a stand-in: looked over first, so that a fault is named before anything is trained on it.

The environment is any of gymnasium's with two methods more, sample_tasks(n, seed) and set_task(task); docs/own-environment.md describes it.
`reference_impls/tasks/gym.py` makes a task family of it, so all trainings and controls run on it unchanged.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import AdvisorError, quoted
from .plan import Candidate, Plan
from .train import Outcome, implementation

STEPS = {"smoke": 120_000, "standard": 1_000_000, "long": 10_000_000}  # environment steps of each training, by budget
TESTED = 20  # held-out tasks a seed
# Tasks that the detector of a shift learns from, is calibrated on, and is tried on in each place.
WATCHED = (80, 120, 40)
FAMILY = "gym:Gym"
_WIDEST = 1000  # numbers of an observation that the detector's linear model can take in
_TASKS = 4  # that the environment is looked over with
_LOOKED_AT = 100  # steps of an episode that are compared when it is repeated
_PATIENCE = 5_000  # steps of an episode without time limit until it is said never to end


class BadEnvironment(AdvisorError):
    """The user's environment is faulty, or not what the protocol asks for."""

    code = "bad-environment"


@dataclass(frozen=True)
class Spec:
    """What was found out about an environment by playing at random."""

    horizon: int
    discrete: bool
    known: int  # tasks that `known_tasks` lists; 0 without
    has_best: bool  # says the best return of a task
    distances: tuple[float, ...]  # that tasks can be drawn at, 0 the training distribution
    ends: bool  # some episode terminated
    centre: tuple[float, ...]  # of the observations
    spread: tuple[float, ...]
    reward_unit: float  # the mean size of a reward
    reward_mean: float  # in that unit


EXAMPLE = """\
    def shifted_tasks(self, n, seed, distance):  # 0: the training distribution, 1: as far off as matters to you
        low, high = 1.0 + distance, 2.0 + distance
        return np.random.default_rng(seed).uniform(low, high, (n, 1))"""
_TO_SHIFT = {
    1: "Your environment gives no shifted tasks. With a method like this one it is tested on them, too, at several distances:\n"
    + EXAMPLE,
    2: "Your `shifted_tasks` takes no `distance`, so nothing was tested between. One that does:\n" + EXAMPLE,
}


@contextmanager
def faults() -> Iterator[None]:
    """A fault of the environment, met anywhere, as an error with the next step."""
    try:
        yield
    except ValueError as fault:
        if type(fault).__name__ != "Faulty":  # known by its name: importing its class would load torch
            raise
        hint = "the protocol and a pattern: docs/own-environment.md"
        raise BadEnvironment(quoted(str(fault), 800), "the environment", hint) from fault


def substitute(plan: Plan, factory: str, horizon: int | None = None) -> Plan:
    """The plan with the environment of `factory` in the stand-in's place, its own sizes and the budget's number of steps.

    Raises BadEnvironment for a faulty environment.
    """
    with faults():
        spec = look_over(factory, horizon)
    known = spec.known or 10
    family = {
        "factory": factory, "horizon": spec.horizon, "tasks": known,
        "centre": spec.centre, "spread": spec.spread, "reward_unit": spec.reward_unit,
    }  # fmt: skip
    row, test = plan.row, dict(plan.row.test)
    test["episodes"] = min(test["episodes"], 10) if test.get("episodes", 1) > 1 else 3
    if any(c.training.startswith("rl2") for c in row.candidates if c.role == "recommended"):
        test = {
            "episodes": 2,
            "steps": 1,
        }  # to adapt in: the memory is scored in the episode after, weights after one step
    if any(c.tested_on == "shifted" for c in plan.candidates) and len(spec.distances) == 1:
        raise BadEnvironment(
            "has no `shifted_tasks(n, seed, distance)`, the tasks off the training distribution that this fit is about",
            factory,
            f"a pattern, for tasks of one number:\n{EXAMPLE}",
        )
    settings = {
        name: _SETTINGS[name](test, STEPS[plan.budget], spec, known)
        for name in dict.fromkeys(c.training for c in row.candidates)
        if name in _SETTINGS
    }
    refused = {n: why for n, why in plan.refused.items() if "has no form" not in why}
    candidates = tuple(_own(c) for c in row.candidates if c.role != "reference" or _tells(c, spec))
    refused |= {
        c.name: "has no form for an environment of your own"
        for c in candidates
        if c.name not in refused and c.role != "reference" and c.training not in settings
    }
    left_out = ["any training longer than this budget", "tuning for this environment"]
    if plan.concerns is not None:
        left_out.append("the diagnosis of the concerns of multi-task training")
    row = replace(
        row,
        family=FAMILY,
        family_settings=family,
        candidates=candidates,
        scored="last",
        stage="gradient step" if row.stage == "gradient step" else "episode",
        tasks=0 if row.tasks == 0 else TESTED,
        pool=1,
        test=test,
        left_out=tuple(left_out),
        distances=len(spec.distances) > 2,
        to_shift=_TO_SHIFT.get(len(spec.distances), ""),
    )
    return replace(
        plan,
        stand_in=_says(factory, spec, spec.discrete, left_out),
        row=row,
        candidates=tuple(c for c in candidates if c.name not in refused),
        refused=refused,
        settings=settings,
        concerns=None,
    )


def less(plan: Plan, moves: dict[str, Any]) -> dict[str, Any]:
    """The arguments of shift.measure, with fewer tasks than a stand-in affords: each row is an environment here."""
    narrow = len(plan.row.family_settings["centre"]) <= _WIDEST
    return {**moves, "tasks": plan.row.tasks, "control": moves["control"] or not narrow, "watched": WATCHED}


def check_best(random: Any, best: Any, fault: type[Exception] = BadEnvironment) -> None:
    """Raises `fault` where `best_return` is told (a number) and not above what random actions reach, returns (..., task)."""
    wrong = np.argwhere(best <= random)
    if len(wrong):
        at = tuple(wrong[0])
        raise fault(
            f"best_return says {best[at]:.4g} of a task in which random actions reach {random[at]:.4g}, and no score can be made of that"
        )


def in_own_units(plan: Plan, outcome: Outcome) -> Outcome:
    """The outcome with its returns in the environment's own unit of reward."""
    unit = plan.row.family_settings.get("reward_unit", 1.0)
    if unit == 1.0:
        return outcome
    changed: dict[str, Any] = {"returns": {n: unit * r for n, r in outcome.returns.items()}}
    if hasattr(outcome, "learning"):
        changed["learning"] = tuple(unit * r for r in outcome.learning)
    return replace(outcome, **changed)


def look_over(factory: str | Callable[[], Any], horizon: int | None = None) -> Spec:
    """Plays the environment at random and finds out what a plan needs to know.

    Raises Faulty (of reference_impls.tasks.gym), naming the cause: a broken protocol, wrong shapes, numbers that are none, exceptions,
    episodes without end, tasks that are not set or not reset, and chance that no seed repeats.
    """
    import torch

    gym = implementation("tasks.gym")
    make = factory if callable(factory) else gym.load(factory)
    if horizon is None:
        horizon = _time_limit(gym, make)
    family = gym.Gym(make, horizon)
    generator = torch.Generator().manual_seed(0)
    tasks = _tasks(gym, family)
    actions = family.random_action(min(horizon, _LOOKED_AT), generator)

    def played(environment: Any, task: Any, seed: int = 0) -> list[tuple[float, ...]]:
        episode = gym.Episode(environment, task, family.begin(environment, task, seed))
        seen = [tuple(episode.observation.tolist())]
        for chosen in family._chosen(actions):
            if episode.ended:
                break
            reward = family._play(episode, chosen)
            seen.append((reward, *episode.observation.tolist()))
        return seen

    fresh = [gym.called(make, "the factory") for _ in range(2)]
    runs = [played(environment, tasks[0]) for environment in fresh]
    if runs[0] != runs[1]:
        raise gym.Faulty(
            "the same task, actions and reset(seed=...) gave two different episodes: take all chance from self.np_random"
        )
    others = [played(fresh[0], task) for task in tasks[1:]]
    if all(run == runs[0] for run in others):
        raise gym.Faulty(
            f"set_task changes nothing: the same actions gave the same episode in {_TASKS} different tasks"
        )
    if played(fresh[0], tasks[0]) != runs[0]:
        raise gym.Faulty(
            "a task is not reset: after other tasks were played, set_task and reset(seed=...) didn't bring the first episode back; "
            "something of the task or episode before is left over"
        )
    _look_off(gym, family, tasks)
    return _measured(family, gym, horizon, generator)


def _tasks(gym: Any, family: Any, distance: float = 0.0) -> Any:
    """A few tasks, asked for twice."""
    tasks, again = (family._asked(_TASKS, 0, distance) for _ in range(2))
    if _shown(tasks) != _shown(again):
        name = "shifted_tasks" if distance else "sample_tasks"
        raise gym.Faulty(
            f"{name}(n, seed) gave other tasks for the same seed: draw them from numpy.random.default_rng(seed)"
        )
    return tasks


def _shown(tasks: Any) -> str:
    """Tasks as text, for comparison; an object that says nothing of itself but where it lies is like any of its class."""
    return re.sub(r" at 0x[0-9a-fA-F]+>", ">", str(list(tasks)))


def _look_off(gym: Any, family: Any, tasks: Any) -> None:
    """Draws tasks at each distance and plays one episode in each: what fails out there is named before anything is trained."""
    import torch

    generator = torch.Generator().manual_seed(1)  # its own: what is measured next must not depend on it
    found = {0.0: _shown(tasks)}
    family.sample(1, generator)  # shows what the row of a task is
    for distance in family.distances[1:]:
        try:
            found[distance] = _shown(_tasks(gym, family, distance))
            there = family.moved(distance)
            rows = there.sample(_TASKS, generator)
            state = there.reset(rows)
            for _ in range(family.horizon):
                state, _, _ = there.step(rows, state, there.random_action(_TASKS, generator), generator)
            there.oracle_return(rows, generator)
        except gym.Faulty as fault:
            raise gym.Faulty(f"off the training distribution, at distance {distance:g}: {fault}") from fault
    if len(found) > 1 and found[1.0] == found[0.0] and " object>" not in found[0.0]:
        raise gym.Faulty("shifted_tasks gives the tasks that sample_tasks gives for the same seed")
    if len(found) > 2 and found[1.0] == found[0.25] and " object>" not in found[1.0]:
        raise gym.Faulty("shifted_tasks gives the same tasks at distance 0.25 and 1")


def _time_limit(gym: Any, make: Any) -> int:
    """The environment's own time limit; Faulty where it names none."""
    environment = gym.called(make, "the factory")
    spec = gym.method(environment, "spec")
    for limit in (
        gym.method(environment, "_max_episode_steps"),  # of gymnasium.wrappers.TimeLimit
        getattr(spec, "max_episode_steps", None),
        gym.method(environment, "max_path_length"),  # Meta-World's name
    ):
        if isinstance(limit, int) and limit > 0:
            return limit
    family = gym.Gym(make, _PATIENCE)
    task = family._asked(1, 0)[0]
    episode = gym.Episode(environment, task, family.begin(environment, task, 0))
    space = environment.action_space
    space.seed(0)
    while not episode.ended and episode.steps < _PATIENCE:
        family._play(episode, space.sample())
    how = (
        f"an episode of random actions ended after {episode.steps} steps, but a better policy might never end"
        if episode.ended
        else f"an episode of random actions never ends: it hadn't after {_PATIENCE} steps"
    )
    raise gym.Faulty(
        f"no time limit is known, and {how}; give one: --horizon N, or gymnasium.wrappers.TimeLimit in the factory"
    )


def _measured(family: Any, gym: Any, horizon: int, generator: Any) -> Spec:
    """Sizes of observations and rewards under random actions, in new tasks."""
    import torch

    tasks = family.sample(2 * _TASKS, generator)
    state, seen, rewards = family.reset(tasks), [], []
    ended = torch.zeros(len(tasks), dtype=torch.bool)
    for _ in range(horizon):
        seen.append(family.seen(state)[~ended])
        state, reward, now = family.step(tasks, state, family.random_action(len(tasks), generator), generator)
        rewards.append(reward[~ended])
        ended = ended | now
        if bool(ended.all()):
            break
    observations, paid = torch.cat(seen), torch.cat(rewards)
    known = gym.method(family._free[0], "known_tasks")
    check_best(
        family.random_return(tasks, generator).numpy(), family.oracle_return(tasks, generator).numpy(), gym.Faulty
    )
    unit = float(paid.abs().mean())
    return Spec(
        horizon=horizon,
        discrete=family.discrete,
        known=len(family.catalogue()) if known else 0,
        has_best=gym.method(family._free[0], "best_return") is not None,
        distances=family.distances,
        ends=bool(ended.any()),
        centre=tuple(float(x) for x in observations.mean(0)),
        spread=tuple(float(x) for x in observations.std(0).clamp(min=1e-3)),
        reward_mean=float(paid.mean()) / (unit or 1.0),
        reward_unit=unit or 1.0,
    )


def _tells(candidate: Candidate, spec: Spec) -> bool:
    """Whether the environment can tell the return of a reference."""
    return candidate.outcome == "random" or candidate.outcome == "oracle" and spec.has_best


def _own(candidate: Candidate) -> Candidate:
    if candidate.outcome == "oracle" and candidate.role == "reference":
        return replace(candidate, name="oracle", says="the best return as the environment tells it (best_return)")
    return candidate


def _says(factory: str, spec: Spec, scores: bool, left_out: Sequence[str]) -> str:
    parts = [
        f"Your environment {factory}, episodes of at most {spec.horizon} steps, tasks as its sample_tasks draws them"
    ]
    if scores:
        parts.append("PEARL and multi-task play discrete actions as the highest of a score each")
    if not spec.has_best:
        parts.append("no best return is known, so score 1 is the best candidate's mean and not an oracle's")
    parts.append(f"left out: {', '.join(left_out)}")
    return "; ".join(parts) + "."


def _maml(test: Mapping[str, Any], steps: int, spec: Spec, known: int, inner: int = 1) -> dict[str, Any]:
    per_iteration = 8 * test["episodes"] * (1 + inner) * spec.horizon
    return {"tasks": 8, "iterations": max(2, steps // per_iteration), "inner_steps": inner, "discount": 0.97}


def _rl2(test: Mapping[str, Any], steps: int, spec: Spec, known: int) -> dict[str, Any]:
    episodes = min(test["episodes"] + 1, 5)
    settings: dict[str, Any] = {
        "tasks": 10,
        "episodes": episodes,
        "iterations": max(2, steps // (10 * episodes * spec.horizon)),
    }
    settings |= {"learning_rate": 3e-3, "discount": 0.97, "gae_lambda": 0.95, "entropy": 0.02 if spec.discrete else 0.0}
    if (
        not spec.ends
    ):  # episodes of fixed length: a shift changes no order among policies, and the critic has less to learn
        settings["reward_shift"] = spec.reward_mean
    return settings


def _pearl(test: Mapping[str, Any], steps: int, spec: Spec, known: int) -> dict[str, Any]:
    tasks = 20
    return {
        "train_tasks": tasks, "initial_episodes": 1, "posterior_episodes": 1, "iterations": max(2, (steps // (tasks * spec.horizon) - 1) // 2),
        "gradient_steps": 40, "meta_batch": 16, "rows": 32, "latent_size": 3, "learning_rate": 3e-3, "discount": 0.97, "context_scale": 1.0,
    }  # fmt: skip


def _multi_task(test: Mapping[str, Any], steps: int, spec: Spec, known: int) -> dict[str, Any]:
    return {
        "episodes": 1,
        "iterations": max(2, steps // (known * spec.horizon)),
        "updates": 20,
        "batch": 32,
        "discount": 0.97,
    }


_SETTINGS: dict[str, Callable[[Mapping[str, Any], int, Spec, int], dict[str, Any]]] = {
    "maml": _maml,
    "maml_pretrained": lambda test, steps, spec, known: _maml(test, steps, spec, known, inner=0),
    "maml_scratch": lambda test, steps, spec, known: {},
    "rl2": _rl2,
    "rl2_memoryless": _rl2,
    "pearl": _pearl,
    "multi_task": _multi_task,
    "multi_task_hidden": _multi_task,
    "multi_task_separate": _multi_task,
    "dictionary": lambda test, steps, spec, known: _multi_task(
        test, steps, spec, 20
    ),  # as many as controls.KNOWN_TASKS
}
