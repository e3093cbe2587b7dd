"""`python -m benchmarks pages`: docs/rl2.md, maml.md, pearl.md and multi-task.md, written from docs/results/*.json and nothing else.

A result is what `python -m benchmarks run CASE --json` printed, kept as docs/results/CASE.json (CASE-long.json with `--budget long`).
What stands here are the papers' figures with their places, and the bars; whether a bar is met is worked out.
"""

from __future__ import annotations

import ast
import json
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Result = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """What a case is to reach, `figure` or something that stands beside it, and within how many CPU seconds of training."""

    sign: str  # ">=" or "<="
    value: float
    seconds: float | None = None
    quantity: str = "figure"

    def __str__(self) -> str:
        name = "" if self.quantity == "figure" else f"{self.quantity} "
        within = "" if self.seconds is None else f" in {self.seconds:g} s"
        return f"{name}{'at least' if self.sign == '>=' else 'at most'} {self.value:g}{within}"

    def judge(self, result: Result) -> str:
        """The bar, and whether the mean over the seeds and the mean of the seconds reach it."""
        each = result["seeds"] if self.quantity == "figure" else result["reference_of_seeds"][self.quantity]

        def holds(value: float) -> bool:
            return value >= self.value if self.sign == ">=" else value <= self.value

        many, count = len(each), sum(holds(value) for value in each)
        reached = "met" if holds(mean(each)) else "NOT met"
        words = [f"{reached}" if many == 1 else f"{reached} ({count} of {many} seeds)"]
        if self.seconds is not None:
            used = mean(result["training_cpu_seconds"])
            words.append(f"{'in time' if used <= self.seconds else 'NOT in time'} ({used:.1f} s)")
        return f"{self}: {', '.join(words)}"


@dataclass(frozen=True)
class Row:
    """A line of a page: the result's name in docs/results, what it is about, the paper's figure, the bars, the peers' results."""

    name: str
    task: str
    paper: str = "none"
    bars: tuple[Bar, ...] = ()
    peers: tuple[str, ...] = ()

    def command(self, seeds: int = 5) -> str:
        """What to type for this line; five seeds are what the command takes by itself."""
        long = " --budget long" if self.name.endswith("-long") else ""
        return f"`python -m benchmarks run {self.name.removesuffix('-long')}{long}{'' if seeds == 5 else f' --seeds {seeds}'}`"


def at_least(value: float, seconds: float | None = None, quantity: str = "figure") -> Bar:
    return Bar(">=", value, seconds, quantity)


def at_most(value: float, seconds: float | None = None, quantity: str = "figure") -> Bar:
    return Bar("<=", value, seconds, quantity)


