"""Plan -> the content of every file of the project."""

import ast
import hashlib
import json
import re
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..engine import Recommendation
from ..resources import reference_folder
from ..rulebook import Rulebook
from ..scenario import Scenario
from . import readme
from .plan import Plan

if TYPE_CHECKING:
    from jinja2 import Environment

PACKAGE = "starter_agent"
TEMPLATE_VERSION = "3"
_HERE = Path(__file__).resolve().parent
_DEPENDENCIES = {  # what the project asks for, by the environment that it is wired to; pins/ holds these and all below them
    "": ("torch>=2.4,<3", "numpy>=1.26,<3", "safetensors>=0.4,<1", "gymnasium>=1.0,<2", "matplotlib>=3.9,<4"),
    "mujoco:half-cheetah-vel": ("mujoco>=3.3,<5", "imageio>=2.14,<3", "packaging>=23"),
    "metaworld:ML1": ("metaworld>=3.1.1,<4", "packaging>=23"),  # metaworld imports packaging and does not ask for it
}
_PINS = {"": ("base",), "mujoco:half-cheetah-vel": ("base", "mujoco"), "metaworld:ML1": ("base", "mujoco", "metaworld")}
_WINDOWS = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}


def render(
    project: str, scenario: Scenario, recommendation: Recommendation, book: Rulebook, plan: Plan
) -> dict[str, bytes]:
    """Every file of the project that packaging is to call `project`: path with `/` -> content, advisor.json included."""
    reference = copied(plan.family, plan.module, *(["in_context"] if plan.language else []))
    values = {
        "package": PACKAGE,
        "project": project,
        "plan": plan,
        "label": book.entries["verdicts"][plan.family]["label"],
        "dependencies": (*_DEPENDENCIES[""], *(_DEPENDENCIES[plan.env] if plan.env else ())),
        "pins": pins(plan.env),
        "copied": [f"{PACKAGE}/{name}" for name in reference],
        "helpers": [n.removesuffix(".py") for n in reference if "/" not in n and n != f"{plan.family}.py"],
        **readme.sections(scenario, recommendation, book, plan),
    }
    environment = _environment()
    modules = ["__init__", "adapter", "environment", "settings", "train", "evaluate", "plot"]
    modules += ["widened", "shift"] if plan.widen else []
    templates = {
        "README.md": "README.md",
        "pyproject.toml": "pyproject.toml",
        "constraints.txt": "constraints.txt",
        ".gitignore": "gitignore",
        "LICENSE-reference.txt": "LICENSE-reference.txt",
        "tests/test_environment.py": "test_environment.py",
        "tests/test_learns.py": "test_learns.py",
        f"{PACKAGE}/agent.py": f"agent_{plan.family}.py",
        **{f"{PACKAGE}/{m}.py": f"{m}.py" for m in modules},
    }
    files = {f"{PACKAGE}/{name}": content for name, content in reference.items()}
    for path, template in templates.items():
        text = environment.get_template(f"{template}.jinja").render(values)
        files[path] = text.encode("utf-8", "replace")  # "replace": a lone surrogate in the user's text
    files["advisor.json"] = _manifest(project, scenario, recommendation, plan, files)
    return dict(sorted(files.items()))


@cache
def _environment() -> "Environment":
    """The templates; they are compiled once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the outputs are Markdown, TOML and Python; the user's words reach only README.md, as a code block
    )
    environment.filters["broken"] = broken
    environment.filters["prose"] = prose
    return environment


def broken(call: str, indent: str) -> str:
    """A call as Python, with an argument a line where it is long."""
    if len(call) < 100:
        return call
    name, _, arguments = call.removesuffix(")").partition("(")
    lines = re.split(r", (?=[a-z0-9_]+=)", arguments)
    return f"{name}(\n" + "".join(f"{indent}    {line},\n" for line in lines) + f"{indent})"


def prose(text: str) -> str:
    """Words of the rules as lines of a Python docstring, which they can't close."""
    return textwrap.fill(text.replace("\\", "/").replace('"', "'"), 130)


def copied(family: str, environment: str, *more: str) -> dict[str, bytes]:
    """The reference files that an algorithm needs, unchanged: path in the package -> content.

    They are the algorithm, the module of its example, the adapter for gymnasium, `more` algorithms, and all that these import.
    """
    root = reference_folder()
    found: dict[str, bytes] = {}
    waiting = [
        f"{family}.py",
        "tasks/__init__.py",
        "tasks/gym.py",
        f"tasks/{environment}.py",
        *(f"{name}.py" for name in more),
    ]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = (root / name).read_bytes()
            waiting += _relative_imports(PurePosixPath(name), found[name], root)
    return dict(sorted(found.items()))


def _relative_imports(name: PurePosixPath, source: bytes, root: Path) -> list[str]:
    """The files that a reference file imports by `from .a.b import c`, with the `__init__.py` of each package on the way."""
    needed = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = name.parents[node.level - 1]
            module = base.joinpath(*node.module.split(".")) if node.module else base
            for path in (module, *(module / alias.name for alias in node.names)):
                packages = [folder / "__init__.py" for folder in (path, *path.parents) if folder.name]
                needed += [
                    str(file) for file in (path.parent / f"{path.name}.py", *packages) if (root / file).is_file()
                ]
    return needed


def pins(env: str) -> list[str]:
    """Lines `name==version` of what the project needs, and of what that needs: these were run together."""
    lines = [line for name in _PINS[env] for line in (_HERE / "pins" / f"{name}.txt").read_text().split()]
    return sorted(lines)


def project_name(folder: str) -> str:
    """A name that packaging tools accept (PEP 508), from that of the folder; never that of a dependency or of a Windows device."""
    slug = re.sub(r"[^a-z0-9]+", "-", folder.lower())[:50].strip("-") or "starter-agent"
    taken = {line.partition("==")[0] for env in _PINS for line in pins(env)} | _WINDOWS
    return f"{slug}-starter" if slug in taken else slug


def _manifest(
    project: str, scenario: Scenario, recommendation: Recommendation, plan: Plan, files: Mapping[str, bytes]
) -> bytes:
    """What the project was made from, and the hash of each file as written, to tell later what the user has changed."""
    content = {
        "template_version": TEMPLATE_VERSION,
        "rules_version": recommendation.rules_version,
        "project": project,
        "scenario": scenario.id,
        "text": scenario.text,
        "verdict": recommendation.verdict,
        "framing": recommendation.framing,
        "confidence": recommendation.confidence,
        "rule": recommendation.rule,
        "family": plan.family,
        "insisted": plan.family != recommendation.verdict and not plan.widen,
        "env": plan.env,
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
