"""Off the training distribution: what the adaptation data tells (`shift-detector`), and the prompt against fine-tuning (`shift-in-context`).

`shift-detector` trains one agent for each of eight task families, adapts it to tasks of the training distribution and to moved ones, and
counts alarms: of single tasks and of some together. An entry of the reference is a share of TASKS runs a seed, fewer when together. Shifts
that change nothing an agent could see (the arms of a bandit in reverse order) are listed, and kept out of the figure. Beside the
detector that the fit uses stand the return alone, nearest neighbours and a robust covariance, calibrated on the same data by the same rule.
`shift-bandit-ceiling` is what no detector can surpass on the moved bandits: the likelihood ratio of the two known distributions.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import betainc
from sklearn.covariance import EllipticEnvelope
from sklearn.neighbors import NearestNeighbors

from advisor.fit.detector import AIM, Detector, Seen, watch
from advisor.fit.shift import CALIBRATION, LEARNED, places
from reference_impls import in_context, maml, multi_task, pearl, rl2
from reference_impls.tasks.bandit import Bandit
from reference_impls.tasks.catalogue import Catalogue
from reference_impls.tasks.diagnosis import Diagnosis
from reference_impls.tasks.grid import Grid
from reference_impls.tasks.in_context import Labels
from reference_impls.tasks.maze import Maze
from reference_impls.tasks.mdp import TabularMDP
from reference_impls.tasks.navigation import Navigation
from reference_impls.tasks.semicircle import Semicircle

CASES = {
    "shift-detector": "share of alarms for five moved tasks together, least over the shifts asked for",
    "shift-bandit-ceiling": "share of single moved bandits that the best possible test notices, at 5 % false alarms",
    "shift-in-context": "score of few-shot fine-tuning minus that of the prompt, yes and no having changed places",
}
TASKS = 1000  # of each place
TOGETHER = (3, 5)  # numbers of tasks that are judged as one; the figure is that of the last
# The shifts that have to be noticed: radius doubled, reward probabilities moved, actions turned round where that changes anything.
ASKED = ("semicircle/radius", "semicircle/actions", "navigation/radius", "navigation/actions", "catalogue/radius", "catalogue/actions",
         "bandit/1", "mdp/1", "grid/actions", "maze/actions", "diagnosis/actions")  # fmt: skip

Play = Callable[[Any, torch.Tensor, int], torch.Tensor]


def agent(name: str, seed: int) -> tuple[Any, Play]:
    """A family and an agent that was trained in it, of the sizes of a smoke fit."""
    if name in ("semicircle", "diagnosis"):
        family: Any = Semicircle() if name == "semicircle" else Diagnosis()
        config: Any = pearl.Config.for_family(family, seed=seed, iterations=20)
        trained: Any = pearl.train(config, family)
        return family, lambda f, t, s: pearl.evaluate(trained, config, f, t, s, 4 if name == "semicircle" else 1)
    if name in ("bandit", "mdp", "grid", "maze"):
        family = {"bandit": Bandit(), "mdp": TabularMDP(), "grid": Grid(4, 10), "maze": Maze()}[name]
        sizes = (
            {"tasks": 512, "iterations": 250} if name == "bandit" else {"tasks": 256, "episodes": 3, "iterations": 120}
        )
        config = rl2.Config(seed=seed, **sizes)
        trained = rl2.train(config, family)
        return family, lambda f, t, s: rl2.evaluate(trained, config, f, t, s)
    if name == "navigation":
        family, config = Navigation(), maml.Config(seed=seed)
        trained = maml.train(config, family)
        return family, lambda f, t, s: maml.evaluate(trained, config, f, t, s, 1)
    family, config = Catalogue(), multi_task.Config(seed=seed, iterations=40)
    trained = multi_task.train(config, family)
    return family, lambda f, t, s: multi_task.evaluate(trained, config, f, t, s, f.ids(t))


def rivals(learned: np.ndarray, calibration: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Other statistics on the detector's numbers (task, number), each a function to alarms (task,)."""
    centre, scale = learned.mean(0), learned.std(0) + 1e-6
    neighbours = NearestNeighbors(n_neighbors=5).fit((learned - centre) / scale)
    robust = EllipticEnvelope(random_state=0, support_fraction=0.9).fit(
        (learned - centre) / scale + 1e-3 * np.random.default_rng(0).normal(size=learned.shape)
    )
    statistics = {
        "return alone": lambda x: np.abs(x[:, 0] - centre[0]),
        "nearest neighbours": lambda x: neighbours.kneighbors((x - centre) / scale)[0].mean(1),
        "robust covariance": lambda x: robust.mahalanobis((x - centre) / scale),
    }

    def alarms(statistic: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        rank = min(int(np.ceil((1 - AIM) * (len(calibration) + 1))), len(calibration)) - 1
        threshold = np.sort(statistic(calibration))[rank]
        return lambda x: statistic(x) > threshold

    return {name: alarms(statistic) for name, statistic in statistics.items()}


def detect(seed: int) -> dict[str, Any]:
    """Share of alarms in every place: 'family/place', of single tasks, of several together, and of single tasks by each rival."""
    found: dict[str, float] = {}
    for name in ("semicircle", "navigation", "catalogue", "bandit", "mdp", "grid", "maze", "diagnosis"):
        family, play = agent(name, seed)

        def seen(there: Any, number: int, stream: int, play: Play = play) -> Seen:
            tasks = there.sample(number, torch.Generator().manual_seed(50_000 + 10 * seed + stream))
            return watch(there, play, tasks, 50_000 + 10 * seed + stream)

        learned, calibration = seen(family, LEARNED, 1), seen(family, CALIBRATION, 2)
        detector = Detector(learned, calibration)
        others = rivals(detector.numbers(learned), detector.numbers(calibration))
        for label, (_, there) in places(family).items():
            if label not in ("0", "1") and label[0].isdigit():
                continue
            adapting = seen(there, TASKS, 3)
            found[f"{name}/{label}"] = float(detector.alarms(adapting).mean())
            found |= {f"{name}/{label}, {n} together": float(detector.alarms(adapting, n).mean()) for n in TOGETHER}
            found |= {
                f"{name}/{label}, {rival}": float(says(detector.numbers(adapting)).mean())
                for rival, says in others.items()
            }
    return found


def bandit_ceiling(seed: int) -> dict[str, float]:
    """Power at 5 % false alarms of the most powerful test (Neyman and Pearson 1933), which knows both distributions, by tasks together."""
    family, play = agent("bandit", seed)
    ratios = []
    for there in (family, family.moved(1.0)):
        seen = watch(there, play, there.sample(5000, torch.Generator().manual_seed(70_000 + seed)), 70_000 + seed)
        wins = (seen.action * seen.reward[..., None]).sum(1)  # (task, arm)
        losses = seen.action.sum(1) - wins
        highest = family.moved(1.0).highest
        # U(0, h) over U(0, 1), each arm: the mean of p^wins (1 - p)^losses; the Bernoulli terms of the data cancel.
        ratios.append(np.log(betainc(wins + 1, losses + 1, highest) / highest).sum(1))
    found = {}
    for together in (1, 2, 3, 5):
        fresh, moved = (r[: len(r) // together * together].reshape(-1, together).sum(1) for r in ratios)
        found[f"{together} together"] = float(np.mean(moved > np.quantile(fresh, 0.95)))
    return found


def prompt_or_tuning(seed: int) -> dict[str, Any]:
    """Share of right labels at each distance, from the prompt and fine-tuned, and of the exact posterior of the distribution there."""
    family, config, found = Labels(), in_context.Config(seed=seed), {}
    trained = in_context.train(config, family)
    tuning = family.sample(60, torch.Generator().manual_seed(60_000 + seed))
    sizes = (0.03, 0.1, 0.3, 1.0, 3.0)
    best = max(
        sizes,
        key=lambda size: float(in_context.fine_tune(trained, config, family, tuning, seed, 10, size)[:, -1].mean()),
    )
    for distance in (0.0, 0.25, 0.5, 0.75, 1.0):
        there = family.moved(distance)
        tasks = there.sample(200, torch.Generator().manual_seed(61_000 + seed))
        read = in_context.evaluate(trained, config, there, tasks, seed).mean(0)
        found[f"{distance:g}, no example"] = float(read[0])
        found[f"{distance:g}, prompt"] = float(read[-1])
        found[f"{distance:g}, fine-tuned"] = float(
            in_context.fine_tune(trained, config, there, tasks, seed, 10, best)[:, -1].mean()
        )
        examples, (asked, truth) = in_context.drawn(there, tasks, seed)
        found[f"{distance:g}, exact posterior"] = float(
            in_context.right(there.bayes_labels(*examples, asked) - 0.5, truth).mean()
        )
    return {**found, "step size": best}


def run(case: str, seed: int, budget: str) -> dict[str, Any]:
    """One seed of a case; all have one budget."""
    torch.set_num_threads(1)
    start = time.process_time()
    if case == "shift-in-context":
        reference = prompt_or_tuning(seed)
        figure = 2 * (reference["1, fine-tuned"] - reference["1, prompt"])  # a coin scores 0, the rule itself 1
        settings = {"examples": 3, "tasks": 200, "steps": 10}
    elif case == "shift-bandit-ceiling":
        reference = bandit_ceiling(seed)
        figure, settings = reference["1 together"], {"tasks": 5000}
    else:
        reference = detect(seed)
        figure = min(reference[f"{place}, {TOGETHER[-1]} together"] for place in ASKED)
        for end in ("/0", *(f"/0, {n} together" for n in TOGETHER)):
            reference[f"false alarms{end[2:]}"] = float(np.mean([v for k, v in reference.items() if k.endswith(end)]))
        settings = {"tasks": TASKS, "together": TOGETHER, "learned": LEARNED, "calibration": CALIBRATION, "aim": AIM}
    return {"figure": figure, "settings": settings, "reference": reference, "cpu_seconds": time.process_time() - start}
