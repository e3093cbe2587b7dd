"""Where records go: stdout, or a file that appears under its name only when it is whole and that a killed run can go on with.

While it grows, FILE is FILE.part, beside the journal FILE.part.json: how many rows of which input lie in the first so many bytes. The
journal is replaced at most once a second, after those bytes are on the disk; what lies behind them is cut off on resuming.
"""

import errno
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from ..errors import AdvisorError, CannotWrite
from ..executors import OtherVersion

SYNC_SECONDS = 1.0  # a kill costs at most the work of this time, and syncing far less than a hundredth of it


@dataclass(frozen=True)
class Mark:
    """How far a run is: chunks and rows done, the digest of their input, the bytes of their output, how the rows ended."""

    chunks: int = 0
    rows: int = 0
    digest: str = ""
    size: int = 0
    tally: dict[str, int] = field(default_factory=dict)
    whole: bool = False


class Output(Protocol):
    """What a run writes to. `begin` says where to go on; `write` takes the bytes and the mark after them; `end` the last bytes."""

    def begin(self) -> Mark: ...

    def write(self, data: bytes, mark: Mark) -> None: ...

    def end(self, data: bytes, mark: Mark) -> None: ...


class Stream:
    """An open binary stream, such as stdout."""

    def __init__(self, stream: IO[bytes], name: str = "stdout") -> None:
        self.stream, self.name = stream, name

    def begin(self) -> Mark:
        """Always from the start."""
        return Mark()

    def write(self, data: bytes, mark: Mark) -> None:
        """Raises CannotWrite, but BrokenPipeError where the reader has gone."""
        try:
            self.stream.write(data)
            self.stream.flush()
        except BrokenPipeError:
            raise
        except OSError as fault:
            raise CannotWrite(f"can't write ({fault.strerror})", self.name) from fault

    def end(self, data: bytes, mark: Mark) -> None:
        """The last bytes."""
        self.write(data, mark)


