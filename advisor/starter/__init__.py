"""Stage 5: Recommendation -> a starter project that runs on its own.

The algorithm's file and its example are copied byte for byte from the reference implementations; what differs from scenario to
scenario stands in the files made from `templates/`. The user's words are data: they reach Markdown (as a code block) and JSON, no code.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..engine import Recommendation, recommend
from ..errors import CannotWrite, NoProject
from ..rulebook import Rulebook
from ..scenario import Scenario
from . import manifest
from .files import PACKAGE, TEMPLATE_VERSION, copied, project_name, render
from .place import Placement, lay, look, put, refuse_used, shown
from .plan import ENVIRONMENTS, Plan, choose

__all__ = [
    "ENVIRONMENTS",
    "PACKAGE",
    "TEMPLATE_VERSION",
    "Plan",
    "Project",
    "choose",
    "copied",
    "project_name",
    "render",
    "upgrade",
    "write",
]


@dataclass(frozen=True)
class Project:
    """A starter project: where it lies, the algorithm in it, and its files as sorted paths relative to the folder.

    `placement` says, for a folder that held files before, what happened to each; None for a new folder.
    """

    folder: Path
    family: str
    files: tuple[str, ...]
    placement: Placement | None = field(default=None, compare=False)


def write(
    folder: Path,
    scenario: Scenario,
    recommendation: Recommendation,
    book: Rulebook,
    *,
    family: str | None = None,
    env: str | None = None,
    dry_run: bool = False,
    force: bool = False,
) -> Project:
    """Write the project for a recommendation into a new or empty folder; `dry_run` only says what would be written.

    `family` insists on an algorithm that was not recommended, `env` wires the project to one of ENVIRONMENTS. The files appear all or
    not at all. `force` also takes a folder with files in it: what advisor did not write, or was changed since, stays as it is, and the
    project's file is laid beside it.
    Raises NoProject where nothing is recommended that could be written, UnknownEntry for an unknown `family` or `env`, FolderNotEmpty,
    and CannotWrite where the file system refuses.
    """
    plan = choose(recommendation, book, family, env)
    if "\0" in str(folder):
        raise CannotWrite("a null byte is in the name", shown(folder), "give the name of a new folder")
    folder = Path(os.path.abspath(folder))
    used = refuse_used(folder, force)
    project = project_name(folder.name)
    files = render(project, scenario, recommendation, book, plan)
    if used:
        return _lay(folder, plan, files, manifest.hashes(folder), dry_run)
    if not dry_run:
        put(folder, files)
    return Project(folder, plan.family, tuple(sorted(files)))


def upgrade(folder: Path, book: Rulebook, *, dry_run: bool = False) -> tuple[Project, str]:
    """Bring a project to the templates and algorithms of today; also the verdict of today's rules, where it is another one ("" else).

    A file that is as it was written is replaced. A file that the user changed stays, with the new version beside it as NAME.new; one
    that the user deleted is not brought back. All or nothing.
    Raises BadScenario where the folder holds no readable advisor.json, and CannotWrite where the file system refuses.
    """
    folder = Path(os.path.abspath(folder))
    held = manifest.read(folder, book)
    recommendation = recommend(held.facts, book)
    try:
        plan = choose(recommendation, book, held.family if held.insisted else None, held.env or None)
        same = plan.family == held.family
    except NoProject:
        same = False
    if not same:  # the rules moved on; the project keeps its algorithm until the user decides
        plan = choose(recommendation, book, held.family, held.env or None)
    files = render(held.project, held.scenario, recommendation, book, plan)
    changed = recommendation.verdict if recommendation.verdict != held.verdict else ""
    return _lay(folder, plan, files, held.files, dry_run), changed


def _lay(folder: Path, plan: Plan, files: Mapping[str, bytes], known: Mapping[str, str], dry_run: bool) -> Project:
    placement = look(folder, files, known)
    if not dry_run:
        lay(folder, files, placement)
    return Project(folder, plan.family, tuple(sorted(files)), placement)
