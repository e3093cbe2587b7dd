"""Rows of facts alone: rows a CPU second of the whole way from a JSONL file to a JSONL file; the floor is parsing the same lines as JSON.

Two workers against one is measured by CPU seconds, which other work on the machine disturbs less than the clock: `compared` says how.
"""

import json
import os
import random
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from advisor import batch, executors, rulebook

CASE = "batch-facts"
UNIT = "rows of facts per CPU second, JSONL file to JSONL file"
ROWS = 200_000
WORKERS = 2
ROUNDS = 3
WARM = 1000  # rows; most combinations of facts are among them


@dataclass(frozen=True)
class Used:
    """What a run took: CPU seconds of this process and of each worker, wall seconds."""

    parent: float
    workers: tuple[float, ...]
    wall: float

    @property
    def total(self) -> float:
        """CPU seconds of all processes."""
        return self.parent + sum(self.workers)

    @property
    def busiest(self) -> float:
        """CPU seconds of the process that has most to do: no number of cores makes the run shorter."""
        return max(self.parent, *self.workers, 0.0)


def run(seed: int) -> dict[str, Any]:
    """One process and two workers, in turn; the files that they write are the same. `cpu_seconds` is that of the one process."""
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
        floors = []
        for _ in range(ROUNDS):
            start = time.process_time()
            for line in lines:
                json.loads(line)
            floors.append(time.process_time() - start)
        one, two = rounds(source, book)
    floor = min(floors)
    return {
        "figure": ROWS / one.total,
        "cpu_seconds": one.total,
        "settings": {"rows": ROWS, "bytes a row": sum(map(len, lines)) / ROWS, "best of": ROUNDS},
        "reference": {
            "floor: json.loads of each line, rows per CPU second": ROWS / floor,
            "time over the floor's": one.total / floor,
            **compared(one, two),
        },
    }


def rounds(source: Path, book: rulebook.Rulebook) -> tuple[Used, Used]:
    """One process and two workers, in turn, the best round of each; all files that they write are the same."""
    found: dict[int, list[Used]] = {1: [], WORKERS: []}
    first = source.with_name("first.jsonl")
    for _ in range(ROUNDS):
        for workers, used in found.items():
            target = source.with_name("out.jsonl")
            used.append(classify(source, target, book, workers))
            if first.exists():
                assert first.read_bytes() == target.read_bytes()
                target.unlink()
            else:
                target.rename(first)
    one, two = (min(used, key=lambda u: u.total) for used in found.values())
    return one, two


def classify(source: Path, target: Path, book: rulebook.Rulebook, workers: int) -> Used:
    """One run, by this process alone or with workers, which have been started and warmed before."""
    with executors.open_place(workers) as place:
        warm = source.with_name("warm.jsonl")
        with source.open("rb") as stream:
            warm.write_bytes(b"".join(stream.readline() for _ in range(WARM)))
        for _ in range(2):
            run_once([str(warm)] * 2 * workers, source.with_name("warm.csv"), book, place)
            source.with_name("warm.csv").unlink()
        before = workers_cpu(workers, place), time.process_time(), time.perf_counter()
        run_once([str(source)], target, book, place)
        cpu, wall = time.process_time() - before[1], time.perf_counter() - before[2]
        busy = workers_cpu(workers, place)
    return Used(cpu, tuple(seconds - before[0][pid] for pid, seconds in busy.items()), wall)


def run_once(paths: list[str], target: Path, book: rulebook.Rulebook, place: executors.Place) -> None:
    """The run of the command line, without its progress."""
    form = batch.format_of(None, target)
    with batch.output_file(target, form, book, paths) as file:
        batch.run(paths, book, form, file, place, on_notice=lambda message: None)


def workers_cpu(workers: int, place: executors.Place) -> dict[int, float]:
    """CPU seconds of each process of a pool up to now: the largest of its answers among many jobs that ask."""
    seen: dict[int, float] = {}
    while workers > 1 and len(seen) < workers:
        for pid, seconds in [f.result() for f in [place.executor.submit(_asked) for _ in range(4 * workers)]]:
            seen[pid] = max(seen.get(pid, 0.0), seconds)
    return seen


def _asked() -> tuple[int, float]:
    time.sleep(0.02)  # so that one process does not answer for all
    return os.getpid(), time.process_time()


def compared(one: Used, two: Used) -> dict[str, float]:
    """Rows a second of two workers over those of one process, counted in three ways.

    "on two cores": parent and workers share two cores evenly, so a run takes half of all their CPU seconds. "a core each": a run takes what
    its busiest process does. By the clock: as it was, with whatever else the machine had to do.
    """
    return {
        "two workers over one, CPU seconds on two cores": one.total / (two.total / WORKERS),
        "two workers over one, CPU seconds with a core each": one.total / two.busiest,
        "two workers over one, wall clock": one.wall / two.wall,
        "CPU seconds of the parent of two workers": two.parent,
    }
