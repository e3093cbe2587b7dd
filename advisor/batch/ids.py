"""Repeated ids: told with file and line, never an error, for each row still has its answer and its place."""

from collections.abc import Callable, Iterator, Sequence

from ..scenario import Scenario
from .inputs import Chunk
from .rows import chunk_rows

Notice = Callable[[str], None]
_KEPT = 1_000_000  # about 70 MB
_NAMED = 5


class Ids:
    """The ids seen so far, as hashes of 64 bits, and how many rows bore one that stood before. Nothing is kept where nobody listens."""

    def __init__(self, on_notice: Notice | None) -> None:
        self.on_notice = on_notice
        self.seen: set[int] = set()
        self.again = 0

    def see(self, ids: Sequence[str], chunk: Chunk) -> None:
        """The ids of a chunk that was just answered."""
        if self.on_notice is None or len(self.seen) >= _KEPT:
            return
        hashes = list(map(hash, ids))
        new = len(set(hashes).difference(self.seen))
        if new < len(hashes):
            if self.again < _NAMED:
                self._name(chunk)
            self.again += len(hashes) - new
        self.seen.update(hashes)

    def see_again(self, chunk: Chunk) -> None:
        """The ids of a chunk whose answers an earlier run wrote."""
        if self.on_notice is not None and len(self.seen) < _KEPT:
            self.see([row_id for row_id, _ in _placed(chunk) if row_id is not None], chunk)

    def say(self) -> None:
        """The end: how many there were in all, if not each was named, and whether the search was cut short."""
        if self.on_notice is not None and self.again > _NAMED:
            self.on_notice(f"{self.again} rows in all bear an id that stood before")
        if self.on_notice is not None and len(self.seen) >= _KEPT:
            self.on_notice(f"repeated ids were looked for up to {_KEPT:,} different ones")

    def _name(self, chunk: Chunk) -> None:
        assert self.on_notice is not None
        inside: set[str] = set()
        named = self.again
        for row_id, where in _placed(chunk):
            if row_id is None:
                continue
            if named < _NAMED and (row_id in inside or hash(row_id) in self.seen):
                self.on_notice(f"{where}: the id `{row_id[:80]}` stood before")
                named += 1
            inside.add(row_id)


def _placed(chunk: Chunk) -> Iterator[tuple[str | None, str]]:
    """(id or None for a row without one of its own, file and line) of each row."""
    for row in chunk_rows(chunk):
        row_id, where = (row.id, row.where) if isinstance(row, Scenario) else (row[0], row[1].where)
        yield (None if row_id == where else row_id), where
