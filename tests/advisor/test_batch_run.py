"""Nothing lost: kills, full disks, files in the way, changed inputs; and the same bytes from every executor."""

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

import pytest

from advisor import batch, executors, rulebook
from advisor.batch import output
from advisor.batch.output import Handed
from advisor.batch.run import WorkerLost
from advisor.errors import BadScenario, CannotWrite
from advisor.executors import InProcess, OtherVersion, Place
from tests.conftest import Run

BOOK = rulebook.load()
POINTS = BOOK.points()
FORMS = ["jsonl", "json", "csv", "parquet", "md"]
# The command itself, with a mark after every chunk in place of one a second.
EAGER = "from advisor.batch import output; output.SYNC_SECONDS = 0.0; from advisor.cli import main; main()"


def write_rows(path: Path, count: int) -> None:
    """Rows of facts of many kinds, an error now and then, unlike one another."""
    rng = random.Random(count)
    with path.open("w") as stream:
        for i in range(count):
            row: dict[str, Any] = {"id": f"r{i}", **rng.choice(POINTS)}
            for name in rng.sample(sorted(row), rng.randrange(3)):
                row.pop(name)
            stream.write("broken\n" if rng.random() < 0.001 else json.dumps(row) + "\n")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def classify(paths: list[Path], target: Path, place: Place, resume: bool = False) -> batch.Tally:
    found = [str(path) for path in paths]
    form = batch.format_of(None, target)
    with batch.output_file(target, form, BOOK, found, resume) as file:
        return batch.run(found, BOOK, form, file, place)


class Counting(InProcess):
    """Works at once and counts what it was handed; breaks at the job that it is told to break at."""

    def __init__(self, breaks_at: int = -1, error: type[BaseException] = BrokenExecutor) -> None:
        self.jobs, self.breaks_at, self.error = 0, breaks_at, error

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1
        if self.jobs == self.breaks_at:
            broken: Future[Any] = Future()
            broken.set_exception(self.error("killed"))
            return broken
        return super().submit(fn, *args, **kwargs)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "rows.jsonl"
    write_rows(path, 20_000)
    return path


def test_the_same_bytes_from_every_executor(rows: Path, tmp_path: Path) -> None:
    """In every format the output is the same for this process and for two others, whose jobs end in any order."""
    for name in FORMS:
        classify([rows], tmp_path / f"one.{name}", Place(InProcess(), 1))
    with executors.open_place(2) as place:
        for name in FORMS:
            classify([rows], tmp_path / f"two.{name}", place)
            assert digest(tmp_path / f"two.{name}") == digest(tmp_path / f"one.{name}")
    lines = (tmp_path / "one.jsonl").read_text().splitlines()
    assert len(lines) == 20_000 and json.loads((tmp_path / "one.json").read_text()) == [
        json.loads(line) for line in lines
    ]
    assert not [p for p in tmp_path.iterdir() if ".part" in p.name]


def test_no_more_under_way_than_allowed(rows: Path) -> None:
    """Memory is bounded by the chunks under way: never more than `ahead` have been begun and not written."""
    written = 0
    executor = Counting()

    def take(data: bytes) -> None:
        nonlocal written
        assert executor.jobs - written <= 3
        written += 1

    batch.run([str(rows)], BOOK, "jsonl", Handed(take), Place(executor, 3))
    assert executor.jobs > 5


