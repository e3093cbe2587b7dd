"""What the facts choose."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from advisor import starter
from advisor.errors import RulesError
from advisor.fit import plan as fit
from advisor.rulebook import Rulebook, load
from advisor.starter import files

from .projects import ENVIRONMENT, FACTS, KNOWN, NEW, advised, written


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load()


CHOSEN = {
    "maml": ["Objects()", "class Gripper", "Config(episodes=10,", "stages=1,"],
    "maml_discrete": ["Maze()", "class Labyrinth", "Config(episodes=20,", "stages=3,"],
    "rl2": ["Regimes()", "class Market", 'core="gru"', "episodes=3"],
    "rl2_continuous": ["Shapes()", "class Pen", "key=8", "episodes=3"],
    "rl2_sparse": ["Bandit(arms=5, pulls=10)", "class Arms", "Config(episodes=10,"],
    "pearl": ["Semicircle()", "class PointRobot", "stages=4,"],
    "pearl_discrete": ["Diagnosis()", "class Clinic", "BatchedCases", "Config.for_family(FAMILY,"],
    "multi_task": ["Catalogue(tasks=7)", "surgery=True", "normalise_rewards=True", "hidden=(128, 128)", "known_tasks"],
    "multi_task_hidden": ["Catalogue(tasks=10, arc=0.6)", "task_id=False"],
    "multi_task_cities": ["Cities(tasks=10)", "class Car", "known_tasks"],
    "multi_task_support": ["Support(tasks=200)", "class SupportDesk", "batch=8"],
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
        for name, owners in (
            ("shift.py", ["none_reliable"]),
            ("widened.py", ["none_reliable"]),
            ("in_context.py", ["language", "multi_task_support"]),
            ("tasks/in_context.py", ["language", "multi_task_support"]),
            ("mitigations.py", [c for c in FACTS if c.startswith("multi_task")]),
        ):
            assert (f"{starter.PACKAGE}/{name}" in files) is (case in owners), (case, name)


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
    """Every mitigation in the rules is a switch of the multi-task settings, under the id that it has there."""
    text = (written("multi_task", tmp_path, book).folder / starter.PACKAGE / "settings.py").read_text()
    table = next(
        n for n in ast.parse(text).body if isinstance(n, ast.AnnAssign) and getattr(n.target, "id", "") == "MITIGATIONS"
    )
    assert isinstance(table.value, ast.Dict)
    switches = {ast.literal_eval(key) for key in table.value.keys if key is not None}
    concerns = book.entries["mitigations"].values()
    assert switches == {option["id"] for c in concerns for option in (*c["options"], *c.get("before", ()))}


@pytest.mark.parametrize("case", [case for case in FACTS if case not in ENVIRONMENT])
def test_the_example_is_what_the_fit_trains_on(case: str, book: Rulebook) -> None:
    """Family, parameters and settings of the project are those of the fit's plan; only the goals of a hidden catalogue lie closer."""
    recommendation = advised(FACTS[case], book)[1]
    ours, theirs = starter.choose(recommendation, book), fit.make(recommendation, book=book, own=True)
    assert f"{ours.module}:{ours.environment}" == theirs.row.family
    assert {**theirs.row.family_settings, **ours.parameters} == ours.parameters
    assert ours.parameters.keys() - theirs.row.family_settings.keys() <= {"arc"}
    training = "multi_task_hidden" if ours.hidden_id else ours.family
    shown = ast.parse(ours.config, mode="eval").body
    assert isinstance(shown, ast.Call)
    settings = {word.arg: ast.literal_eval(word.value) for word in shown.keywords}
    assert settings.items() >= theirs.settings[training].items()
    if ours.family == "maml":
        assert (settings["episodes"], ours.stages) == (theirs.row.test["episodes"], theirs.row.test["steps"])


def test_a_stand_in_of_an_own_rulebook_is_taken(book: Rulebook) -> None:
    """A family that other rules choose is the example, one that no project can be made of is passed over, and a name stays a name."""
    recommendation = advised(FACTS["maml"], book)[1]
    objects = book.entries["stand_ins"]["objects"]

    def chosen(**changes: object) -> starter.Plan:
        entries = {**book.entries, "stand_ins": {"mine": {**objects, **changes}}}
        return starter.choose(recommendation, replace(book, entries=entries))

    assert chosen(family="maze").module == "maze"
    assert chosen(parameters={"horizon": 10}).arguments == "horizon=10"
    assert chosen(family="bandit").module == "objects"
    with pytest.raises(RulesError, match="parameter"):
        chosen(parameters={"horizon=1); import os; x": 1})
    words = chosen(says='"""\nimport os\n"""').what
    assert '"' not in files.prose(words)