BANDIT = "share of the way from random to the exact optimum"
RL2 = (
    Row("rl2-bandit-n10-k5", f"bandit, 5 arms, 10 pulls: {BANDIT}", "return 6.7 (Table 1)", (at_least(0.96, 6),)),
    Row("rl2-bandit-n10-k5-long", "the same, trained longer", "return 6.7 (Table 1)", (at_least(0.988, 60),)),
    Row("rl2-bandit-n10-k5-gru", "the same, the paper's GRU", "return 6.7 (Table 1)", (at_least(0.92, 10),)),
    Row("rl2-bandit-n10-k5-gru-long", "the same, GRU, trained longer", "return 6.7 (Table 1)", (at_least(0.97, 30),)),
    Row("rl2-bandit-n10-k10", f"bandit, 10 arms, 10 pulls: {BANDIT}", "return 6.7 (Table 1)", (at_least(0.96, 10),)),
    Row("rl2-bandit-n100-k5", "bandit, 5 arms, 100 pulls: return", "78.7 (Table 1)", (at_least(76.3, 40),)),
    Row("rl2-bandit-n100-k5-long", "the same, trained longer", "78.7 (Table 1)", (at_least(78.0, 300),)),
    Row(
        "rl2-bandit-n100-k5-teacher",
        "the same by imitation of the Gittins index",
        "78.7 (Table 1)",
        (at_least(78.3, 60),),
    ),
    Row("rl2-bandit-n100-k10", "bandit, 10 arms, 100 pulls: return", "83.5 (Table 1)", (at_least(79.2, 120),)),
    Row("rl2-mdp-n10", "tabular MDPs, 10 episodes: return", "156.2 (Table 2)", (at_least(156.2, 40),)),
    Row("rl2-mdp-n25", "tabular MDPs, 25 episodes: return", "445.7 (Table 2)", (at_least(440.0, 180),)),
    Row(
        "rl2-grid",
        "5x5 grid, hidden goal: steps of episode 3 over the shortest way",
        "none",
        (at_most(1.4, 40), at_least(0.95, quantity="success of episode 3")),
    ),
    Row(
        "peer-rl2-sb3",
        "bandit, 5 arms, 10 pulls: CPU seconds to a return of 6.30",
        "none",
        (
            at_least(30.0, quantity="ours over sb3-contrib"),
            at_most(4.0, quantity="one iteration over its matrix products"),
        ),
        ("peer-rl2-sb3",),
    ),
    Row(
        "peer-rl2-torchrl",
        "the same against TorchRL",
        "none",
        (at_least(1.0, quantity="ours over TorchRL"),),
        ("peer-rl2-torchrl",),
    ),
    Row("rl2-maze", "random 5x5 mazes: steps of episode 3", "other mazes, seen as images (Table 3)"),
)
MAML = (
    Row(
        "maml-sine",
        "sine regression, 5 points: squared error after 1 step",
        "0.67, 0.38 and 0.35 after 1, 5 and 10 steps (Table 2)",
        (at_most(0.67, 60), at_most(0.38, quantity="after 5 steps"), at_most(0.35, quantity="after 10 steps")),
    ),
    Row(
        "maml-nav",
        "2D navigation, reward minus distance: return after 1 step",
        "-11.68 (Table 4), best of 500 iterations",
        (
            at_least(-11.7, 120),
            at_least(-20.0, quantity="in training, within 10 CPU seconds"),
            at_least(-14.0, quantity="in training, within 30 CPU seconds"),
            at_least(20.0, quantity="gain of the step"),
        ),
    ),
    Row(
        "maml-speed", "2D navigation: environment steps per CPU second, meta-gradient in", "none", (at_least(150_000),)
    ),
    Row(
        "peer-maml",
        "meta-gradients of 100 sine tasks per CPU second",
        "none",
        (at_least(10.0, quantity="ours over TorchOpt"),),
        ("peer-maml",),
    ),
)
PEARL = (
    Row("pearl-dense", "semicircle, dense: return of episode 4", "curves only", (at_least(-6.5, 30),)),
    Row(
        "pearl-sparse",
        "semicircle, sparse: episode 10 over the oracle",
        "curves only",
        (at_least(0.5, 300), at_least(2.5, quantity="episode_10_over_episode_1")),
    ),
    Row("pearl-ablation", "the same with a deterministic latent, half of the training", "curves only (its ablation)"),
    Row(
        "pearl-diagnosis",
        "diagnosis, categorical belief: return over the exact Bayes optimum",
        "none",
        (at_least(0.92), *(at_most(0.05, quantity=f"kl_after_{n}_tests") for n in (1, 4, 7))),
    ),
)
MULTI_TASK = (
    Row("multi-task-catalogue", "10 known goals: return with the task number", "none", (at_least(-4.5, 10),)),
    Row(
        "multi-task-transfer",
        "one shared policy less separate networks, 10 similar tasks",
        "none",
        (
            at_least(0.0, quantity="similar, 10 tasks, gain of sharing"),
            at_most(0.0, quantity="conflicting, 10 tasks, gain of sharing"),
        ),
    ),
)
PAGES: dict[str, tuple[str, str, tuple[Row, ...]]] = {  # page -> title, reference implementation, lines
    "rl2": ("RL²", "rl2", RL2),
    "maml": ("MAML", "maml", MAML),
    "pearl": ("PEARL", "pearl", PEARL),
    "multi-task": ("Multi-task reinforcement learning", "multi_task", MULTI_TASK),
}
NOTES = """Every figure is a mean over seeds on held-out tasks, at the end of the training and not at its best; each seed is shown.
Seconds are CPU seconds of one thread, training alone. They were taken on cores that others used too; the load, the number of processes
that wanted a core, stands beside them, and where it is above the number of cores the same work takes up to twice the seconds.
Nothing was measured on a GPU: `--device cuda` takes the same code there, and that code is tested on the CPU only."""


