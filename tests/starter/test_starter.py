import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import starter
from advisor.engine import Recommendation, recommend
from advisor.errors import CannotWrite, FolderNotEmpty, NoProject, UnknownEntry
from advisor.facts import Known, establish
from advisor.reader import Span
from advisor.resources import reference_folder
from advisor.rulebook import Rulebook, load
from advisor.scenario import Scenario
from advisor.starter import readme

NEW = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "task_belief": "not_required"}
CASES = {
    "maml": {**NEW, "adaptation_gradients": "allowed", "adaptation_episodes": "10"},
    "rl2": {**NEW, "adaptation_gradients": "not_allowed"},
    "pearl": {**NEW, "task_belief": "required", "adaptation_episodes": "3"},
    "pearl_discrete": {**NEW, "task_belief": "required", "action_kind": "discrete"},
    "multi_task": {
        "training_tasks": "known_set",
        "test_tasks": "same_as_training",
        "task_belief": "not_required",
        "task_count": "7",
        "gradient_interference": "present",
        "task_imbalance": "present",
        "capacity_limits": "present",
        "task_identity": "hidden",
    },
}
FAMILIES = ["maml", "multi_task", "pearl", "rl2"]
HOSTILE = '"""\'\'\' {{ 7*7 }} {% raw %} </pre> ``` ~~~ # head\n\n    ```\n\r\n\x1b[31m \u202e $(rm -rf) `id` \\ "\n[project]\n\ud800'


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load()


def advised(facts: dict[str, str], book: Rulebook, text: str = "A robot.") -> tuple[Scenario, Recommendation]:
    scenario = Scenario("case", text, facts, "case.yaml")
    return scenario, recommend(establish(scenario, book), book)


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def parses(files: dict[str, bytes]) -> None:
    for name, content in files.items():
        text = content.decode()
        if name.endswith(".py"):
            ast.parse(text)
        elif name.endswith(".toml"):
            tomllib.loads(text)
        elif name.endswith(".json"):
            json.loads(text)


@pytest.mark.parametrize("case", CASES)
def test_project_holds_what_it_says(case: str, book: Rulebook, tmp_path: Path) -> None:
    """The files on disk are those of the result, each parses, and none imports advisor or names this machine."""
    scenario, recommendation = advised(CASES[case], book)
    project = starter.write(tmp_path / "mine", scenario, recommendation, book)
    files = tree(project.folder)
    assert project.files == tuple(sorted(files))
    assert project.family == recommendation.verdict == case.removesuffix("_discrete")
    parses(files)
    for name, content in files.items():
        assert str(tmp_path).encode() not in content, name
        if name.endswith(".py"):
            assert not re.search(rb"^\s*(import|from) (advisor|reference_impls)\b", content, re.M), name


@pytest.mark.parametrize("case", CASES)
def test_reference_files_are_copied_unchanged(case: str, book: Rulebook, tmp_path: Path) -> None:
    """The algorithm and the task families that it imports have the bytes of the reference implementations."""
    scenario, recommendation = advised(CASES[case], book)
    project = starter.write(tmp_path / "mine", scenario, recommendation, book)
    inside = {p for p in project.files if p.startswith(f"{starter.PACKAGE}/tasks/")} | {
        f"{starter.PACKAGE}/{project.family}.py"
    }
    assert len(inside) >= 3
    for path in inside:
        original = reference_folder() / path.removeprefix(f"{starter.PACKAGE}/")
        assert (project.folder / path).read_bytes() == original.read_bytes()


def test_only_what_is_imported_is_copied() -> None:
    """MAML brings its own task family and no other."""
    assert sorted(starter.copied("maml", "navigation")) == ["maml.py", "tasks/__init__.py", "tasks/navigation.py"]


