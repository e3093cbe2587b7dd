"""`python -m benchmarks list`, `python -m benchmarks run CASE [--seeds N] [--budget short|long] [--json]` and `python -m benchmarks pages`.

A module here holds one case, with CASE (its name), UNIT and `run(seed) -> dict`, or several, with CASES (name -> unit) and
`run(case, seed, budget) -> dict`. The result has figure, settings, reference, cpu_seconds and, where there is a peer, peer and ratio.
Every seed runs in a process of its own with one thread; `cpu_seconds` are those of that whole process, imports, controls and
evaluation included, and `training_cpu_seconds` those that the case gives for itself. The budget is a number of iterations that the case
has under that name, never a time; cases of one budget take no notice.
"""

import argparse
import importlib
import json
import os
import pkgutil
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from statistics import mean
from typing import Any

import benchmarks
from benchmarks.pages import write as write_pages


def cases() -> dict[str, tuple[str, str]]:
    """Case name -> module name and unit."""
    found = {}
    for info in pkgutil.iter_modules(benchmarks.__path__):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"benchmarks.{info.name}")
            if hasattr(module, "CASES"):
                found |= {case: (info.name, unit) for case, unit in module.CASES.items()}
            elif hasattr(module, "CASE"):
                found[module.CASE] = (info.name, module.UNIT)
    return dict(sorted(found.items()))


def one_seed(name: str, case: str, seed: int, budget: str) -> dict[str, Any]:
    """What module `name` gives for one seed of the case, in this process; no other module is imported."""
    module = importlib.import_module(f"benchmarks.{name}")
    result: dict[str, Any] = module.run(case, seed, budget) if hasattr(module, "CASES") else module.run(seed)
    # Seconds of shared, busy cores run up to twice as high: how many processes wanted them belongs to the figure.
    return {**result, "process_cpu_seconds": round(time.process_time(), 2), "load": round(os.getloadavg()[0], 1)}


def run(case: str, seeds: int, budget: str) -> dict[str, Any]:
    """One JSON document of the contract's form: the mean over the seeds, and every seed."""
    known = cases()
    if case not in known:
        sys.exit(f"no case is called {case}; there are: {', '.join(known)}")
    name, unit = known[case]
    results = []
    for seed in range(seeds):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "seed", name, case, str(seed), "--budget", budget],
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
        shown = f"{results[-1]['figure']:.4g} {unit}, {results[-1]['process_cpu_seconds']} CPU s"
        print(f"{case} seed {seed}: {shown}", file=sys.stderr)
    reference, peers = results[0]["reference"], [r["peer"] for r in results if r.get("peer")]
    ratios = [r["ratio"] for r in results if r.get("ratio") is not None]
    peer = None
    if peers:
        figure, seconds = mean(p["figure"] for p in peers), [p["cpu_seconds"] for p in peers]
        peer = {"name": peers[0]["name"], "version": peers[0]["version"], "figure": figure, "cpu_seconds": seconds}
    return {
        "case": case,
        "figure": mean(r["figure"] for r in results),
        "unit": unit,
        "seeds": [r["figure"] for r in results],
        "cpu_seconds": [r["process_cpu_seconds"] for r in results],
        "training_cpu_seconds": [r["cpu_seconds"] for r in results],
        "load": [r["load"] for r in results],
        "cores": os.cpu_count(),
        "settings": results[0]["settings"],
        "reference": {name: mean(r["reference"][name] for r in results) for name in reference},
        "reference_of_seeds": {name: [r["reference"][name] for r in results] for name in reference},
        "peer": peer,
        "ratio": mean(ratios) if ratios else None,
        "ratios": ratios,
        "budget": budget,
        "versions": {"python": platform.python_version(), "torch": version("torch")},
    }


def main() -> None:
    """Reads the command line and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("pages", help="write the pages of the methods in docs/ from the results kept in docs/results/")
    running = commands.add_parser("run")
    running.add_argument("case", nargs="?", help="a name of `list`; without one, every case with --seeds 1")
    running.add_argument("--seeds", type=int, default=5)
    running.add_argument("--json", action="store_true", help="indented JSON; without it one line a case")
    running.add_argument("--short", action="store_true", help="every case but the peers', one seed each")
    one = commands.add_parser("seed")
    one.add_argument("module")
    one.add_argument("case")
    one.add_argument("seed", type=int)
    for command in (running, one):
        command.add_argument("--budget", choices=("short", "long"), default="short")
    options = parser.parse_args()
    if options.command == "list":
        print("\n".join(cases()))
    elif options.command == "pages":
        print("\n".join(str(path) for path in write_pages()))
    elif options.command == "seed":
        print(json.dumps(one_seed(options.module, options.case, options.seed, options.budget)))
    else:
        # The peers take minutes, and their packages are an extra.
        every = [name for name in cases() if not (options.short and name.startswith("peer-"))]
        for name in [options.case] if options.case and not options.short else every:
            document = run(name, 1 if options.short else options.seeds, options.budget)
            print(json.dumps(document, indent=2 if options.json else None))


if __name__ == "__main__":
    main()
