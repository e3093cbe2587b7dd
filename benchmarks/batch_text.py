"""Rows of text: rows a CPU second from a JSONL file to a JSONL file; the floor is the reader alone on the same texts.

`python -m benchmarks.batch_text ROWS [WORKERS]` runs that many rows once and prints the peak memory of each process; its texts are cut to 8
characters, since memory does not depend on what the reader does and a million long ones take it an hour.
"""

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from advisor import reader, rulebook

from .batch_facts import WORKERS, classify, compared

CASE = "batch-text"
UNIT = "rows of text per CPU second, JSONL file to JSONL file"
ROWS = 2000


def texts(count: int, seed: int) -> list[str]:
    """The rules' worked scenarios, one or two at a time, each with a number of its own, so that no two rows are alike."""
    known = [str(entry["text"]) for entry in rulebook.load().entries["scenarios"].values()]
    rng = random.Random(seed)
    return [f"{' '.join(rng.sample(known, rng.randint(1, 2)))} Case {i}." for i in range(count)]


def run(seed: int) -> dict[str, Any]:
    """The reader alone, one process, two; the files that the last two write are the same."""
    told, book = texts(ROWS, seed), rulebook.load()
    reader.read_many(told[:200])
    start = time.process_time()
    reader.read_many(told)
    floor = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder), told)
        one = classify(source, Path(folder) / "one.jsonl", book, 1)
        two = classify(source, Path(folder) / "two.jsonl", book, WORKERS)
        assert (Path(folder) / "one.jsonl").read_bytes() == (Path(folder) / "two.jsonl").read_bytes()
    return {
        "figure": ROWS / one["cpu"],
        "cpu_seconds": one["cpu"],
        "settings": {"rows": ROWS, "characters a text": sum(map(len, told)) / ROWS},
        "reference": {
            "floor: the reader alone, texts per CPU second": ROWS / floor,
            "time over the floor's": one["cpu"] / floor,
            **compared(one, two),
        },
    }


def write(folder: Path, told: list[str]) -> Path:
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
        source = Path(folder) / "rows.jsonl"
        known = [text[:8] for text in texts(2000, 0)]
        with source.open("w", encoding="utf-8") as stream:
            for i in range(rows):
                stream.write(json.dumps({"id": f"s{i}", "text": f"{known[i % len(known)]} Row {i}."}) + "\n")
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
