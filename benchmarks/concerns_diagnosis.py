"""Are the concerns of multi-task training found where they are, and only there (case `concerns-diagnosis`)?

Each seed draws families with and without each concern, trains on them as `fit` would, and compares `advisor.fit.concerns` with what is
known of them. The imbalance needs no training, so it is tried on many; the others on one or two families a seed.
"""

from __future__ import annotations

import math
import random
import time
from typing import Any

import torch

from advisor.fit.concerns import diagnose, measure
from reference_impls.tasks.varied import Varied

CASE = "concerns-diagnosis"
UNIT = "share of the concerns that were found where they are"
FIRST_SEED = 210  # thresholds were chosen on seeds 0, 200 and 201, and on those of docs/concerns.json
UNTRAINED = 10  # families with and without imbalance for each seed


def families(seed: int) -> list[tuple[str, Varied, dict[str, Any], tuple[str, ...], dict[str, bool]]]:
    """Name, family, settings, trainings, and which concerns are known to be there or not."""
    draw = random.Random(seed)
    interference, capacity, forgetting = "gradient_interference", "capacity_limits", "catastrophic_interference"
    tried = []
    for i in range(UNTRAINED):
        spread = 10 ** draw.uniform(1, 3)
        loud = Varied(tasks=draw.randint(3, 10), spread=spread, diverse=draw.choice([None, i]))
        even = Varied(tasks=draw.randint(3, 10), arc=draw.uniform(0.2, 2 * math.pi), diverse=draw.choice([None, i]))
        tried += [("loud", loud, {}, (), {"task_imbalance": True}), ("even", even, {}, (), {"task_imbalance": False})]
    turned = Varied(tasks=draw.randint(7, 9), arc=0.0, turn=2 * math.pi)
    hidden = Varied(tasks=draw.randint(4, 6), arc=0.0, turn=2 * math.pi)
    unlike = Varied(tasks=draw.randint(9, 11), diverse=draw.randint(0, 99))
    alike = Varied(tasks=draw.randint(6, 10), arc=draw.uniform(0.3, 0.9))
    goals = Varied(tasks=draw.randint(6, 10))
    fine = {interference: False, capacity: False}
    one_by_one, every = ("in_turn",), ("shared", "separate", "wide")
    return tried + [
        ("dynamics turned", turned, {"iterations": 40}, ("shared", "separate"), {interference: True}),
        ("dynamics turned, id hidden", hidden, {"iterations": 25, "task_id": False}, ("shared", "separate"), {interference: True}),
        ("narrow", unlike, {"iterations": 25, "hidden": (16, 16)}, ("shared", "wide"), {capacity: True}),
        ("similar goals", alike, {"iterations": 25}, every, fine),
        ("goals", goals, {"iterations": 25}, every, fine),
        ("goals in turn", Varied(tasks=draw.randint(3, 5)), {"iterations": 15}, one_by_one, {forgetting: True}),
        ("similar goals in turn", Varied(tasks=3, arc=draw.uniform(0.1, 0.4)), {"iterations": 15}, one_by_one, {forgetting: False}),
        ("goals in turn, rehearsed", Varied(tasks=3), {"iterations": 15, "in_turn": True, "rehearse": True}, one_by_one, {forgetting: False}),
    ]  # fmt: skip


def run(seed: int) -> dict[str, Any]:
    """One seed: `reference` counts what was found and what was a false alarm, and holds every measure of every family."""
    torch.set_num_threads(1)
    start, reference = time.process_time(), {}
    right: dict[bool, list[bool]] = {True: [], False: []}  # is it there? -> was it said?
    by_concern: dict[str, list[int]] = {}
    for number, (name, family, settings, kinds, truth) in enumerate(families(FIRST_SEED + seed)):
        measured = measure(family, settings, FIRST_SEED + seed, kinds)
        for finding in diagnose([measured]):
            concern = finding.sign.concern
            if concern in truth:
                right[truth[concern]].append(finding.present)
                counts = by_concern.setdefault(concern, [0, 0, 0, 0])  # found, there, false alarms, not there
                counts[0 if truth[concern] else 2] += finding.present
                counts[1 if truth[concern] else 3] += 1
        label = f"{name} {number}" if not kinds else name
        reference |= {f"{label}: {key}": value for key, value in measured.items() if kinds or key == "reward_spread"}
    for concern, (found, there, alarms, absent) in by_concern.items():
        reference |= {f"{concern}: found": found / there, f"{concern}: false alarms": alarms / absent}
    return {
        "figure": sum(right[True]) / len(right[True]),
        "cpu_seconds": time.process_time() - start,
        "settings": {"first_seed": FIRST_SEED, "seed": FIRST_SEED + seed},
        "reference": {"false alarms": sum(right[False]) / len(right[False]), **reference},
    }
