"""Jobs -> outcomes on any executor: so many under way, each kept as soon as it has ended, always known what runs and what is left."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children

from ..errors import AdvisorError
from ..executors import processes
from . import train
from .train import Job, Outcome

Progress = Callable[[str, int, int], None]
Keep = Callable[[Job, Outcome], None]


class WorkerDied(AdvisorError):
    """A worker process ended before its job."""

    code = "worker-died"
    exit_code = 1


def carry_out(
    work: Sequence[Job],
    held: Sequence[Outcome | None],
    executor: Executor,
    ahead: int,
    keep: Keep | None = None,
    tell: Progress | None = None,
) -> list[Outcome | None]:
    """The outcome of each job; those `held` already are not run again. None is left only for jobs that Ctrl-C kept from ending.

    At most `ahead` jobs are handed to the executor at a time, seed by seed, so that what has ended at any moment is as many whole seeds
    as can be. `keep(job, outcome)` is called as each ends; `tell(what runs, done, total)` at the start and as each ends. What a job
    raises is raised; WorkerDied where its process was killed.
    """
    outcomes = list(held)
    left = deque(sorted((i for i, o in enumerate(outcomes) if o is None), key=lambda i: work[i].seed))
    under_way: dict[Future[Outcome], int] = {}

    def say() -> None:
        if tell is not None:
            coming = list(left)[: ahead - len(under_way)]
            running = ", ".join(label(work[i]) for i in (*under_way.values(), *coming))
            waiting = len(left) - len(coming)
            text = f"{running}; {waiting} waiting" if waiting else running
            tell(text or "all trainings ended", sum(o is not None for o in outcomes), len(work))

    try:
        say()
        while left or under_way:
            while left and len(under_way) < ahead:
                i = left.popleft()
                future = executor.submit(train.run, work[i])
                under_way[future] = i
                if future.done():  # an executor that works at once: keep this outcome before the next job begins
                    break
            ended = wait(under_way, return_when=FIRST_COMPLETED).done
            for future in [f for f in under_way if f in ended]:  # in the order of submission
                i = under_way.pop(future)
                outcome = future.result()
                if keep is not None:
                    keep(work[i], outcome)
                outcomes[i] = outcome
                say()
    except KeyboardInterrupt:
        pass  # the outcomes so far are the answer
    except BrokenProcessPool as fault:
        hint = "was there too little memory? with --run DIR what has ended is kept, and --resume goes on"
        raise WorkerDied("a worker process was killed before its training ended", hint=hint) from fault
    finally:
        for future in under_way:
            future.cancel()
    return outcomes


def label(job: Job) -> str:
    """A job as readers know it."""
    return f"{job.training.replace('_', ' ')} seed {job.seed}"


@contextmanager
def own_pool(workers: int) -> Iterator[Executor]:
    """Processes of one thread each; what still runs when it closes, after Ctrl-C or a fault, is ended and not waited for."""
    others = set(active_children())
    pool = processes(workers)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(active_children()) - others:
            child.terminate()