@pytest.mark.parametrize("case", CASES)
def test_manifest(case: str, book: Rulebook, tmp_path: Path) -> None:
    """advisor.json holds the facts with their source, the verdict, the versions and the right hash of every other file."""
    scenario, recommendation = advised(CASES[case], book)
    project = starter.write(tmp_path / "mine", scenario, recommendation, book)
    files = tree(project.folder)
    manifest = json.loads(files.pop("advisor.json"))
    assert manifest["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert {name: fact["value"] for name, fact in manifest["facts"].items()} == CASES[case]
    assert {fact["source"] for fact in manifest["facts"].values()} == {"file"}
    assert manifest["verdict"] == manifest["family"] == project.family
    assert manifest["insisted"] is False
    assert manifest["rules_version"] == book.version
    assert manifest["template_version"] == starter.TEMPLATE_VERSION


def test_same_input_same_project(book: Rulebook, tmp_path: Path) -> None:
    """Writing twice gives the same bytes."""
    scenario, recommendation = advised(CASES["maml"], book)
    first = starter.write(tmp_path / "a" / "mine", scenario, recommendation, book)
    second = starter.write(tmp_path / "b" / "mine", scenario, recommendation, book)
    assert tree(first.folder) == tree(second.folder)


def test_facts_choose_the_settings(book: Rulebook, tmp_path: Path) -> None:
    """Budget, number of tasks, kind of action and conflicts between tasks show in the settings and the environment."""
    written = {}
    for case, facts in CASES.items():
        folder = starter.write(tmp_path / case, *advised(facts, book), book).folder / starter.PACKAGE
        written[case] = (folder / "settings.py").read_text() + (folder / "environment.py").read_text()
    assert "Config(episodes=10)" in written["maml"] and "stages=1," in written["maml"]
    assert "Bandit(pulls=10)" in written["rl2"]
    assert "Semicircle()" in written["pearl"] and "stages=3," in written["pearl"]
    assert "Diagnosis()" in written["pearl_discrete"]
    assert "Catalogue(tasks=7)" in written["multi_task"] and "surgery=True" in written["multi_task"]


def test_readme_tells_the_recommendation(book: Rulebook, tmp_path: Path) -> None:
    """The README has the user's words, each fact, what would change the verdict, the pitfalls, mitigations and commands."""
    scenario, recommendation = advised(CASES["multi_task"], book, "Seven machines.\nOne policy.")
    folder = starter.write(tmp_path / "mine", scenario, recommendation, book).folder
    text = (folder / "README.md").read_text()
    assert "    Seven machines.\n    One policy.\n" in text
    for name in CASES["multi_task"]:
        assert f"`{name}`" in text
    assert "**PEARL**" in text and "Negative transfer is real" in text and "gradient surgery (PCGrad)" in text
    assert "pip install -c constraints.txt -e '.[test]'" in text and f"python -m {starter.PACKAGE}.train" in text
    assert "\n\n\n" not in text


def test_insisting_is_said(book: Rulebook, tmp_path: Path) -> None:
    """A family that was not recommended is written when asked for, and README and advisor.json say so."""
    scenario, recommendation = advised({"training_tasks": "single", "test_tasks": "same_as_training"}, book)
    project = starter.write(tmp_path / "mine", scenario, recommendation, book, family="maml")
    assert project.family == "maml"
    assert "You asked for this family" in (project.folder / "README.md").read_text()
    assert json.loads((project.folder / "advisor.json").read_text())["insisted"] is True


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "answer"),
        ({"training_tasks": "single", "test_tasks": "same_as_training"}, "PPO"),
        ({**NEW, "test_tasks": "shifted"}, "deployment"),
    ],
)
def test_no_project_has_a_next_step(facts: dict[str, str], words: str, book: Rulebook, tmp_path: Path) -> None:
    """Undecided, out of scope and none reliable give no project, a next step, and the way to insist."""
    with pytest.raises(NoProject) as caught:
        starter.write(tmp_path / "mine", *advised(facts, book), book)
    assert words in caught.value.hint and "--family" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_unknown_family(book: Rulebook, tmp_path: Path) -> None:
    """A family that does not exist is refused with the nearest that does."""
    with pytest.raises(UnknownEntry, match="mamml") as caught:
        starter.write(tmp_path / "mine", *advised(CASES["maml"], book), book, family="mamml")
    assert "did you mean `maml`?" in caught.value.hint