@pytest.mark.parametrize("name", FORMS)
def test_broken_off_after_every_chunk(rows: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that breaks at any chunk, again and again, ends with the same bytes and the same counts, and works no chunk out twice."""
    monkeypatch.setattr(output, "SYNC_SECONDS", 0.0)
    whole, target = tmp_path / f"whole.{name}", tmp_path / f"broken.{name}"
    counting = Counting()
    tally = classify([rows], whole, Place(counting, 1))
    with pytest.raises(WorkerLost):  # before the first chunk, when at most the head is written
        classify([rows], target, Place(Counting(breaks_at=1), 1))
    done = 0
    for _ in range(counting.jobs):
        breaking = Counting(breaks_at=2)
        try:
            assert classify([rows], target, Place(breaking, 1), resume=True) == tally
            break
        except WorkerLost:
            done += 1
            assert not target.exists()
    assert done == counting.jobs - 1
    assert digest(target) == digest(whole) and len(list(tmp_path.iterdir())) == 2


def kills(folder: Path, source: Path, name: str, options: list[str], count: int, seed: int) -> None:
    """Kills the command `count` times at random points of its output, resuming each time; every run ends with the bytes of a whole one."""
    rng = random.Random(seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = folder / f"whole.{name}"
    command = [sys.executable, "-c", EAGER, "classify", str(source), *options, "--output"]
    reference = subprocess.run([*command, str(whole)], capture_output=True, text=True, env=environment)
    assert reference.returncode == 3, reference.stderr  # some rows hold an error
    # What a part holds of them when all lines are written, or (Parquet) a little less.
    form = "jsonl" if name == "jsonl" else "csv"
    lines = len(subprocess.run([*command[:-1], "--format", form], capture_output=True).stdout)
    done = run = 0
    while done < count:
        target = folder / f"run{run}.{name}"
        part, journal = (target.with_name(target.name + end) for end in (".part", ".part.json"))
        finished = False
        while not finished:
            held = part.stat().st_size if part.exists() else 0
            process = subprocess.Popen(
                [*command, str(target), "--resume"], stderr=subprocess.PIPE, text=True, env=environment
            )
            if held < lines and not target.exists():  # else only the last steps are left, and the run may take them
                at = min(lines, held + rng.randrange(lines // 3))
                while (
                    process.poll() is None and not target.exists() and (not part.exists() or part.stat().st_size < at)
                ):
                    time.sleep(0.001)
                time.sleep(rng.random() * 0.01)
                process.kill()
            _, told = process.communicate()
            if process.returncode == -signal.SIGKILL:
                done += 1
            else:
                assert process.returncode == 3, told
            finished = target.exists() and not journal.exists()
        assert digest(target) == digest(whole), f"run {run}"
        run += 1
    assert sorted(p.name for p in folder.iterdir() if ".part" in p.name) == []


def test_killed_at_random_points(rows: Path, tmp_path: Path) -> None:
    """A command that is killed (SIGKILL) wherever it is and resumed ends with the bytes of an uninterrupted run."""
    kills(tmp_path, rows, "jsonl", [], 4, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("jsonl", []), ("csv", ["--workers", "2"]), ("parquet", ["--workers", "2"])]
)
def test_killed_many_times(tmp_path: Path, name: str, options: list[str]) -> None:
    """The same, twelve kills for each of three formats, with and without workers: 36 in all."""
    source = tmp_path / "rows.jsonl"
    write_rows(source, 60_000)
    (tmp_path / "out").mkdir()
    kills(tmp_path / "out", source, name, options, 12, seed=2)


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """No worker outlives a parent that was killed."""
    os.mkfifo(tmp_path / "never.jsonl")  # the run waits for input
    code = (
        "import sys; from advisor import executors\n"
        "if __name__ == '__main__':\n"
        "    from concurrent.futures import wait\n    import os, time\n"
        "    with executors.open_place(2) as place:\n"
        "        print(*[place.executor.submit(os.getpid).result() for _ in range(2)], flush=True)\n        time.sleep(60)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = {int(pid) for pid in parent.stdout.readline().split()}
    assert workers and all(Path(f"/proc/{pid}").exists() for pid in workers)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(500):
        alive = [pid for pid in workers if _running(pid)]
        if not alive:
            break
        time.sleep(0.02)
    assert alive == []


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_full_disk(rows: Path, tmp_path: Path) -> None:
    """No room: one clear message with exit 2, nothing under the file's name, and the run goes on once there is room."""
    command = [sys.executable, "-c", EAGER, "classify", str(rows), "--output", "out.jsonl", "--resume"]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))  # noqa: E731
    full = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, preexec_fn=limit)
    assert full.returncode == 2 and "error[cannot-write]: out.jsonl" in full.stderr and "File too large" in full.stderr
    assert "--resume" in full.stderr and "Traceback" not in full.stderr and not (tmp_path / "out.jsonl").exists()
    held = json.loads((tmp_path / "out.jsonl.part.json").read_text())
    assert 0 < held["mark"]["rows"] < 20_000
    rest = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert rest.returncode == 3 and "20,000 records in out.jsonl" in rest.stderr
    classify([rows], tmp_path / "whole.jsonl", Place(InProcess(), 1))
    assert digest(tmp_path / "out.jsonl") == digest(tmp_path / "whole.jsonl")