def number(value: float) -> str:
    """Four digits that count, and no more than the figure has."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def listed(values: list[float]) -> str:
    return " ".join(number(value) for value in values)


def peers(row: Row, results: dict[str, Result]) -> str:
    """What each peer of a row gave, in the words of its own case."""
    parts = []
    for name in row.peers:
        if name in results and (peer := results[name]["peer"]):
            ours, ratio = number(results[name]["figure"]), number(results[name]["ratio"])
            there = results[name]["reference_of_seeds"].get("peer reached (share of seeds)", [1.0])
            missed = "" if mean(there) == 1 else ", a lower bound: the peer did not get there in every seed"
            parts.append(
                f"{peer['name']} {peer['version']}: {number(peer['figure'])} against our {ours}, {ratio} times{missed} (`{name}`)"
            )
    return "; ".join(parts) or "none"


def line(row: Row, results: dict[str, Result]) -> str:
    """A row of the first table."""
    if row.name not in results:
        bars = "; ".join(map(str, row.bars)) or "none"
        return f"| {row.task} | {row.paper} | {peers(row, results)} | not measured | {bars} | | {row.command()} |"
    result = results[row.name]
    judged = "; ".join(bar.judge(result) for bar in row.bars) or "none"
    seconds = f"{listed(result['training_cpu_seconds'])} (load {listed(result['load'])} on {result['cores']} cores)"
    each = f"**{number(result['figure'])}** ({listed(result['seeds'])})"
    return f"| {row.task} | {row.paper} | {peers(row, results)} | {each} | {judged} | {seconds} | {row.command(len(result['seeds']))} |"


def beside(row: Row, result: Result) -> str:
    """The table of all that a case gave beside its figure."""
    lines = [f"### {row.name}", "", f"{result['unit'][0].upper()}{result['unit'][1:]}.", ""]
    lines += ["| | mean | each seed |", "|---|---|---|"]
    lines += [f"| {name} | {number(mean(v))} | {listed(v)} |" for name, v in result["reference_of_seeds"].items()]
    return "\n".join(lines)


def render(page: str, results: dict[str, Result]) -> str:
    """The text of one page."""
    title, module, rows = PAGES[page]
    source = (ROOT / "reference_impls" / f"{module}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    used = [results[name] for row in rows for name in (row.name, *row.peers) if name in results]
    versions = sorted({f"Python {r['versions']['python']}, torch {r['versions']['torch']}" for r in used})
    head = "| task | paper | peers | ours: mean (each seed) | bar | CPU seconds of each seed | command |"
    parts = [
        f"# {title}",
        f"`reference_impls/{module}.py`, {len(source.splitlines())} lines. This page is made by `python -m benchmarks pages`.",
        NOTES,
        "\n".join([head, "|---|---|---|---|---|---|---|", *(line(row, results) for row in rows)]),
        "Measured with " + "; ".join(versions or ["nothing yet"]) + ".",
        "## What the code says of itself",
        f"```text\n{docstring}\n```",
        "## Beside the figures",
    ]
    names = dict.fromkeys(name for row in rows for name in (row.name, *row.peers) if name in results)
    known = {row.name: row for row in rows}
    parts += [beside(known.get(name, Row(name, "")), results[name]) for name in names]
    return "\n\n".join(parts) + "\n"


def read(folder: Path) -> dict[str, Result]:
    """All results by name; of a peer's case the ratio stands among the references too, as "ours over" its first word."""
    results = {}
    for path in sorted(folder.glob("*.json")):
        result: Result = json.loads(path.read_text(encoding="utf-8"))
        if result["peer"] and result["ratios"]:
            result["reference_of_seeds"][f"ours over {result['peer']['name'].split()[0]}"] = result["ratios"]
        results[path.stem] = result
    return results


def write(folder: Path = ROOT / "docs") -> list[Path]:
    """Write every page into the folder, from the results in its subfolder; an old page is replaced only by a whole new one."""
    results, written = read(folder / "results"), []
    for page in PAGES:
        path, part = folder / f"{page}.md", folder / f".{page}.md.part"
        part.write_text(render(page, results), encoding="utf-8")
        os.replace(part, path)
        written.append(path)
    return written