def test_folder_that_is_not_empty_is_left_alone(book: Rulebook, tmp_path: Path) -> None:
    """A folder with anything in it, hidden files too, is refused, also on a dry run, and stays as it was."""
    (tmp_path / ".hidden").write_text("mine")
    for dry_run in (False, True):
        with pytest.raises(FolderNotEmpty, match=r"\.hidden"):
            starter.write(tmp_path, *advised(CASES["maml"], book), book, dry_run=dry_run)
    assert tree(tmp_path) == {".hidden": b"mine"}


def test_file_in_the_place_of_the_folder(book: Rulebook, tmp_path: Path) -> None:
    """A file, a broken link and a name with a null byte can't become the folder, and nothing is overwritten."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "nul\0l", "file/below"):
        with pytest.raises(CannotWrite):
            starter.write(tmp_path / name, *advised(CASES["maml"], book), book)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


def test_empty_folder_is_used_as_it_is(book: Rulebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`advisor new .` in an empty folder fills that folder, and nothing is left beside it."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    project = starter.write(Path("."), *advised(CASES["maml"], book), book)
    assert project.folder == here and Path("README.md").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


def test_dry_run_writes_nothing(book: Rulebook, tmp_path: Path) -> None:
    """A dry run lists the files that a real run then writes, and touches nothing."""
    arguments = advised(CASES["rl2"], book)
    planned = starter.write(tmp_path / "deep" / "mine", *arguments, book, dry_run=True)
    assert not list(tmp_path.iterdir())
    assert planned == starter.write(tmp_path / "deep" / "mine", *arguments, book)


@pytest.mark.parametrize("place", ["new", "empty", "deep/new"])
@pytest.mark.parametrize("broken", ["write_bytes", "rename"])
def test_failure_leaves_nothing(
    place: str, broken: str, book: Rulebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk fails half-way, no file and no folder is left, and an empty folder stays empty."""
    (tmp_path / "empty").mkdir()
    real, calls = getattr(Path, broken), 0

    def fails(self: Path, argument: object) -> object:
        nonlocal calls
        calls += 1
        if calls == (4 if place == "empty" or broken == "write_bytes" else 1):
            raise OSError(28, "No space left on device")
        return real(self, argument)

    monkeypatch.setattr(Path, broken, fails)
    with pytest.raises(CannotWrite, match="No space left"):
        starter.write(tmp_path / place, *advised(CASES["maml"], book), book)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["empty"]


@settings(max_examples=25, deadline=None)
@given(
    text=st.one_of(st.text(max_size=300), st.just(HOSTILE)),
    words=st.one_of(st.text(max_size=40), st.just("a ` b `` c | d\n# e")),
    name=st.text(min_size=1, max_size=30),
)
def test_hostile_words_stay_data(text: str, words: str, name: str) -> None:
    """Whatever the description, the quoted words and the folder's name, all files parse, and no code differs by them."""
    book = load()
    scenario = Scenario(name, text, CASES["maml"], name)
    facts = {n: Known(v, 0.9, "text", (Span(0, 0, words),)) for n, v in CASES["maml"].items()}
    recommendation = recommend(facts, book)
    plan = starter.choose(recommendation, book, None)
    files = starter._files(
        Path("/nowhere") / name.replace("/", "_").replace("\0", "_"), scenario, recommendation, book, plan
    )
    parses(files)
    plain = starter._files(Path("/nowhere/plain"), Scenario("", "A robot."), recommendation, book, plan)
    assert all(files[p] == plain[p] for p in files if p.endswith(".py"))
    manifest = json.loads(files["advisor.json"])
    assert manifest["text"] == text
    block = files["README.md"].decode().split("## The scenario\n")[1].split("\n## The recommendation: MAML\n")[0]
    lines = [line for line in block.splitlines() if line]
    nothing = ["No description was given, only the facts below."]
    assert all(line.startswith("    ") for line in lines) or lines == nothing


