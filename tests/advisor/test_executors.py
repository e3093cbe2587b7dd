"""Executors: a Dask scheduler and workers as real processes on 127.0.0.1, beside the pool and this process."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from advisor import batch, executors, rulebook
from advisor.errors import AdvisorError
from advisor.executors import NoCluster, OtherVersion, Version, folder_version, same_version
from advisor.fit import execute
from advisor.resources import rules_folder
from tests.conftest import Run
from tests.fit.small import plan
from tests.fit.test_resume import plain

ROOT = Path(__file__).parent.parent.parent
BOOK = rulebook.load()


class Cluster:
    """A scheduler and its workers, each a process that listens on 127.0.0.1 alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)
        )
        self.wait_for(self.file.is_file)
        self.address: str = json.loads(self.file.read_text())["address"]

    def start(self, kind: str, *options: str, root: Path = ROOT) -> "subprocess.Popen[bytes]":
        """Starts `dask scheduler` or `dask worker`; the package is that of `root`."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(root),
            "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
        }
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *options], stdout=log, stderr=log, cwd=self.folder, env=environment
            )
        self.processes.append(process)
        return process

    def worker(self, name: str, root: Path = ROOT) -> "subprocess.Popen[bytes]":
        """A worker of one thread, without a nanny that would start it again."""
        options = ["--no-nanny", "--no-dashboard", "--nthreads", "1", "--host", "127.0.0.1", "--name", name]
        return self.start("worker", self.address, *options, "--local-directory", str(self.folder), root=root)

    def wait_for_workers(self, count: int) -> None:
        """Until so many workers have announced themselves."""
        import distributed

        with distributed.Client(self.address, set_as_default=False, timeout=30) as client:
            self.wait_for(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == count)

    def wait_for(self, met: "object") -> None:
        assert callable(met)
        for _ in range(1200):
            if met():
                return
            assert all(p.poll() is None for p in self.processes), self.logs()
            time.sleep(0.05)
        raise AssertionError(self.logs())

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.stop()


def write_rows(path: Path, count: int) -> None:
    points = BOOK.points()
    texts = ["A robot arm meets new objects each day.", "The cities are the training cities."]
    with path.open("w") as stream:
        for i in range(count):
            row = (
                {"id": f"r{i}", **points[i % len(points)]} if i % 500 else {"id": f"r{i}", "text": texts[i // 500 % 2]}
            )
            stream.write(json.dumps(row) + "\n")


def change(rules: Path) -> None:
    """Other words in one rule of a folder of rules."""
    path = rules / "pitfalls.toml"
    text = path.read_text(encoding="utf-8")
    changed = text.replace('mistake = "', 'mistake = "Again: ', 1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_cluster_gives_the_same_and_survives_a_killed_worker(cluster: Cluster, advisor: Run, tmp_path: Path) -> None:
    """Two workers, one of which is killed in the middle, give the bytes of the local run, by address and by scheduler file."""
    write_rows(tmp_path / "x.jsonl", 60_000)
    assert advisor("classify", "x.jsonl", "--output", "local.jsonl").returncode == 0
    doomed = cluster.worker("one")
    cluster.worker("two")
    cluster.wait_for_workers(2)
    target, part = tmp_path / "cluster.jsonl", tmp_path / "cluster.jsonl.part"
    size = (tmp_path / "local.jsonl").stat().st_size
    killed_at: list[int] = []

    def kill() -> None:
        while not target.exists() and (not part.exists() or part.stat().st_size < size // 10):
            time.sleep(0.001)
        killed_at.append(part.stat().st_size if part.exists() else size)
        os.kill(doomed.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    done = advisor("classify", "x.jsonl", "--output", "cluster.jsonl", "--cluster", str(cluster.file))
    killer.join(60)
    assert done.returncode == 0, done.stderr + cluster.logs()
    assert 0 < killed_at[0] < size and doomed.wait() == -signal.SIGKILL
    assert digest(target) == digest(tmp_path / "local.jsonl")
    csv_cluster = advisor("classify", "x.jsonl", "--format", "csv", "--cluster", cluster.address)
    csv_local = advisor("classify", "x.jsonl", "--format", "csv", "--workers", "2")
    assert csv_cluster.returncode == 0 and csv_cluster.stdout == csv_local.stdout


def test_a_fit_on_a_cluster_is_the_local_one(cluster: Cluster, advisor: Run) -> None:
    """Trainings on two workers of a cluster give the report of this process, but for CPU seconds; a scheduler that isn't there is named."""
    cluster.worker("one")
    cluster.worker("two")
    cluster.wait_for_workers(2)
    with executors.open_place(cluster=str(cluster.file)) as place:
        there = execute(plan(), "s", "0", "again", place.executor)
    assert plain(there) == plain(execute(plan(), "s", "0", "again", executors.InProcess()))
    nobody = advisor("fit", "It is trained on ten cities and drives in those.", "--cluster", "tcp://127.0.0.1:1")
    assert nobody.returncode == NoCluster.exit_code and "no Dask scheduler answers" in nobody.stderr


