"""Fit of the whole table: every setting's stand-ins against all families and controls, and which rows of the table they bear out.

`python -m benchmarks.fit_table --run DIR [--budget smoke] [--seeds 5]` trains what DIR doesn't hold yet, a file for each training and seed, so
that it can be stopped at any moment and goes on; then it writes docs/fit-of-the-table.json and, from that alone, docs/fit-of-the-table.md.
`--page` only writes the page anew. A training whose settings have changed since is run again; other changes of the code ask for a new DIR.
Here gradients are allowed everywhere, so that every cell is filled; what a setting itself doesn't admit is marked.
"""

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from advisor.fit import jobs, shift_reason, train
from advisor.fit.candidates import Candidate
from advisor.fit.judge import LEAST_LEAD, interval, iqm, judge, normalise
from advisor.fit.plan import Plan, StandIn, planned, to_measure
from advisor.fit.resume import Store, write
from advisor.rulebook import load

DOCS = Path(__file__).parent.parent / "docs"
# setting -> its stand-ins, with the facts that decide what is admitted and how large they are (those of the worked scenarios)
TABLE: dict[str, dict[str, dict[str, str]]] = {
    "known_set": {
        "catalogue": {"task_count": "50"},
        "cities": {"task_identity": "observed"},
        "support": {"task_count": "200"},
    },
    "gradient_budget": {
        "objects": {"adaptation_gradients": "allowed", "adaptation_episodes": "10"},
        "maze": {"adaptation_gradients": "allowed"},
    },
    "no_gradient": {"bandit": {}, "regimes": {}, "shapes": {}},
    "identity_uncertain": {"diagnosis": {"task_belief": "required"}, "semicircle": {"task_belief": "required"}},
    "shifted": {"semicircle_shifted": {}},
}
COLUMNS = (
    ("multi-task, told", ("multi-task, task known",)),
    ("multi-task, not told", ("task hidden", "policy without memory")),
    ("separate", ("separate networks",)),
    ("MAML", ("MAML", "MAML, shifted")),
    ("RL²", ("RL²", "RL², shifted")),
    ("PEARL", ("PEARL", "PEARL, shifted")),
    ("fine-tuned", ("multi-task, then fine-tuned", "multi-task, then fine-tuned, shifted")),
    ("scratch", ("from scratch",)),
    ("known in turn", ("known tasks' policies in turn", "known tasks' policies in turn, shifted")),
    ("unadapted", ("unadapted",)),
)


def plans(budget: str, seeds: int) -> Iterator[tuple[str, Plan, set[str]]]:
    """Setting, plan with everybody whom the family's form allows, and the names that the setting itself admits."""
    entries = load().entries["stand_ins"]
    for setting, found in TABLE.items():
        for name, facts in found.items():
            verdict = entries[name]["when"]["verdict"][0]
            row: StandIn = to_measure(name, entries[name], {**facts, "verdict": verdict})
            allowed = facts.get("adaptation_gradients") == "allowed"
            admitted = planned(row, facts, allowed, budget, seeds)
            whole = planned(row, {n: v for n, v in facts.items() if n != "task_belief"}, True, budget, seeds)
            yield setting, whole, {c.name for c in admitted.candidates}


def results(plan: Plan, folder: Path, training: bool) -> dict[str, list[train.Outcome]] | None:
    """Training -> the outcome of each seed, from the folder or trained now; None while something is missing."""
    found: dict[str, list[train.Outcome]] = {}
    for job in sorted(jobs(plan), key=lambda job: job.seed):
        if "_wide_" in job.training:  # the shift report's own trainings
            continue
        job = replace(job, shift={})
        if "semicircle" in job.family:  # two rows share their trainings
            job = replace(job, test_sets=("held_out", "shifted"))
        place = folder / job.family.split(":")[0] / hashlib.sha256(repr(asdict(job)).encode()).hexdigest()[:12]
        store = Store(place, [job])
        outcome = store.held()[0]
        if outcome is None:
            if not training:
                return None
            (place / "jobs").mkdir(parents=True, exist_ok=True)
            outcome = train.run(job)
            store.keep(job, outcome)
            print(f"{plan.row.id} {job.training} seed {job.seed}: {outcome.cpu_seconds:.1f} CPU s", file=sys.stderr)
        found.setdefault(job.training, []).append(outcome)
    return found


