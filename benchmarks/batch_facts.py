"""Rows of facts alone: rows a CPU second of the whole way from a JSONL file to a JSONL file; the floor is parsing the same lines as JSON."""

import json
import random
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from advisor import batch, executors, rulebook

CASE = "batch-facts"
UNIT = "rows of facts per CPU second, JSONL file to JSONL file"
ROWS = 200_000
WORKERS = 2


def run(seed: int) -> dict[str, Any]:
    """One process, then two; the file that they write is the same. `cpu_seconds` is that of the one process."""
    book = rulebook.load()
    rng = random.Random(seed)
    points = [
        {fact.id: value for fact, value in zip(book.decisive, values, strict=True) if value}
        for values in product(*((None, *fact.values) for fact in book.decisive))
    ][1:]  # without the one that knows nothing
    with tempfile.TemporaryDirectory() as folder:
        lines = [json.dumps({"id": f"scenario-{i}", **rng.choice(points)}) for i in range(ROWS)]
        source = Path(folder) / "rows.jsonl"
        source.write_text("\n".join(lines) + "\n")
        start = time.process_time()
        for line in lines:
            json.loads(line)
        floor = time.process_time() - start
        one = classify(source, Path(folder) / "one.jsonl", book, 1)
        two = classify(source, Path(folder) / "two.jsonl", book, WORKERS)
        assert (Path(folder) / "one.jsonl").read_bytes() == (Path(folder) / "two.jsonl").read_bytes()
    return {
        "figure": ROWS / one["cpu"],
        "cpu_seconds": one["cpu"],
        "settings": {"rows": ROWS, "bytes a row": sum(map(len, lines)) / ROWS},
        "reference": {
            "floor: json.loads of each line, rows per CPU second": ROWS / floor,
            "time over the floor's": one["cpu"] / floor,
            **compared(one, two),
        },
    }


def classify(source: Path, target: Path, book: rulebook.Rulebook, workers: int) -> dict[str, float]:
    """Wall seconds and CPU seconds of this process and of its workers, which have been started and warmed before."""
    with executors.open_place(workers) as place:
        rounds = [source.with_name(f"warm-{i}.csv") for i in range(2)]
        warm = source.with_name("warm.jsonl")
        with source.open("rb") as stream:
            warm.write_bytes(b"".join(stream.readline() for _ in range(50)) + b"\n")
        for path in rounds:
            run_once([str(warm)] * 2 * workers, path, book, place)
            path.unlink()
        before = [workers_cpu(workers, place), time.process_time(), time.perf_counter()]
        run_once([str(source)], target, book, place)
        after = [0.0, time.process_time(), time.perf_counter()]
        after[0] = workers_cpu(workers, place)
    busy, cpu, wall = (b - a for a, b in zip(before, after, strict=True))
    return {"cpu": cpu, "workers": busy, "wall": wall}


def run_once(paths: list[str], target: Path, book: rulebook.Rulebook, place: executors.Place) -> None:
    """The run of the command line, without its progress."""
    form = batch.format_of(None, target)
    with batch.output_file(target, form, book, paths) as file:
        batch.run(paths, book, form, file, place, on_notice=lambda message: None)


def workers_cpu(workers: int, place: executors.Place) -> float:
    """CPU seconds of the processes of a pool up to now: the largest answer of each process among many jobs that ask."""
    if workers == 1:
        return 0.0
    seen: dict[int, float] = {}
    while len(seen) < workers:
        for pid, seconds in [f.result() for f in [place.executor.submit(_asked) for _ in range(4 * workers)]]:
            seen[pid] = max(seen.get(pid, 0.0), seconds)
    return sum(seen.values())


def _asked() -> tuple[int, float]:
    import os

    time.sleep(0.02)  # so that one process does not answer for all
    return os.getpid(), time.process_time()


def compared(one: dict[str, float], two: dict[str, float]) -> dict[str, float]:
    """Two workers against one process: by the clock, which other work on the machine disturbs, and by CPU time.

    By CPU time: the run can't take less than an even share of all CPU seconds on two cores, parent and workers together.
    """
    return {
        "two workers over one, wall clock": one["wall"] / two["wall"],
        "two workers over one, CPU time on two cores": one["cpu"] / ((two["cpu"] + two["workers"]) / WORKERS),
        "CPU seconds of the parent of two workers": two["cpu"],
    }