def test_a_worker_of_another_version_is_refused(cluster: Cluster, advisor: Run, tmp_path: Path) -> None:
    """A worker with other rules ends the run before anything is written, named with its version and ours; so does one that joins late."""
    other = tmp_path / "other"
    shutil.copytree(
        ROOT / "advisor", other / "advisor", ignore=shutil.ignore_patterns("__pycache__", "_rules", "corpus")
    )
    shutil.copytree(rules_folder(), other / "rules")
    change(other / "rules")
    write_rows(tmp_path / "x.jsonl", 2000)
    cluster.worker("ours")
    cluster.wait_for_workers(1)
    with executors.open_place(cluster=cluster.address) as place:
        cluster.worker("theirs", root=other)
        cluster.wait_for_workers(2)
        with pytest.raises(OtherVersion, match=f"this run has .*rules {BOOK.version}"):
            for _ in range(50):  # until one of the jobs falls to the newcomer
                batch.run([str(tmp_path / "x.jsonl")], BOOK, "csv", batch.Handed(lambda data: None), place)
    done = advisor("classify", "x.jsonl", "--output", "out.csv", "--cluster", cluster.address)
    assert done.returncode == 2 and "error[other-version]: worker tcp://127.0.0.1:" in done.stderr, done.stderr
    assert f"this run has {folder_version(None)}" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out.csv*"))


def test_nobody_there(cluster: Cluster, advisor: Run, tmp_path: Path) -> None:
    """No scheduler at the address, and a scheduler without workers, are one message with exit 2."""
    write_rows(tmp_path / "x.jsonl", 1)
    with pytest.raises(NoCluster, match="has no worker"), executors.open_place(cluster=cluster.address):
        pass
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    done = advisor("classify", "x.jsonl", "--cluster", nobody, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s")
    assert done.returncode == 2 and "error[no-cluster]" in done.stderr and "Traceback" not in done.stderr


def test_places() -> None:
    """One worker is this process, more are a pool; a job's error comes back as it was raised."""
    with executors.open_place() as here, executors.open_place(2) as pool:
        for place in (here, pool):
            assert place.executor.submit(pow, 2, 10).result() == 1024
            with pytest.raises(AdvisorError) as raised:
                place.executor.submit(same_version, Version("1", "a", "b"), Version("2", "a", "b"), "there").result()
            assert (raised.value.code, raised.value.where) == ("other-version", "there")
        assert (here.ahead, pool.ahead) == (1, 8)


def test_the_version_follows_rules_and_code(tmp_path: Path) -> None:
    """Other rules are another version, by the words of the rules alone."""
    shutil.copytree(rules_folder(), tmp_path / "rules")
    ours = folder_version(None)
    assert folder_version(tmp_path / "rules") == ours
    change(tmp_path / "rules")
    theirs = folder_version(tmp_path / "rules")
    assert theirs.rules != ours.rules and (theirs.code, theirs.release) == (ours.code, ours.release)