def scores(plan: Plan, candidate: Candidate, outcomes: dict[str, list[train.Outcome]]) -> Any:
    """Normalised scores (seed, task) of a candidate."""

    def counted(returns: Any) -> Any:
        return returns.mean(0) if plan.row.scored == "mean" else returns[-1]

    prefix = "" if candidate.tested_on == "held_out" else f"{candidate.tested_on}/"
    random, oracle = (
        np.stack([counted(o.returns[prefix + end]) for o in outcomes["references"]]) for end in ("random", "oracle")
    )
    returns = np.stack([counted(o.returns[candidate.outcome]) for o in outcomes[candidate.training]])
    return normalise(returns, random, oracle, plan.row.pool)


def row_of(setting: str, plan: Plan, admitted: set[str], outcomes: dict[str, list[train.Outcome]]) -> dict[str, Any]:
    """One row of the table as plain data."""
    rivals = [c for c in plan.candidates if c.role != "reference"]
    found = {c.name: scores(plan, c, outcomes) for c in rivals}
    best = next(c.name for c in rivals if c.role == "recommended")
    strict = {n: s for n, s in found.items() if n != best and n in admitted}
    every = {n: s for n, s in found.items() if n != best}
    verdicts = {"admitted": judge(found[best], strict), "everybody": judge(found[best], every)}
    cells = {}
    for c in rivals:
        cell = interval(found[c.name])
        cells[c.name] = {
            "role": c.role,
            "admitted": c.name in admitted,
            "score": asdict(cell),
            "seeds": [round(float(figure), 4) for figure in iqm(found[c.name], 1)],
            "lead_of_recommended": None if c.name == best else asdict(interval(found[best], found[c.name])),
            "environment_steps": outcomes[c.training][0].environment_steps,
            "cpu_seconds": round(sum(o.cpu_seconds for o in outcomes[c.training]), 1),
        }
    return {
        "setting": setting, "stand_in": plan.row.id, "says": plan.row.sentence, "recommendation": plan.verdict,
        "recommended": best, "seeds": plan.seeds, "test": dict(plan.row.test), "cells": cells,
        "refused": {n: why for n, why in plan.refused.items()},
        "verdict": {
            n: {"verdict": v.verdict, "reason": shift_reason(v) if plan.verdict == "none_reliable" else v.reason, "better": v.better}
            for n, v in verdicts.items()
        },
        "cpu_seconds": round(sum(o.cpu_seconds for runs in outcomes.values() for o in runs), 1),
    }  # fmt: skip


UNLEARNED = 0.1  # a score below it is marked
WORDS = {"fits": "yes", "does_not_fit": "**no**", "not_enough_evidence": "open"}


