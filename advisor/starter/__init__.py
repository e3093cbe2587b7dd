"""Stage 5: Recommendation -> a starter project that runs on its own.

The algorithm's file and its task family are copied byte for byte from the reference implementations; what differs from scenario to
scenario stands in the files made from `templates/`. The user's words are data: they reach Markdown (as a code block) and JSON, no code.
"""

import ast
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from ..engine import Recommendation
from ..errors import CannotWrite, FolderNotEmpty
from ..resources import reference_folder
from ..rulebook import Rulebook
from ..scenario import Scenario
from . import readme
from .plan import Plan, choose

PACKAGE = "starter_agent"
TEMPLATE_VERSION = "1"
_TEMPLATES = Path(__file__).resolve().parent / "templates"
_REQUIRED = (
    "torch",
    "safetensors",
    "numpy",
    "pytest",
)  # what the project asks for; the pins hold these and all below them


@dataclass(frozen=True)
class Project:
    """A starter project: where it lies, the algorithm in it, and its files as sorted paths relative to the folder."""

    folder: Path
    family: str
    files: tuple[str, ...]


def write(
    folder: Path,
    scenario: Scenario,
    recommendation: Recommendation,
    book: Rulebook,
    *,
    family: str | None = None,
    dry_run: bool = False,
) -> Project:
    """Write the project for a recommendation into a new or empty folder; `dry_run` only says what would be written.

    `family` insists on an algorithm that was not recommended. The files appear all or not at all.
    Raises NoProject where nothing is recommended that could be written, UnknownEntry for an unknown `family`, FolderNotEmpty, and
    CannotWrite where the file system refuses.
    """
    plan = choose(recommendation, book, family)
    if "\0" in str(folder):
        raise CannotWrite("a null byte is in the name", _shown(folder), "give the name of a new folder")
    folder = Path(os.path.abspath(folder))
    _refuse_used(folder)
    files = _files(folder, scenario, recommendation, book, plan)
    if not dry_run:
        try:
            _put(folder, files)
        except OSError as fault:
            raise CannotWrite(
                f"can't be written ({fault.strerror or fault})", _shown(folder), "nothing was left there"
            ) from fault
    return Project(folder, plan.family, tuple(sorted(files)))


