"""The arrows: a stage imports only from stages before it, and the light commands stay light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The order of the stages; a module imports only from earlier ones. `errors` and `resources` come first. `fit` chooses the stand-in family,
# which the starter project then carries as its working example.
ORDER = [
    "errors", "resources", "rulebook", "executors", "scenario", "reader", "facts", "engine", "questions", "proof", "record", "explain",
    "export", "batch", "ask", "fit", "starter", "library", "mcp_server", "cli", "__main__",
]  # fmt: skip
# The reader's training and evaluation ask the rules what a set of facts leads to; its reading does not.
SIDEWAYS = {("reader", later) for later in ("facts", "engine", "questions")}
OFFLINE = ("evaluate.py", "train.py", "__main__.py")


def imports(path: Path, package: str) -> set[str]:
    """The modules of advisor that a file imports, by their stage."""
    found = set()
    depth = len(path.relative_to(ROOT / "advisor").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.split(".")[0]} if node.module else {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("advisor."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("advisor.")}
    return {name for name in found if name in ORDER and name != package}


def test_no_arrow_points_backwards() -> None:
    """Data flows one way: text, facts, recommendation, fit, project."""
    seen = set()
    for path in sorted((ROOT / "advisor").rglob("*.py")):
        stage = path.relative_to(ROOT / "advisor").parts[0].removesuffix(".py")
        if stage == "__init__":
            continue
        seen.add(stage)
        for other in imports(path, stage):
            if (stage, other) in SIDEWAYS and path.name in OFFLINE:
                continue
            assert ORDER.index(other) < ORDER.index(stage), f"{path.name} ({stage}) imports {other}"
    assert seen == set(ORDER)


def test_reference_implementations_stand_alone() -> None:
    """The four algorithm files import torch, the standard library and their tasks and what lies beside them, nothing else."""
    allowed = set(sys.stdlib_module_names) | {"torch", "safetensors"}
    for path in sorted((ROOT / "reference_impls").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {a.name.split(".")[0] for a in node.names} <= allowed, path.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] in allowed, path.name
            elif isinstance(node, ast.ImportFrom):
                beside = (node.module or node.names[0].name).split(".")[0] in (
                    "tasks",
                    "saving",
                    "off_policy",
                    "mitigations",
                )
                assert beside or path.parent.name == "tasks", path.name


@pytest.mark.parametrize("name", ["multi_task", "maml", "maml_sine", "rl2", "pearl", "in_context", "mitigations"])
def test_reference_implementations_stay_readable(name: str) -> None:
    """An algorithm is one file of at most 400 lines."""
    assert len((ROOT / "reference_impls" / f"{name}.py").read_text().splitlines()) <= 400


HEAVY = {"torch", "sklearn", "scipy", "matplotlib", "gymnasium", "jinja2"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["explain", "facts.json"],
        ["classify", "facts.json"],
        ["ask", "facts.json", "--answers", "facts.json"],
    ],
    ids=lambda a: a[0],
)
def test_light_commands_import_no_heavy_library(arguments: list[str], tmp_path: Path) -> None:
    """Help and every command on facts start without torch and scikit-learn."""
    facts = {"training_tasks": "distribution", "test_tasks": "shifted"}
    (tmp_path / "facts.json").write_text(json.dumps({"facts": facts} if arguments[0] != "ask" else {"facts": facts}))
    code = (
        "import sys, json\nfrom advisor.cli import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        f"print('LOADED', code, sorted({HEAVY!r} & set(sys.modules)))"
    )
    if arguments[0] == "ask":
        (tmp_path / "answers.json").write_text("{}")
        arguments = [*arguments[:3], "answers.json"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert "LOADED 0 []" in done.stdout or "LOADED None []" in done.stdout, done.stdout + done.stderr