def page(document: dict[str, Any]) -> str:
    """The page, from the JSON alone."""
    rows = document["rows"]
    seeds = sorted({row["seeds"] for row in rows})
    said = " to ".join(str(s) for s in ([seeds[0], seeds[-1]] if len(seeds) > 1 else seeds))
    counts = {v: sum(r["verdict"]["admitted"]["verdict"] == v for r in rows) for v in WORDS}
    out = [
        "# Fit of the table",
        "",
        "Every recommendation of the decision table against all families and controls, on the small stand-ins of",
        f"`rules/stand_ins.toml`. Written by `{document['command']}`;",
        f"nothing here is typed by hand. Budget `{document['budget']}`, {said} seeds a row, {document['cpu_seconds'] / 60:.0f} CPU minutes.",
        "",
        f"Of {len(rows)} rows our own experiments bear out {counts['fits']}, contradict {counts['does_not_fit']} and leave "
        f"{counts['not_enough_evidence']} open.",
        "",
        "A score is 0 for random actions and 1 for the oracle or the exact optimum: interquartile mean over tasks and seeds.",
        "*Borne out*: the recommended is ahead of every control that the setting admits, clear of zero at 95 % and by at least",
        f"{LEAST_LEAD:.2f}; **no**: a control is clearly ahead; open: neither. **Bold** is the recommended; in brackets stands what the",
        "setting doesn't admit, for example gradient steps where none are allowed; a dash has no form there. All candidates of a",
        "row were granted the same environment steps and adapt on the same episodes (a memory on at most four where gradient steps",
        "take more). ° marks less than a tenth of the way from random: not learned at this budget, which says nothing about a larger one.",
        "",
        "| setting | stand-in | borne out | " + " | ".join(label for label, _ in COLUMNS) + " |",
        "|---|---|---|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        shown = " | ".join(_cell(row, names) for _, names in COLUMNS)
        out.append(
            f"| `{row['setting']}` | {row['stand_in']} | {WORDS[row['verdict']['admitted']['verdict']]} | {shown} |"
        )
    out += [
        "",
        "In the row `shifted` the scores are those off the training distribution; borne out means that all of them stay behind",
        "what PEARL reaches on the training distribution itself.",
        "",
        "## Row by row",
    ]
    for row in rows:
        out += ["", *_details(row)]
    out += ["", "Versions: " + ", ".join(f"{n} {v}" for n, v in document["versions"].items()) + ".", ""]
    return "\n".join(out)


def _cell(row: dict[str, Any], names: Sequence[str]) -> str:
    for name in names:
        cell = row["cells"].get(name)
        if cell is not None:
            figure = f"{cell['score']['figure']:.2f}"
            figure += "°" if cell["score"]["figure"] < UNLEARNED else ""
            return f"**{figure}**" if name == row["recommended"] else figure if cell["admitted"] else f"({figure})"
    return "-"


def _details(row: dict[str, Any]) -> list[str]:
    admitted, everybody = row["verdict"]["admitted"], row["verdict"]["everybody"]
    steps = max(c["environment_steps"] for c in row["cells"].values())
    out = [
        f"### `{row['setting']}`: {row['stand_in']}",
        "",
        f"{row['says'][:1].upper()}{row['says'][1:]}. Recommended: {row['recommendation']}. {row['seeds']} seeds, "
        f"{steps:,} environment steps each, {row['cpu_seconds']:.0f} CPU seconds.",
        "",
        f"Against what the setting admits: {admitted['reason']}.",
    ]
    if everybody["reason"] != admitted["reason"]:
        out.append(f"Against everybody, whatever the setting admits: {everybody['reason']}.")
    out += [
        "",
        "| candidate | admitted | score (95 %) | each seed | lead of the recommended (95 %) |",
        "|---|---|---|---|---|",
    ]
    for name, cell in row["cells"].items():
        lead, score = cell["lead_of_recommended"], cell["score"]
        behind = "" if lead is None else f"{lead['figure']:+.2f} ({lead['low']:+.2f} to {lead['high']:+.2f})"
        each = ", ".join(f"{s:.2f}" for s in cell["seeds"])
        out.append(
            f"| {name} | {'yes' if cell['admitted'] else 'no'} | {score['figure']:.2f} ({score['low']:.2f} to {score['high']:.2f}) "
            f"| {each} | {behind} |"
        )
    return out


def main() -> None:
    """Trains what is missing, and writes both files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_table")
    parser.add_argument("--run", type=Path, help="folder that keeps each training")
    parser.add_argument("--budget", choices=("smoke", "standard"), default="smoke")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--page", action="store_true", help="only write the page from the stored JSON")
    parser.add_argument("--held", action="store_true", help="train nothing: the rows and seeds that the folder holds")
    options = parser.parse_args()
    if not options.page:
        if options.run is None:
            parser.error("--run DIR is needed")
        if (
            not options.held
        ):  # the least number of seeds for every row first, then one more for each, so that what has ended is a table
            for seeds in (*range(min(3, options.seeds), options.seeds + 1),):
                for _, plan, _ in reversed(list(plans(options.budget, seeds))):  # the costly rows last
                    results(plan, options.run, training=True)
        rows = []
        for seeds in range(options.seeds, 1, -1):
            for setting, plan, admitted in plans(options.budget, seeds):
                if plan.row.id not in {row["stand_in"] for row in rows}:
                    outcomes = results(plan, options.run, training=False)
                    if outcomes is not None:
                        rows.append(row_of(setting, plan, admitted, outcomes))
        order = [name for found in TABLE.values() for name in found]
        document = {
            "command": f"python -m benchmarks.fit_table --run DIR --budget {options.budget} --seeds {options.seeds}",
            "budget": options.budget,
            "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows), 1),
            "versions": {
                "python": platform.python_version(),
                **{n: version(n) for n in ("torch", "numpy", "metarl-advisor")},
            },
            "rows": sorted(rows, key=lambda row: order.index(row["stand_in"])),
        }
        write(DOCS / "fit-of-the-table.json", json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")
    document = json.loads((DOCS / "fit-of-the-table.json").read_text())
    write(DOCS / "fit-of-the-table.md", page(document).encode())


if __name__ == "__main__":
    main()
