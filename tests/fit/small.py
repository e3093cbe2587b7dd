"""A plan that trains in a second, a report made of numbers, and small environments; shared by the tests of this folder."""

from dataclasses import replace

import gymnasium as gym
import numpy as np

from advisor.fit import Interval, RunReport
from advisor.fit.families import FAMILIES
from advisor.fit.page import Curve
from advisor.fit.plan import Plan, to_measure
from advisor.fit.report import CandidateReport
from advisor.rulebook import load

# The shipped stand-ins as they are for a scenario of which only the verdict is known.
STAND_INS = tuple(
    to_measure(entry["id"], entry, {"verdict": verdict})
    for entry in load().entries["stand_ins"].values()
    for verdict in entry["when"]["verdict"]
    if entry["family"] in FAMILIES
)

ROW = replace(next(r for r in STAND_INS if r.verdict == "multi_task"), family_settings={"tasks": 3})


def plan(seeds=3, iterations=2):
    settings = dict.fromkeys(("multi_task", "multi_task_hidden", "multi_task_separate"), {"iterations": iterations})
    row = replace(ROW, candidates=tuple(c for c in ROW.candidates if c.training in (*settings, "references")))
    return Plan(row.verdict, "a stand-in", row, row.candidates, {}, settings, "smoke", seeds)


def report(**changes):
    """MAML ahead of one control, with two references and one candidate refused."""
    score = Interval(0.8, 0.7, 0.9)
    maml = CandidateReport(
        "MAML", "recommended", "meta-trained", True, "", (-12.0, -14.0), (-40.0, -13.0), score, None, 1000, 5.0
    )
    control = replace(maml, name="from <scratch>", role="control", difference=Interval(0.3, 0.2, 0.4))
    refused = CandidateReport("fine-tuned", "control", "", False, "needs gradient steps", (), (), None, None, 0, 0.0)
    random = replace(maml, name="random", role="reference", says="random actions", stages=(-60.0,), score=None)
    curves = {
        "MAML": Curve((Interval(0.2, 0.1, 0.3), score), ((-40.0, -20.0, -13.0), (-41.0, -22.0, -12.0))),
        "from <scratch>": Curve((Interval(0.1, 0.0, 0.2), Interval(0.5, 0.4, 0.6))),
        "random": Curve((Interval(0.0, 0.0, 0.0),)),
    }
    whole = RunReport(
        "w6", "maml", "A stand-in, not your environment: a point; left out: all else.", "fits", "it beats everything", score, None,
        (maml, control, refused, random), "gradient step", 2, "smoke", {"test": {"steps": 1}}, {"torch": "2"}, "advisor fit w6", 10.0,
        curves=curves,
    )  # fmt: skip
    return replace(whole, **changes)


class Reach(gym.Env):
    """A point on a line that is paid for coming near a hidden place; each of `fault` breaks the protocol in one way."""

    observation_space = gym.spaces.Box(-10.0, 10.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    fault = ""

    def __init__(self):
        self.place, self.at, self.steps = 0.0, 0.0, 0

    def sample_tasks(self, n, seed):
        return np.random.default_rng(None if self.fault == "unseeded tasks" else seed).uniform(-1, 1, (n, 1))

    def set_task(self, task):
        if self.fault != "task not set":
            self.place = float(task[0])

    def seen(self):
        return np.array([self.at, self.steps / 10], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.fault != "not reset":
            self.at = 0.0
        if self.fault == "chance without seed":
            self.at = float(np.random.default_rng().normal())
        self.steps = 0
        return self.seen(), {}

    def step(self, action):
        self.at, self.steps = float(np.clip(self.at + 0.3 * action[0], -5, 5)), self.steps + 1
        reward, seen = -abs(self.at - self.place), self.seen()
        if self.fault == "nan reward" and self.steps == 3:
            reward = float("nan")
        if self.fault == "nan observation" and self.steps == 3:
            seen = seen * np.nan
        if self.fault == "shape":
            seen = np.append(seen, 0.0)
        if self.fault == "exception" and self.steps == 3:
            raise ZeroDivisionError("the arm is stuck")
        if self.fault == "four values":
            return seen, reward, False, {}
        return seen, reward, False, self.fault == "cut short" and self.steps == 4, {}


class Far(Reach):
    """Places that lie farther out with distance; each of `fault` breaks what is said of tasks off the training distribution."""

    def shifted_tasks(self, n, seed, distance):
        """The place lies up to five times as far out."""
        if self.fault == "shifted raises" and distance > 0.5:
            raise KeyError("no such place")
        if self.fault == "shifted few":
            return self.sample_tasks(n - 1, seed)
        if self.fault == "shifted rows":
            return np.ones((n, 2))
        if self.fault == "shifted unseeded":
            seed = None
        far = {"shifted same": 0.0, "shifted alike": 1.0}.get(self.fault, distance)
        return (1 + 4 * far) * np.random.default_rng(seed).uniform(-1, 1, (n, 1))

    def step(self, action):
        seen, reward, *ends = super().step(action)
        return seen, float("nan") if self.fault == "far nan" and abs(self.place) > 1.5 else reward, *ends


class FarAtOnce(Reach):
    """Names tasks off the training distribution without a distance, as a benchmark with a list of test tasks does."""

    def shifted_tasks(self, n, seed):
        return np.random.default_rng(seed).uniform(2, 3, (n, 1))


def reach():
    return gym.wrappers.TimeLimit(Reach(), 10)


def far():
    return gym.wrappers.TimeLimit(Far(), 10)


def far_at_once():
    return gym.wrappers.TimeLimit(FarAtOnce(), 10)


def faulty(fault, limit=10, kind=Reach):
    """A factory of Reach with one fault; without a limit its episodes never end."""

    def make():
        environment = kind()
        environment.fault = fault
        return gym.wrappers.TimeLimit(environment, limit) if limit else environment

    return make
