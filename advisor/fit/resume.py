"""A run folder: each outcome is kept as soon as its job has ended, so that a run that was killed goes on where it was.

DIR/run.json says which run it is, DIR/jobs/ holds one file an outcome, DIR/report.json the report of the last run that came to an end.
A file appears under its name only when it is whole. Nothing read from the folder can run: arrays and JSON data, no pickle.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from .. import resources
from ..errors import BadScenario, CannotWrite, FolderNotEmpty, MissingFile, quoted
from ..executors import OtherVersion
from .train import Job, Outcome

_LARGEST = 256_000_000  # bytes; a larger file is none that a job wrote
_PLAIN = "plain"  # the entry with all that is no array


class Store:
    """The outcomes of one list of jobs in one folder."""

    def __init__(self, folder: Path, work: Sequence[Job]) -> None:
        self.folder, self._work = folder, list(work)

    @classmethod
    def open(cls, folder: Path, work: Sequence[Job], versions: Mapping[str, str], resume: bool) -> "Store":
        """The store for these jobs, in a new or empty folder, or with `resume` in that of the same jobs.

        Raises FolderNotEmpty, CannotWrite, and with `resume` MissingFile, BadScenario for a folder of something else and OtherVersion
        where jobs, code or versions differ: outcomes of two versions are never mixed.
        """
        store, mark = cls(folder, work), folder / "run.json"
        wanted = {"format": 1, "versions": dict(versions), "code": _code(), "jobs": [_plain(asdict(j)) for j in work]}
        try:
            if not resume:
                if folder.exists() and any(folder.iterdir()):
                    hint = "go on with the run that is there: --resume; or name a new folder"
                    raise FolderNotEmpty("is not empty", _shown(folder), hint)
                (folder / "jobs").mkdir(parents=True, exist_ok=True)
                write(mark, _json(wanted))
                return store
            if not mark.is_file():
                raise MissingFile("holds no run to go on with", _shown(folder), "begin one: the same without --resume")
            found = _read_json(mark)
            for part in (*folder.glob(".*.part"), *(folder / "jobs").glob(".*.part")):  # of a write that was cut short
                part.unlink(missing_ok=True)
        except OSError as fault:
            raise CannotWrite(f"can't be used ({fault.strerror or fault})", _shown(folder)) from fault
        for what in ("format", "jobs", "versions", "code"):
            if found.get(what) != wanted[what]:
                same = {"jobs": "scenario, budget and seeds", "code": "code"}.get(what, what)
                raise OtherVersion(
                    f"the run that lies there has other {same}",
                    _shown(folder),
                    "repeat its command, or begin a new folder",
                )
        return store

    def held(self) -> list[Outcome | None]:
        """The outcome of each job, None where there is none that can be read: it is worked out again."""
        return [self._load(self._path(job)) for job in self._work]

    def keep(self, job: Job, outcome: Outcome) -> None:
        """Writes an outcome. Raises CannotWrite."""
        arrays: dict[str, Any] = {}
        plain: dict[str, Any] = {}
        for field in fields(outcome):
            value = getattr(outcome, field.name)
            if isinstance(value, Mapping) and value and all(isinstance(v, np.ndarray) for v in value.values()):
                arrays |= {f"{field.name}:{name}": array for name, array in value.items()}
            else:
                plain[field.name] = value
        content = io.BytesIO()
        np.savez(content, **{_PLAIN: np.frombuffer(_json(plain), np.uint8), **arrays})
        write(self._path(job), content.getvalue())

    def _path(self, job: Job) -> Path:
        return self.folder / "jobs" / f"{job.training}-{job.seed}.npz"

    def _load(self, path: Path) -> Outcome | None:
        try:
            if path.stat().st_size > _LARGEST:
                return None
            values: dict[str, Any] = {}
            with np.load(path, allow_pickle=False) as content:
                for entry in content.files:
                    if entry == _PLAIN:
                        values |= json.loads(content[entry].tobytes())
                    else:
                        field, _, name = entry.partition(":")
                        values.setdefault(field, {})[name] = content[entry]
            return Outcome(**{name: _frozen(value) for name, value in values.items()})
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
            return None


def write(path: Path, content: bytes) -> None:
    """The file is there whole, or as it was before. Raises CannotWrite."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # the name must not move to content that isn't there yet
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as fault:
        raise CannotWrite(f"can't be written ({fault.strerror or fault})", _shown(path)) from fault


def _json(data: Any) -> bytes:
    return json.dumps(data, indent=1, allow_nan=True).encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes()[:_LARGEST])
    except ValueError as fault:
        raise BadScenario("is no run that advisor wrote", _shown(path)) from fault
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    """As JSON gives it back: a tuple comes back as a list."""
    return json.loads(json.dumps(value, default=str))


def _frozen(value: Any) -> Any:
    """As it was before JSON, where no list was: every sequence of an Outcome is a tuple."""
    if isinstance(value, list):
        return tuple(_frozen(v) for v in value)
    return {k: _frozen(v) for k, v in value.items()} if isinstance(value, dict) else value


def _code() -> str:
    """A digest of the code that an outcome depends on: this stage and the reference implementations."""
    digest = hashlib.sha256()
    for root in (Path(__file__).parent, resources.reference_folder()):
        for path in _sources(root):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _sources(root: Path) -> Iterable[Path]:
    return sorted(p for p in root.rglob("*.py") if p.name not in ("page.py", "report.py", "progress.py"))


def _shown(path: Path) -> str:
    return quoted(str(path), 300)
