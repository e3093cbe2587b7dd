"""`python -m benchmarks list` and `python -m benchmarks run CASE [--seeds N] [--json]`.

A case is a module here with CASE (its name), UNIT, and `run(seed) -> dict` with figure, settings and reference. Every seed runs in a process
of its own with one thread; `cpu_seconds` are those of that whole process, imports, controls and evaluation included, and
`training_cpu_seconds` those of the training that made the figure.
"""

import argparse
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import time
from statistics import mean
from typing import Any

import benchmarks


def cases() -> dict[str, str]:
    """Case name -> module name."""
    found = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if not module.name.startswith("__"):
            found[importlib.import_module(f"benchmarks.{module.name}").CASE] = module.name
    return dict(sorted(found.items()))


def run(case: str, seeds: int) -> dict[str, Any]:
    """One JSON document of the contract's form: the mean over the seeds, and every seed."""
    known = cases()
    if case not in known:
        sys.exit(f"no case is called {case}; there are: {', '.join(known)}")
    module = importlib.import_module(f"benchmarks.{known[case]}")
    results = []
    for seed in range(seeds):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "seed", case, str(seed)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{case} seed {seed}: {results[-1]['figure']:.4g} {module.UNIT}", file=sys.stderr)
    figure = mean(r["figure"] for r in results)
    reference = results[0]["reference"]
    return {
        "case": case,
        "figure": figure,
        "unit": module.UNIT,
        "seeds": [r["figure"] for r in results],
        "cpu_seconds": [r["process_cpu_seconds"] for r in results],
        "training_cpu_seconds": [r["cpu_seconds"] for r in results],
        "settings": results[0]["settings"],
        "reference": {name: mean(r["reference"][name] for r in results) for name in reference},
        "peer": None,
        "ratio": None,
    }


def main() -> None:
    """Reads the command line and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    running = commands.add_parser("run")
    running.add_argument("case", nargs="?", help="a name of `list`; without one, every case with --seeds 1")
    running.add_argument("--seeds", type=int, default=5)
    running.add_argument("--json", action="store_true", help="indented JSON; without it one line a case")
    running.add_argument("--short", action="store_true", help="every case, one seed each")
    one = commands.add_parser("seed")
    one.add_argument("case")
    one.add_argument("seed", type=int)
    options = parser.parse_args()
    if options.command == "list":
        print("\n".join(cases()))
    elif options.command == "seed":
        result = importlib.import_module(f"benchmarks.{cases()[options.case]}").run(options.seed)
        print(json.dumps({**result, "process_cpu_seconds": round(time.process_time(), 2)}))
    else:
        names = [options.case] if options.case and not options.short else list(cases())
        for name in names:
            document = run(name, 1 if options.short else options.seeds)
            print(json.dumps(document, indent=2 if options.json else None))


if __name__ == "__main__":
    main()
