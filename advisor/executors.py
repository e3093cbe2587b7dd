"""Where work runs: in this process, in processes of this machine, or on a Dask cluster; each is a concurrent.futures.Executor.

What is handed to an executor is a plain function of picklable data, so that no result depends on where it was worked out.
"""

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from .errors import AdvisorError
from .resources import reference_folder
from .rulebook import Rulebook, load

_CONNECT_SECONDS = 10
_END_SECONDS = 10  # a worker that has nothing to do ends at once
_PACKAGE = Path(__file__).resolve().parent
# Not what answers depend on: compiled code, and what the reader's training alone reads, a part of which wheels leave out.
_ELSEWHERE = ("__pycache__", "reader/corpus/", "reader/weights/training/")
P = ParamSpec("P")
T = TypeVar("T")


class NoCluster(AdvisorError):
    """The cluster can't be reached, or has nobody who could work."""

    code = "no-cluster"


class OtherVersion(AdvisorError):
    """A worker, or the run that is to be resumed, would give other answers."""

    code = "other-version"


class MissingExtra(AdvisorError):
    """An optional dependency is not installed."""

    code = "missing-extra"


@dataclass(frozen=True)
class Version:
    """What an answer depends on beside the scenario: the release, the rules, and the code and weights that read, decide and train."""

    release: str
    rules: str
    code: str

    def __str__(self) -> str:
        return f"advisor {self.release}, rules {self.rules}, code {self.code}"


def version(book: Rulebook) -> Version:
    """The version of this process for a rulebook."""
    from . import __version__  # here, for the package may import this module before it has said its version

    return Version(__version__, book.version, _code())


def folder_version(rules: Path | None) -> Version:
    """The version of the process that runs it, with the rules of a folder (None: the shipped ones)."""
    return version(load(rules))


@cache
def _code() -> str:
    digest = hashlib.sha256()
    rooms = {_PACKAGE: ("*.py", "batch/**/*", "reader/**/*", "fit/**/*"), reference_folder(): ("**/*",)}
    files = {
        path.relative_to(room.parent).as_posix(): path for room in rooms for p in rooms[room] for path in room.glob(p)
    }
    for name, path in sorted(files.items()):
        if path.is_file() and not any(part in name for part in _ELSEWHERE):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class InProcess(Executor):
    """Works each job out at once, in the calling thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is done already."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Place:
    """An executor and the number of jobs that keep it busy; whoever streams has no more than that under way."""

    executor: Executor
    ahead: int


@contextmanager
def open_place(workers: int = 1, cluster: str | None = None, rules: Path | None = None) -> Iterator[Place]:
    """One worker: this process. More: a pool of processes. `cluster`: the address or the scheduler file of a Dask scheduler.

    `rules` is the folder of rules that the workers will be asked to use. Raises MissingExtra, NoCluster and OtherVersion.
    """
    if cluster is not None:
        with _dask(cluster, rules) as place:
            yield place
    elif workers == 1:
        yield Place(InProcess(), 1)
    else:
        others = set(active_children())
        pool = processes(workers)
        try:
            yield Place(pool, 4 * workers)
        finally:
            # Waiting for a pool that lost a worker can last for ever: one that was just being started is told nothing.
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - others:
                worker.join(_END_SECONDS)
                worker.kill()


class _Processes(ProcessPoolExecutor):
    """A pool that says it is broken also while it is breaking: a worker that it starts just then finds its pipes closed."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As of any executor. Raises BrokenProcessPool, too, where a worker can't be started."""
        try:
            return super().submit(fn, *args, **kwargs)
        except OSError as fault:
            raise BrokenProcessPool(f"a worker could not be started: {fault}") from fault


def processes(workers: int) -> ProcessPoolExecutor:
    """A pool of processes of one thread each, which end with this process however it ends."""
    return _Processes(workers, mp_context=get_context("spawn"), initializer=_begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group of processes; the parent answers it
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """Ends this process once its parent is gone: a pool's workers wait for ever for a parent that was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _dask(address: str, rules: Path | None) -> Iterator[Place]:
    try:
        import distributed
    except ImportError as fault:
        raise MissingExtra("a cluster needs dask.distributed", hint="pip install 'metarl-advisor[cluster]'") from fault
    where: dict[str, Any] = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client: Any = distributed.Client(**where, timeout=_CONNECT_SECONDS, set_as_default=False)
    except Exception as fault:  # distributed raises many kinds, all of which mean that nobody answers there
        raise NoCluster(
            f"no Dask scheduler answers ({type(fault).__name__}: {str(fault)[:200]})",
            address[:200],
            "give tcp://HOST:PORT or the scheduler file",
        ) from fault
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise NoCluster("the scheduler has no worker", address[:200], "start one, or adapt(minimum=1)")
        folder = None if rules is None else rules.resolve()
        here = folder_version(folder)
        for worker, there in sorted(client.run(folder_version, folder, on_error="return").items()):
            if isinstance(there, BaseException):
                raise OtherVersion(
                    f"can't work ({type(there).__name__}: {str(there)[:200]})",
                    f"worker {worker}",
                    "install the same advisor there; a folder of rules must lie at the same path",
                )
            same_version(here, there, f"worker {worker}")
        yield Place(client.get_executor(), 4 * threads)


def same_version(wanted: Version, found: Version, where: str) -> None:
    """Raises OtherVersion, naming both, unless they are the same: answers of two versions are never mixed."""
    if wanted != found:
        raise OtherVersion(f"has {found}; this run has {wanted}", where, "use the same advisor and rules everywhere")
