"""Rows -> records, for programs: the stages one after the other, plainly."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from pathlib import Path

from ..engine import recommend
from ..errors import AdvisorError
from ..executors import Version, folder_version, same_version, version
from ..facts import establish
from ..reader import read_many
from ..record import Record, failed, record
from ..rulebook import Rulebook, load
from ..scenario import Scenario
from .rows import Row

_ROWS_PER_JOB = 256


def classify(rows: Iterable[Row], book: Rulebook, executor: Executor | None = None, ahead: int = 8) -> Iterator[Record]:
    """One record a row, in order, 256 rows at a time. With an executor, at most `ahead` such jobs are under way.

    Raises OtherVersion where a worker has other rules or another reader.
    """
    source = iter(rows)
    waiting: deque[Future[list[Record]]] = deque()
    try:
        while some := list(islice(source, _ROWS_PER_JOB)):
            if executor is None:
                yield from _classify(some, book)
                continue
            waiting.append(executor.submit(_classify_there, some, book.folder, version(book)))
            if len(waiting) >= ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for job in waiting:
            job.cancel()


def _classify_there(rows: list[Row], folder: Path, wanted: Version) -> list[Record]:
    same_version(wanted, folder_version(folder), "this worker")
    return list(_classify(rows, load(folder)))


def _classify(rows: list[Row], book: Rulebook) -> Iterator[Record]:
    told = [row.text for row in rows if isinstance(row, Scenario) and row.text.strip()]
    proposals = iter(read_many(told) if told else ())
    for row in rows:
        if not isinstance(row, Scenario):
            yield failed(*row)
            continue
        read = next(proposals) if row.text.strip() else ()
        try:
            yield record(row.id, recommend(establish(row, book, read), book), book)
        except AdvisorError as error:
            yield failed(row.id, error)
