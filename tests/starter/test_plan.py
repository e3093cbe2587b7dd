"""What the facts choose."""

import ast
from pathlib import Path

import pytest

from advisor import starter
from advisor.rulebook import Rulebook, load

from .projects import FACTS, KNOWN, NEW, advised, written


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load()


CHOSEN = {
    "maml": ["Config(episodes=10)", "stages=1,", "Navigation()", "class PointRobot", "distance < 0.01"],
    "maml_discrete": ["Bandit()", "class Arms", "step_size=1.0"],
    "rl2": ["Bandit(pulls=10)", "class Arms", "Config(episodes=10)"],
    "rl2_continuous": ["Semicircle()", "class PointRobot", "episodes=2"],
    "rl2_sparse": ["Grid(size=4, horizon=10)", "class Walk"],
    "pearl": ["Semicircle()", "stages=3,"],
    "pearl_discrete": ["Diagnosis()", "class Clinic", "BatchedCases", "Config.for_family(FAMILY)"],
    "multi_task": ["Catalogue(tasks=7)", "surgery=True", "normalise_rewards=True", "hidden=(128, 128)", "known_tasks"],
    "multi_task_hidden": ["Catalogue(tasks=10, arc=0.6)", "task_id=False"],
    "none_reliable": ["Widened(EXAMPLE, SHARE)", "Semicircle()"],
    "metaworld": [
        "metaworld.ML1",
        "self.env.set_task",
        'setdefault("MUJOCO_GL", "egl")',
        "REWARD_SCALE",
        "FAMILY: Any = own()",
    ],
    "mujoco": ["HalfCheetah-v5", 'setdefault("MUJOCO_GL", "egl")', "REWARD_SCALE", "FAMILY: Any = own()"],
}


@pytest.mark.parametrize("case", CHOSEN)
def test_facts_choose_environment_and_settings(case: str, book: Rulebook, tmp_path: Path) -> None:
    """Actions, reward, identity, gradients, budget, conflicts and --env show in the settings and the environment."""
    folder = written(case, tmp_path, book).folder / starter.PACKAGE
    text = (folder / "settings.py").read_text() + (folder / "environment.py").read_text()
    for words in CHOSEN[case]:
        assert words in text, words


@pytest.mark.parametrize(
    "facts", [{**NEW, "adaptation_gradients": "allowed"}, {**NEW, "task_belief": "required"}, KNOWN]
)
def test_sparse_reward_reaches_the_users_class(facts: dict[str, str], book: Rulebook, tmp_path: Path) -> None:
    """With a sparse reward the class that the user starts from pays near the goal alone, and the README says what that means."""
    for reward, found in (("dense", False), ("sparse", True)):
        scenario, recommendation = advised({**facts, "reward": reward}, book)
        folder = starter.write(tmp_path / reward, scenario, recommendation, book).folder
        assert ("if distance <= 0.2 else 0.0" in (folder / starter.PACKAGE / "environment.py").read_text()) is found
        assert ("rewards are sparse" in (folder / "README.md").read_text()) is found


def test_extra_files_come_with_their_facts(book: Rulebook, tmp_path: Path) -> None:
    """The shift is measured for none_reliable alone, and the pair of prompt and fine-tuning comes with a foundation model alone."""
    for case in FACTS:
        files = written(case, tmp_path / case, book).files
        for name, owner in (
            ("shift.py", "none_reliable"),
            ("widened.py", "none_reliable"),
            ("in_context.py", "language"),
        ):
            assert (f"{starter.PACKAGE}/{name}" in files) is (case == owner), (case, name)


def test_gradients_choose_the_learner_of_the_shift(book: Rulebook) -> None:
    """Where nothing is reliable, the shift is measured with a learner that the scenario allows."""
    for gradients, family in (("allowed", "maml"), ("not_allowed", "pearl")):
        facts = {"test_tasks": "shifted", "adaptation_gradients": gradients, "action_kind": "discrete"}
        plan = starter.choose(advised(facts, book)[1], book)
        assert (plan.family, plan.widen) == (family, True)


def test_insisting_beats_the_shift(book: Rulebook) -> None:
    """Whoever names a family under a shift gets that family's plain project."""
    plan = starter.choose(advised({"test_tasks": "shifted"}, book)[1], book, "rl2")
    assert (plan.family, plan.widen) == ("rl2", False)


def test_mitigations_are_switched_by_the_ids_of_the_rules(book: Rulebook, tmp_path: Path) -> None:
    """Each switch of the multi-task settings bears the id of a mitigation in the rules, and each concern has at least one."""
    text = (written("multi_task", tmp_path, book).folder / starter.PACKAGE / "settings.py").read_text()
    table = next(
        n for n in ast.parse(text).body if isinstance(n, ast.AnnAssign) and getattr(n.target, "id", "") == "MITIGATIONS"
    )
    switches = set(ast.literal_eval(table.value))  # type: ignore[arg-type]
    known = {
        concern: {option["id"] for option in (*entry["options"], *entry.get("before", ()))}
        for concern, entry in book.entries["mitigations"].items()
    }
    assert switches <= set().union(*known.values())
    for concern in (
        "capacity_limits",
        "gradient_interference",
        "task_imbalance",
    ):  # the fourth is met by replay, always on
        assert switches & known[concern], concern