def test_a_full_stdout(rows: Path) -> None:
    """The same for stdout."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "advisor", "classify", str(rows), "--format", "csv"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2 and "error[cannot-write]: stdout: can't write (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_an_unwritable_place(advisor: Run, rows: Path) -> None:
    """A folder that is not there and a place where nobody may write are one message with exit 2."""
    for target in ("nowhere/out.csv", "/proc/out.csv"):
        done = advisor("classify", str(rows), "--output", target)
        assert (
            done.returncode == 2 and "error[cannot-write]" in done.stderr and target.rpartition("/")[0] in done.stderr
        )
        assert "Traceback" not in done.stderr


def test_nothing_of_the_users_is_overwritten(rows: Path, tmp_path: Path) -> None:
    """A file of that name, a part that is not ours, an unfinished run: each is named, and none is touched."""
    here = Place(InProcess(), 1)
    target, part, journal = tmp_path / "o.csv", tmp_path / "o.csv.part", tmp_path / "o.csv.part.json"
    for path in (target, part, journal):
        path.write_text("mine")
        for resume in (False, True):
            with pytest.raises(CannotWrite):
                classify([rows], target, here, resume)
        assert path.read_text() == "mine" and [p.name for p in tmp_path.iterdir()] == [path.name]
        path.unlink()
    with pytest.raises(WorkerLost):
        classify([rows], target, Place(Counting(breaks_at=3), 1))
    with pytest.raises(CannotWrite, match="--resume goes on with it"):
        classify([rows], target, here)


def test_another_run_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed input, other paths, other rules: an unfinished run says which, and stays as it is."""
    monkeypatch.setattr(output, "SYNC_SECONDS", 0.0)
    source, target, here = tmp_path / "rows.jsonl", tmp_path / "out.jsonl", Place(InProcess(), 1)
    write_rows(source, 10_000)
    with pytest.raises(WorkerLost):
        classify([source], target, Place(Counting(breaks_at=3), 1))
    part = digest(tmp_path / "out.jsonl.part")
    with pytest.raises(OtherVersion, match="another paths"):
        classify([source, source], target, here, resume=True)
    raw = source.read_text()
    for changed in (raw.replace("r5", "x5", 1), raw[:1000]):
        source.write_text(changed)
        with pytest.raises(BadScenario, match="no longer what"):
            classify([source], target, here, resume=True)
    source.write_text(raw)
    journal = tmp_path / "out.jsonl.part.json"
    held = journal.read_text()
    journal.write_text(held.replace(BOOK.version, "0123456789ab"))
    with pytest.raises(OtherVersion, match="0123456789ab"):
        classify([source], target, here, resume=True)
    journal.write_text(held)
    assert digest(tmp_path / "out.jsonl.part") == part
    assert sum(classify([source], target, here, resume=True).values()) == 10_000


def test_one_run_at_a_time(rows: Path, tmp_path: Path) -> None:
    """While a run writes a file, another one may not go on with it."""
    target = tmp_path / "out.csv"
    here = Place(InProcess(), 1)
    file = batch.output_file(target, "csv", BOOK, [str(rows)])
    with file:
        file.begin()
        with pytest.raises(CannotWrite, match="another run is writing it"):
            classify([rows], target, here, resume=True)
    classify([rows], target, here, resume=True)
    assert target.exists()


def test_a_pool_that_lost_a_worker(tmp_path: Path, rows: Path) -> None:
    """A worker that is killed ends the run with one message; what is done is kept, and the run goes on from there."""
    target = tmp_path / "out.jsonl"
    with executors.open_place(2) as place:
        pid = place.executor.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerLost, match="--resume"):
            classify([rows], target, place)
    classify([rows], target, Place(InProcess(), 1), resume=True)
    classify([rows], tmp_path / "whole.jsonl", Place(InProcess(), 1))
    assert digest(target) == digest(tmp_path / "whole.jsonl")


def test_a_pool_that_is_losing_a_worker(tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that is breaking closes the pipes of the worker that it is starting: the same one message."""

    def start(self: Any) -> None:
        raise OSError("handle is closed")

    monkeypatch.setattr("concurrent.futures.process.ProcessPoolExecutor._adjust_process_count", start)
    with executors.open_place(2) as place, pytest.raises(WorkerLost, match="--resume"):
        classify([rows], tmp_path / "out.jsonl", place)


def test_stdin_can_be_resumed(tmp_path: Path, rows: Path) -> None:
    """The same input on stdin goes on like a file."""
    command = [sys.executable, "-c", EAGER, "classify", "-", "--output", "out.csv", "--resume"]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))  # noqa: E731
    raw = rows.read_bytes()
    assert subprocess.run(command, input=raw, capture_output=True, cwd=tmp_path, preexec_fn=limit).returncode == 2
    assert json.loads((tmp_path / "out.csv.part.json").read_text())["mark"]["rows"] > 0
    assert subprocess.run(command, input=raw, capture_output=True, cwd=tmp_path).returncode == 3
    whole = subprocess.run([*command[:-2], "whole.csv"], input=raw, capture_output=True, cwd=tmp_path)
    assert whole.returncode == 3 and digest(tmp_path / "out.csv") == digest(tmp_path / "whole.csv")


def test_progress(rows: Path) -> None:
    """Progress counts rows and bytes up to all of them."""
    seen: list[tuple[int, int]] = []
    batch.run(
        [str(rows)],
        BOOK,
        "csv",
        Handed(lambda data: None),
        Place(InProcess(), 1),
        None,
        lambda r, s: seen.append((r, s)),
    )
    assert seen[-1] == (20_000, rows.stat().st_size) and seen == sorted(seen)
    assert batch.total_size([str(rows)]) == rows.stat().st_size and batch.total_size(["-"]) is None


def test_an_executor_is_all_it_takes(rows: Path) -> None:
    """Any Executor will do."""
    assert issubclass(InProcess, Executor)
    failed: Future[int] = InProcess().submit(int, "x")
    with pytest.raises(ValueError):
        failed.result()
