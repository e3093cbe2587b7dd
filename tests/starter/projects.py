"""The projects that the tests of this folder write, and ways to look at them."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from advisor import starter
from advisor.engine import Recommendation, recommend
from advisor.facts import establish
from advisor.rulebook import Rulebook
from advisor.scenario import Scenario

NEW = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "task_belief": "not_required"}
KNOWN = {"training_tasks": "known_set", "test_tasks": "same_as_training", "task_belief": "not_required"}
FACTS = {
    "maml": {**NEW, "adaptation_gradients": "allowed", "adaptation_episodes": "10"},
    "maml_discrete": {**NEW, "adaptation_gradients": "allowed", "action_kind": "discrete"},
    "rl2": {**NEW, "adaptation_gradients": "not_allowed"},
    "rl2_continuous": {**NEW, "adaptation_gradients": "not_allowed", "action_kind": "continuous"},
    "rl2_sparse": {**NEW, "adaptation_gradients": "not_allowed", "reward": "sparse", "action_kind": "discrete"},
    "pearl": {**NEW, "task_belief": "required", "adaptation_episodes": "3"},
    "pearl_discrete": {**NEW, "task_belief": "required", "action_kind": "discrete"},
    "multi_task": {
        **KNOWN,
        "task_count": "7",
        "gradient_interference": "present",
        "task_imbalance": "present",
        "capacity_limits": "present",
        "reward": "dense",
    },
    "multi_task_hidden": {**KNOWN, "task_identity": "hidden"},
    "multi_task_cities": {**KNOWN, "task_identity": "observed"},
    "multi_task_support": {**KNOWN, "model_kind": "foundation_model", "task_count": "200"},
    "none_reliable": {"training_tasks": "distribution", "test_tasks": "shifted"},
    "language": {**NEW, "adaptation_gradients": "not_allowed", "model_kind": "foundation_model"},
    "metaworld": {**NEW, "adaptation_gradients": "allowed"},
    "mujoco": {**NEW, "task_belief": "required"},
}
ENVIRONMENT = {"metaworld": "metaworld:ML1", "mujoco": "mujoco:half-cheetah-vel"}
FAMILY = {"none_reliable": "pearl", "language": "rl2", "metaworld": "maml", "mujoco": "pearl"}
FAMILY |= {
    case: next(f for f in ("multi_task", "maml", "rl2", "pearl") if case.startswith(f))
    for case in FACTS
    if case not in FAMILY
}
SIMULATED = sorted(ENVIRONMENT)  # these need a simulator, which the tests do without


def advised(facts: dict[str, str], book: Rulebook, text: str = "A robot.") -> tuple[Scenario, Recommendation]:
    """A scenario with these facts in its file, and what is recommended for it."""
    scenario = Scenario("case", text, facts, "case.yaml")
    return scenario, recommend(establish(scenario, book), book)


def written(case: str, folder: Path, book: Rulebook) -> starter.Project:
    """The project of a case, in `folder`/mine."""
    return starter.write(folder / "mine", *advised(FACTS[case], book), book, env=ENVIRONMENT.get(case))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: path with `/` -> content."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def parses(files: dict[str, bytes]) -> None:
    """Each file is what its ending says."""
    for name, content in files.items():
        text = content.decode()
        if name.endswith(".py"):
            ast.parse(text)
        elif name.endswith(".toml"):
            tomllib.loads(text)
        elif name.endswith(".json"):
            json.loads(text)


def alone(folder: Path, cwd: Path, code: str, timeout: int = 600) -> subprocess.CompletedProcess[str]:
    """Run Python with only the project's folder on the path, and with advisor and reference_impls made unimportable."""
    guard = f"import sys\nsys.modules.update(advisor=None, reference_impls=None)\nsys.path.insert(0, {str(folder)!r})\n"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-P", "-c", guard + code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