def copied(family: str, environment: str) -> dict[str, bytes]:
    """The reference files that an algorithm needs, unchanged: path in the package -> content.

    They are the algorithm, the module of its environment, and all that these import from beside them.
    """
    root = reference_folder()
    found: dict[str, bytes] = {}
    waiting = [f"{family}.py", "tasks/__init__.py", f"tasks/{environment}.py"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = (root / name).read_bytes()
            waiting += _relative_imports(PurePosixPath(name), found[name], root)
    return dict(sorted(found.items()))


def _relative_imports(name: PurePosixPath, source: bytes, root: Path) -> list[str]:
    """The files that a reference file imports by `from .a.b import c`."""
    needed = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = name.parents[node.level - 1]
            module = base.joinpath(*node.module.split(".")) if node.module else base
            candidates = [module, *(module / alias.name for alias in node.names)]
            for candidate in (c for m in candidates for c in (m.with_suffix(".py"), m / "__init__.py")):
                if (root / candidate).is_file():
                    needed.append(str(candidate))
    return needed


def _files(
    folder: Path, scenario: Scenario, recommendation: Recommendation, book: Rulebook, plan: Plan
) -> dict[str, bytes]:
    """Every file of the project: path with `/` -> content."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pins = _pins()
    reference = copied(plan.family, plan.module)
    values = {
        "package": PACKAGE,
        "project": project_name(folder.name, pins),
        "plan": plan,
        "margin": plan.margin,
        "label": book.entries["verdicts"][plan.family]["label"],
        "pins": pins,
        "copied": [f"{PACKAGE}/{name}" for name in reference],
        **readme.sections(scenario, recommendation, book, plan.family),
    }
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the outputs are Markdown, TOML and Python; the user's words reach only README.md, as a code block
    )
    templates = {
        "README.md": "README.md",
        "pyproject.toml": "pyproject.toml",
        "constraints.txt": "constraints.txt",
        ".gitignore": "gitignore",
        "LICENSE-reference.txt": "LICENSE-reference.txt",
        "tests/test_environment.py": "test_environment.py",
        "tests/test_learns.py": "test_learns.py",
        f"{PACKAGE}/agent.py": f"agent_{plan.family}.py",
        **{f"{PACKAGE}/{m}.py": f"{m}.py" for m in ("__init__", "environment", "settings", "train", "evaluate")},
    }
    files = {f"{PACKAGE}/{name}": content for name, content in reference.items()}
    for path, template in templates.items():
        text = environment.get_template(f"{template}.jinja").render(values)
        files[path] = text.encode("utf-8", "replace")  # "replace": a lone surrogate in the user's text
    files["advisor.json"] = _manifest(scenario, recommendation, plan, files)
    return dict(sorted(files.items()))


def _manifest(scenario: Scenario, recommendation: Recommendation, plan: Plan, files: Mapping[str, bytes]) -> bytes:
    """What the project was made from, and the hash of each file as written, to tell later what the user has changed."""
    content = {
        "template_version": TEMPLATE_VERSION,
        "rules_version": recommendation.rules_version,
        "scenario": scenario.id,
        "text": scenario.text,
        "verdict": recommendation.verdict,
        "framing": recommendation.framing,
        "confidence": recommendation.confidence,
        "rule": recommendation.rule,
        "family": plan.family,
        "insisted": plan.family != recommendation.verdict,
        "package": PACKAGE,
        "facts": {
            name: {
                "value": known.value,
                "confidence": known.confidence,
                "source": known.source,
                "evidence": [{"start": s.start, "end": s.end, "text": s.text} for s in known.evidence],
            }
            for name, known in recommendation.facts.items()
        },
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())},
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def project_name(folder: str, taken: Mapping[str, str]) -> str:
    """A name that packaging tools accept (PEP 508), from that of the folder; never the name of a dependency."""
    slug = re.sub(r"[^a-z0-9]+", "-", folder.lower())[:50].strip("-") or "starter-agent"
    return f"{slug}-starter" if slug in {name.lower().replace("_", "-") for name in taken} else slug


def _pins() -> dict[str, str]:
    """The version of each dependency, and of each of theirs, that is installed here: these are known to work together."""
    pins: dict[str, str] = {}
    waiting = list(_REQUIRED)
    while waiting:
        name = waiting.pop()
        if name in pins:
            continue
        try:
            pins[name] = metadata.version(name).split("+")[0]  # "+cpu" names a build that not every index has
        except metadata.PackageNotFoundError:  # needed on other platforms only
            continue
        for requirement in metadata.requires(name) or []:
            found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
            if found and "extra ==" not in requirement:
                waiting.append(re.sub(r"[-_.]+", "-", found.group()).lower())
    return dict(sorted(pins.items()))


def _refuse_used(folder: Path) -> None:
    """Raises FolderNotEmpty for a folder with anything in it, CannotWrite for what can't be one."""
    try:
        if folder.is_dir():
            inside = sorted(p.name for p in folder.iterdir())
        elif os.path.lexists(folder):
            raise CannotWrite("is a file, not a folder", _shown(folder), "give the name of a new folder")
        else:
            return
    except OSError as fault:
        raise CannotWrite(
            f"can't be used as a folder ({fault.strerror or fault})", _shown(folder), "give the name of a new folder"
        ) from fault
    if inside:
        more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
        found = f"holds `{_printable(inside[0])}`{more}"
        raise FolderNotEmpty(found, _shown(folder), "give a new or empty folder; nothing was changed")


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or none: they are built in a folder beside the target, which then takes the target's place."""
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


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)


def _shown(folder: Path) -> str:
    return _printable(str(folder))
