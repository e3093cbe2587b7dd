"""The content of files -> files on disk: all or nothing, and nothing of the user's overwritten or deleted."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import CannotWrite, FolderNotEmpty, quoted

_LARGEST = 20_000_000  # bytes; a larger file is none that advisor wrote, so it need not be read to tell


@dataclass(frozen=True)
class Placement:
    """What becomes of each file in a folder that is in use, as sorted paths.

    `beside` maps a file that the user wrote or changed to the name that the new version is laid under.
    """

    added: tuple[str, ...]
    replaced: tuple[str, ...]  # as advisor wrote them, and older
    unchanged: tuple[str, ...]  # of today already, or changed by the user where today's version is no newer
    beside: Mapping[str, str]
    deleted: tuple[str, ...]  # by the user: not brought back
    left: tuple[str, ...]  # that advisor wrote once and the project needs no more


def refuse_used(folder: Path, force: bool = False) -> bool:
    """Whether anything is in the folder. Raises FolderNotEmpty for that without `force`, CannotWrite for what can't be a folder."""
    try:
        if folder.is_dir():
            inside = sorted(p.name for p in folder.iterdir())
        elif os.path.lexists(folder):
            raise CannotWrite("is a file, not a folder", shown(folder), "give the name of a new folder")
        else:
            return False
    except OSError as fault:
        raise CannotWrite(
            f"can't be used as a folder ({fault.strerror or fault})", shown(folder), "give the name of a new folder"
        ) from fault
    if inside and not force:
        more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
        found = f"holds `{quoted(inside[0])}`{more}"
        hint = "give a new or empty folder; nothing was changed (--upgrade renews a project, --force lays one around your files)"
        raise FolderNotEmpty(found, shown(folder), hint)
    return bool(inside)


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or none into a new or empty folder. Raises CannotWrite."""
    try:
        _put(folder, files)
    except OSError as fault:
        raise CannotWrite(
            f"can't be written ({fault.strerror or fault})", shown(folder), "nothing was left there"
        ) from fault


def look(folder: Path, files: Mapping[str, bytes], known: Mapping[str, str]) -> Placement:
    """What laying `files` into a folder in use would do; `known` holds the hash of each file as advisor wrote it.

    Raises CannotWrite where a path leads out of the folder by a link, or through something that is no folder.
    """
    added: list[str] = []
    replaced: list[str] = []
    unchanged: list[str] = []
    deleted: list[str] = []
    beside: dict[str, str] = {}
    for name, content in files.items():
        path = _inside(folder, name)
        new = hashlib.sha256(content).hexdigest()
        if not os.path.lexists(path):
            (deleted if name in known else added).append(name)
            continue
        there = _digest(path)
        if there == new:
            unchanged.append(name)
        elif name == "advisor.json" and known:
            replaced.append(name)  # advisor's own record, which only says what was written
        elif there is not None and there == known.get(name):
            replaced.append(name)
        elif known.get(name) == new:
            unchanged.append(name)
        else:
            free = _beside(path, new)
            if free is None:
                unchanged.append(name)  # this version was laid beside it before
            else:
                beside[name] = name.rpartition("/")[0] + "/" * ("/" in name) + free
    left = [name for name in known if name not in files and _is_file(folder, name)]
    return Placement(tuple(added), tuple(replaced), tuple(unchanged), beside, tuple(deleted), tuple(sorted(left)))


def lay(folder: Path, files: Mapping[str, bytes], placement: Placement) -> None:
    """Do what `look` said. Raises CannotWrite, with everything as it was before."""
    work = {name: name for name in (*placement.added, *placement.replaced)} | dict(placement.beside)
    before: dict[Path, bytes | None] = {}
    made: list[Path] = []
    try:
        for name, target in work.items():
            path = _inside(folder, target)
            for parent in [p for p in reversed(path.parents) if not p.exists()]:
                parent.mkdir()
                made.append(parent)
            old = path.read_bytes() if name in placement.replaced else None
            before[path] = old
            _write(path, files[name], old is not None)
    except BaseException as fault:
        for path, content in before.items():
            if content is not None:
                _write(path, content, True)
            elif path.is_file() and path.read_bytes() in files.values():
                path.unlink()
        for parent in reversed(made):
            if not any(parent.iterdir()):
                parent.rmdir()
        if isinstance(fault, OSError):
            why = f"can't be written ({fault.strerror or fault})"
            raise CannotWrite(why, shown(folder), "everything there is as it was before") from fault
        raise


def _write(path: Path, content: bytes, over: bool) -> None:
    """Write a file whole or not at all; `over` says whether it may take the place of another."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        if over:
            shutil.copymode(path, part)
            part.replace(path)
        else:
            os.link(part, path)  # fails where the name is taken in the meantime, unlike a rename
    finally:
        part.unlink(missing_ok=True)


def _inside(folder: Path, name: str) -> Path:
    """The path of a project's file; CannotWrite where it leaves the folder by a link or runs through a file."""
    path = folder.joinpath(*name.split("/"))
    for parent in path.relative_to(folder).parents:
        step = folder / parent
        if step != folder and os.path.lexists(step) and (step.is_symlink() or not step.is_dir()):
            raise CannotWrite(
                "is a link or a file where the project has a folder", shown(step), "rename it; nothing was changed"
            )
    return path


def _digest(path: Path) -> str | None:
    """The hash of a plain file, None of anything else: that is the user's."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _beside(path: Path, new: str) -> str | None:
    """The first free name for a new version, None where that very version lies there already."""
    number = 1
    while True:
        name = f"{path.name}.new" + (str(number) if number > 1 else "")
        if not os.path.lexists(path.with_name(name)):
            return name
        if _digest(path.with_name(name)) == new:
            return None
        number += 1


def _is_file(folder: Path, name: str) -> bool:
    """Whether a name out of a record, which may hold anything, is a file inside the folder."""
    parts = name.split("/")
    return not {"", ".", ".."} & set(parts) and "\0" not in name and folder.joinpath(*parts).is_file()


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    """They are built in a folder beside the target, which then takes the target's place."""
    made = [p for p in folder.parents if not p.exists()]  # deepest first
    building = folder.parent / f".advisor-{secrets.token_hex(4)}"
    moved: list[Path] = []
    try:
        building.mkdir(parents=True)
        for name, content in files.items():
            path = building.joinpath(*name.split("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not folder.exists():
            building.rename(folder)
            return
        for child in sorted(building.iterdir()):  # an empty folder stays itself: somebody may be working in it
            child.rename(folder / child.name)
            moved.append(folder / child.name)
    except BaseException:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(building, ignore_errors=True)
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise
    building.rmdir()


def shown(folder: Path) -> str:
    """A path as it may stand in a message."""
    return "".join(c if c.isprintable() else "�" for c in str(folder))