def test_code_span_can_not_be_closed() -> None:
    """The fence of a quotation is longer than any run of backticks in it, and the line and the table cell hold."""
    assert readme.code_span("a ``` b\n| c") == "```` a ``` b ¦ c ````"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("My Robot!", "my-robot"),
        ("...", "starter-agent"),
        ("torch", "torch-starter"),
        ("Ünïcode ☃", "n-code"),
        ("x" * 300, "x" * 50),
    ],
)
def test_project_name(folder: str, name: str) -> None:
    """The name is one that packaging accepts, whatever the folder's, and never that of a dependency."""
    assert starter.project_name(folder, {"torch": "2.13.0"}) == name


def test_pins_match_what_is_required(book: Rulebook, tmp_path: Path) -> None:
    """Every dependency of the project is pinned, without a local version that other indexes lack."""
    folder = starter.write(tmp_path / "mine", *advised(CASES["maml"], book), book).folder
    pins = dict(line.split("==") for line in (folder / "constraints.txt").read_text().splitlines() if "==" in line)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    assert {re.split(r"[<>=]", w)[0] for w in wanted} <= set(pins)
    assert not any("+" in version for version in pins.values())


def alone(folder: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with only the project's folder on the path, and with advisor and reference_impls made unimportable."""
    guard = (
        "import sys, runpy\n"
        "sys.modules.update(advisor=None, reference_impls=None)\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-P", "-c", guard, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("case", CASES)
def test_project_runs_on_its_own(case: str, book: Rulebook, tmp_path: Path) -> None:
    """From another folder and without advisor, the project trains, saves, evaluates, and passes its contract tests."""
    folder = starter.write(tmp_path / "mine", *advised(CASES[case], book), book).folder
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    trained = alone(folder, cwd, f"{starter.PACKAGE}.train", "--iterations", "2")
    assert trained.returncode == 0, trained.stderr
    assert "iteration    2 of 2" in trained.stdout
    assert (cwd / "runs" / "agent.safetensors").is_file()
    measured = alone(folder, cwd, f"{starter.PACKAGE}.evaluate", "--json", "--tasks", "20")
    assert measured.returncode == 0, measured.stderr
    report = json.loads(measured.stdout)
    assert report["oracle"] > report["random"]
    assert all(len(pair) == 2 for pair in report["curve"] + report["shifted_curve"])
    table = alone(folder, cwd, f"{starter.PACKAGE}.evaluate", "--tasks", "20")
    assert "random actions" in table.stdout and "told the task" in table.stdout
    checks = ["-k", "not test_learns[", "-q", "-p", "no:cacheprovider", str(folder / "tests")]
    tested = alone(folder, folder, "pytest", *checks)
    assert tested.returncode == 0 and "4 passed" in tested.stdout, tested.stdout
    lint = subprocess.run([sys.executable, "-m", "ruff", "check", str(folder)], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout


def test_evaluating_before_training_says_what_to_do(book: Rulebook, tmp_path: Path) -> None:
    """Without a trained agent, evaluate exits with the command to run first."""
    folder = starter.write(tmp_path / "mine", *advised(CASES["maml"], book), book).folder
    run = alone(folder, tmp_path, f"{starter.PACKAGE}.evaluate")
    assert run.returncode == 2 and f"python -m {starter.PACKAGE}.train" in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_project_proves_that_it_learns(case: str, book: Rulebook, tmp_path: Path) -> None:
    """The project's own tests pass, learning included."""
    folder = starter.write(tmp_path / "mine", *advised(CASES[case], book), book).folder
    run = alone(folder, folder, "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests"))
    assert run.returncode == 0, run.stdout


def test_import_is_light() -> None:
    """Importing the stage loads neither jinja2 nor torch."""
    code = "import sys, advisor.starter; sys.exit(bool({'jinja2', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_families_of_the_rules_have_a_project(book: Rulebook) -> None:
    """Each family that a verdict names can be written, and no other."""
    assert sorted(str(v["family"]) for v in book.entries["verdicts"].values() if v["family"]) == FAMILIES
    for family in FAMILIES:
        assert starter.choose(recommend({}, book), book, family).family == family