class Handed:
    """Output that a function takes, piece by piece."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.take = take

    def begin(self) -> Mark:
        """Always from the start."""
        return Mark()

    def write(self, data: bytes, mark: Mark) -> None:
        """A piece of whole lines."""
        self.take(data)

    def end(self, data: bytes, mark: Mark) -> None:
        """The last piece."""
        self.take(data)


class ResumableFile:
    """A file in the making. `about` is what the run is (format, version, paths); a journal of another run is never gone on with.

    `convert(part, new)` makes the file out of the whole part where that is not the file itself. Use as a context manager.
    """

    def __init__(
        self,
        target: Path,
        resume: bool,
        about: dict[str, Any],
        convert: Callable[[Path, Path], None] | None = None,
    ) -> None:
        self.target, self.resume, self.about, self.convert = target, resume, about, convert
        self.part = target.with_name(target.name + ".part")
        self.journal = target.with_name(target.name + ".part.json")
        self.stream: IO[bytes] | None = None
        self.synced = 0.0
        self.unsaved: Mark | None = None  # what is written but not yet marked

    def __enter__(self) -> "ResumableFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            try:
                if self.unsaved is not None:  # broken off; with a slow reader a second's work is worth keeping, too
                    self._save(self.unsaved)
                self.stream.close()
            except OSError:  # what it still held is behind the last mark, and the fault has been reported
                pass

    def begin(self) -> Mark:
        """The mark to go on from. Raises CannotWrite where the file exists, an unfinished run is in the way, or the place is not ours."""
        with _reported(self.target):
            held = self._held()
            if self.target.exists() and not (held and held.whole):
                raise CannotWrite(
                    "exists already, and no unfinished run of it is there", str(self.target), "name another file"
                )
            if held is None:
                return self._fresh()
            if not self.resume:
                raise CannotWrite(
                    "an unfinished run is there", str(self.part), "--resume goes on with it; or delete it and its .json"
                )
            if held.whole and self.target.exists():
                return held
            self.stream = self.part.open("r+b" if self.part.exists() else "x+b")
            _lock(self.stream, self.part)
            if self.stream.seek(0, os.SEEK_END) < held.size:
                raise CannotWrite(
                    "is shorter than its journal says", str(self.part), "delete it and its .json, and begin again"
                )
            self.stream.truncate(held.size)
            self.stream.seek(held.size)
            return held

    def write(self, data: bytes, mark: Mark) -> None:
        """Appends, and marks the place if the last mark is old enough. Raises CannotWrite."""
        assert self.stream is not None
        with _reported(self.target, "what is written is kept; make room and go on with --resume"):
            self.stream.write(data)
            self.unsaved = mark
            if time.monotonic() - self.synced >= SYNC_SECONDS:
                self._save(mark)

    def end(self, data: bytes, mark: Mark) -> None:
        """The last bytes; then the file gets its name."""
        with _reported(self.target, "what is written is kept; make room and go on with --resume"):
            if not mark.whole:
                assert self.stream is not None
                self.unsaved = None
                self.stream.write(data)
                mark = Mark(**{**asdict(mark), "size": mark.size + len(data), "whole": True})
                self._save(mark)
            if not self.target.exists():
                new = self.part
                if self.convert is not None:
                    new = self.target.with_name(self.target.name + ".part.new")
                    self.convert(self.part, new)
                os.rename(new, self.target)
                _sync_folder(self.target.parent)
            self.part.unlink(missing_ok=True)
            self.journal.unlink()

    def _fresh(self) -> Mark:
        if self.part.exists():
            raise CannotWrite("is in the way and has no journal", str(self.part), "move it away, or name another file")
        with self.journal.open("xb") as stream:
            _lock(stream, self.journal)
        try:
            self.stream = self.part.open("xb")
            _lock(self.stream, self.part)
            self._save(Mark())
        except BaseException:
            self.part.unlink(missing_ok=True)
            self.journal.unlink(missing_ok=True)
            raise
        return Mark()

    def _held(self) -> Mark | None:
        """The journal's mark, if there is a journal of this run."""
        try:
            raw = self.journal.read_bytes()
        except FileNotFoundError:
            return None
        if not raw:  # killed between making the journal and its first mark
            return Mark()
        try:
            held = json.loads(raw)
            mark = Mark(**held["mark"])
        except (ValueError, TypeError, KeyError) as fault:
            raise CannotWrite(
                "is no journal of advisor", str(self.journal), "move it away, or name another file"
            ) from fault
        if self.resume:
            for name, value in self.about.items():
                if held.get("about", {}).get(name) != value:
                    raise OtherVersion(
                        f"the unfinished run has another {name}: {held.get('about', {}).get(name)}; this one has {value}",
                        str(self.journal),
                        "resume with what it was begun with, or delete it and FILE.part, and begin again",
                    )
        return mark

    def _save(self, mark: Mark) -> None:
        assert self.stream is not None
        self.stream.flush()
        os.fsync(self.stream.fileno())
        new = self.journal.with_name(self.journal.name + ".new")
        with new.open("wb") as stream:
            stream.write(json.dumps({"about": self.about, "mark": asdict(mark)}).encode())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, self.journal)
        self.synced, self.unsaved = time.monotonic(), None


@contextmanager
def _reported(target: Path, hint: str = "") -> Iterator[None]:
    """A fault of the disk is the user's to mend: one message with the place."""
    try:
        yield
    except AdvisorError:
        raise
    except OSError as fault:
        raise CannotWrite(f"can't be written ({fault.strerror})", str(fault.filename or target), hint) from fault


def _lock(stream: IO[bytes], path: Path) -> None:
    """One run at a time; the system lets go of the lock when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: opening the part for writing twice fails by itself
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        if fault.errno in (errno.EAGAIN, errno.EACCES):
            raise CannotWrite("another run is writing it", str(path), "wait for it, or name another file") from fault


def _sync_folder(folder: Path) -> None:
    """The new name is on the disk as well, where the system can say so."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def add(tally: dict[str, int], more: Counter[str]) -> dict[str, int]:
    """The sum of two tallies, keys sorted."""
    return dict(sorted((Counter(tally) + more).items()))
