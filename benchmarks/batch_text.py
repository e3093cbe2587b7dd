"""Rows of text: rows a CPU second from a JSONL file to a JSONL file; the floor is the reader alone on the same texts.

`python -m benchmarks.batch_text ROWS [WORKERS]` runs the command with that many rows of the same texts once and prints the peak memory of each
process.
"""

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from advisor import reader, rulebook

from .batch_facts import ROUNDS, compared, rounds

CASE = "batch-text"
UNIT = "rows of text per CPU second, JSONL file to JSONL file"
ROWS = 24_000


def texts(count: int, seed: int) -> Iterator[str]:
    """The rules' worked scenarios, one or two at a time, each with a number of its own, so that no two rows are alike."""
    known = [str(entry["text"]) for entry in rulebook.load().entries["scenarios"].values()]
    rng = random.Random(seed)
    for i in range(count):
        yield f"{' '.join(rng.sample(known, rng.randint(1, 2)))} Case {i}."


def run(seed: int) -> dict[str, Any]:
    """The reader alone; then one process and two workers, in turn, whose files are the same."""
    told, book = list(texts(ROWS, seed)), rulebook.load()
    reader.read_many(told[:200])
    floors = []
    for _ in range(ROUNDS):
        start = time.process_time()
        reader.read_many(told)
        floors.append(time.process_time() - start)
    with tempfile.TemporaryDirectory() as folder:
        one, two = rounds(write(Path(folder), told), book)
    floor = min(floors)
    return {
        "figure": ROWS / one.total,
        "cpu_seconds": one.total,
        "settings": {"rows": ROWS, "characters a text": sum(map(len, told)) / ROWS, "best of": ROUNDS},
        "reference": {
            "floor: the reader alone, texts per CPU second": ROWS / floor,
            "time over the floor's": one.total / floor,
            **compared(one, two),
        },
    }


def write(folder: Path, told: Iterable[str]) -> Path:
    """The texts as JSONL."""
    source = folder / "rows.jsonl"
    with source.open("w", encoding="utf-8") as stream:
        for i, text in enumerate(told):
            stream.write(json.dumps({"id": f"s{i}", "text": text}) + "\n")
    return source


def main() -> None:
    """Peak memory of a long run, in processes that have done nothing else."""
    import subprocess

    rows, workers = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder), texts(rows, 0))
        code = (
            "import resource, sys; from advisor.cli import main\n"
            "if __name__ == '__main__':\n"
            "    try: main()\n"
            "    finally:\n"
            "        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):\n"
            "            used = resource.getrusage(who)\n"
            "            print(used.ru_maxrss // 1024, round(used.ru_utime + used.ru_stime, 1))\n"
        )
        target = Path(folder) / "out.jsonl"
        options = ["classify", str(source), "--output", str(target), "--workers", str(workers)]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *options], stdout=subprocess.PIPE, text=True)
        wall = time.perf_counter() - start
        (peak, cpu), (child_peak, child_cpu) = (
            [float(x) for x in line.split()] for line in done.stdout.splitlines()[-2:]
        )
        with target.open("rb") as lines:
            written = sum(1 for _ in lines)
        document = {
            "rows": rows,
            "written": written,
            "workers": workers,
            "peak MB": peak,
            "largest worker's peak MB": child_peak,
        }
        document |= {"cpu_seconds": cpu, "workers' cpu_seconds": child_cpu, "wall_seconds": round(wall, 1)}
        document |= {"this process's own peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
        print(json.dumps(document))


if __name__ == "__main__":
    main()
