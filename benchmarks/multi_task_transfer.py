"""Transfer between known tasks: one policy told the task number against a network a task, on the same environment steps.

Catalogues of 4, 10 and 50 tasks, of two kinds: goals within 0.6 rad of one another, where what helps one task helps all, and one goal
under dynamics turned all the way round, where the same action does different things. Both sides get the same episodes and gradient
steps; the networks of the separate ones are as large as the shared one.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

import torch

from reference_impls.multi_task import Config, evaluate, train
from reference_impls.tasks.varied import Varied

CASE = "multi-task-transfer"
UNIT = "return of one shared policy over that of separate networks, 10 similar tasks: above 0 sharing helps"
SIZES = (4, 10, 50)
ITERATIONS = 30  # short of convergence, where separate networks have as yet too little to learn from


def family(kind: str, tasks: int) -> Varied:
    """The catalogue of a kind, "similar" or "conflicting"."""
    return Varied(tasks=tasks, arc=0.6) if kind == "similar" else Varied(tasks=tasks, arc=0.0, turn=2 * math.pi)


def run(seed: int) -> dict[str, Any]:
    """Train both sides on every catalogue; `cpu_seconds` covers them all."""
    torch.set_num_threads(1)
    start = time.process_time()
    reference: dict[str, float] = {}
    for kind in ("similar", "conflicting"):
        for size in SIZES:
            known = family(kind, size)
            returns = {}
            for name, separate in (("shared", False), ("separate", True)):
                config = Config(seed=seed, iterations=ITERATIONS, separate=separate)
                returns[name] = evaluate(train(config, known), config, known, known.catalogue(), seed).mean().item()
                reference[f"{kind}, {size} tasks, {name}"] = returns[name]
            reference[f"{kind}, {size} tasks, gain of sharing"] = returns["shared"] - returns["separate"]
    known = family("similar", 10)
    reference["oracle, 10 similar tasks"] = known.oracle_return(known.catalogue(), torch.Generator()).mean().item()
    return {
        "figure": reference["similar, 10 tasks, gain of sharing"],
        "cpu_seconds": time.process_time() - start,
        "settings": asdict(Config(seed=seed, iterations=ITERATIONS)),
        "reference": reference,
    }
