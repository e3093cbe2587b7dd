"""The content of the files: the closure of imports, pins, names, and hostile words."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import starter
from advisor.engine import recommend
from advisor.facts import Known
from advisor.reader import Span
from advisor.rulebook import Rulebook, load
from advisor.scenario import Scenario
from advisor.starter import files as stage

from .projects import ENVIRONMENT, FACTS, alone, parses, written

ROOT = Path(__file__).parent.parent.parent
HOSTILE = '"""\'\'\' {{ 7*7 }} {% raw %} </pre> ``` ~~~ # head\n\n    ```\n\r\n\x1b[31m \u202e $(rm -rf) `id` \\ "\n[project]\n\ud800'
NAMES = (
    "con",
    "NUL",
    "aux.txt",
    "..",
    "a b",
    '"; rm -rf ~',
    "$(id)",
    "torch",
    "{{ x }}",
    "-e",
    "ä\u202eb",
    "'''",
    "x" * 200,
)


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load()


def test_only_what_is_imported_is_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The copy is the closure of relative imports, over packages and modules, and nothing else."""
    (tmp_path / "tasks").mkdir()
    sources = {
        "__init__.py": "",
        "maml.py": "from .saving import save\nfrom .tasks import near\n",
        "saving.py": "import json\nfrom . import low\n",
        "low.py": "",
        "rl2.py": "",
        "tasks/__init__.py": "",
        "tasks/gym.py": "",
        "tasks/near.py": "from ..low import x\nfrom .deep.er import y\n",
        "tasks/far.py": "",
    }
    (tmp_path / "tasks" / "deep").mkdir()
    sources |= {"tasks/deep/__init__.py": "", "tasks/deep/er.py": ""}
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(stage, "reference_folder", lambda: tmp_path)
    expected = {"low.py", "maml.py", "saving.py"} | {
        f"tasks/{n}.py" for n in ("__init__", "gym", "near", "deep/__init__", "deep/er")
    }
    assert set(stage.copied("maml", "near")) == expected


@pytest.mark.parametrize("case", FACTS)
def test_pins_match_what_is_required(case: str, book: Rulebook, tmp_path: Path) -> None:
    """Every dependency of the project has a range and a pin within it, without a local version that other indexes lack."""
    folder = written(case, tmp_path, book).folder
    pins = dict(line.split("==") for line in (folder / "constraints.txt").read_text().splitlines() if "==" in line)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for wanted in project["dependencies"] + extras["test"] + extras["check"]:
        name, lower = re.match(r"([a-z0-9-]+)>=([0-9.]+)", wanted).groups()  # type: ignore[union-attr]
        assert [int(n) for n in pins[name].split(".")] >= [int(n) for n in lower.split(".")], wanted
    assert not any("+" in version for version in pins.values())


def test_pins_are_those_that_this_project_runs_with() -> None:
    """What is pinned for a project is what this repository's own tests run with."""
    ours = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    ours = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in ours.items()}
    for line in stage.pins(""):
        name, version = line.split("==")
        assert ours.get(name, version) == version, line


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("My Robot!", "my-robot"),
        ("...", "starter-agent"),
        ("torch", "torch-starter"),
        ("CON", "con-starter"),
        ("Ünïcode ☃", "n-code"),
        ("x" * 300, "x" * 50),
    ],
)
def test_project_name(folder: str, name: str) -> None:
    """The name is one that packaging accepts, whatever the folder's, and never that of a dependency or a Windows device."""
    assert starter.project_name(folder) == name


def test_a_long_call_gets_a_line_an_argument() -> None:
    """Breaking a call keeps its meaning, tuples included."""
    call = "Config(hidden=(128, 128), " + ", ".join(f"setting_{i}=0.{i}" for i in range(10)) + ")"
    shown = stage.broken(call, "    ")
    assert "\n        hidden=(128, 128),\n" in shown
    assert re.sub(r"\s|,(?=\s*\))", "", shown) == call.replace(" ", "")


def hostile_project(case: str, text: str, words: str, name: str, book: Rulebook) -> dict[str, bytes]:
    """The files of a case with hostile description, quoted words and folder name."""
    facts = {n: Known(v, 0.9, "text", (Span(0, 0, words),)) for n, v in FACTS[case].items()}
    recommendation = recommend(facts, book)
    plan = starter.choose(recommendation, book, None, ENVIRONMENT.get(case))
    return starter.render(starter.project_name(name), Scenario(name, text), recommendation, book, plan)


@settings(max_examples=25, deadline=None)
@given(
    text=st.one_of(st.text(max_size=300), st.just(HOSTILE)),
    words=st.one_of(st.text(max_size=40), st.just("a ` b `` c | d\n# e")),
    name=st.one_of(st.text(min_size=1, max_size=30), st.sampled_from(NAMES)),
    case=st.sampled_from(sorted(FACTS)),
)
def test_hostile_words_stay_data(text: str, words: str, name: str, case: str) -> None:
    """Whatever the description, the quoted words and the folder's name, all files parse, and no code differs by them."""
    book = load()
    files = hostile_project(case, text, words, name, book)
    parses(files)
    plain = hostile_project(case, "A robot.", "robot", "plain", book)
    assert all(files[p] == plain[p] for p in files if p.endswith(".py"))
    project = tomllib.loads(files["pyproject.toml"].decode())["project"]
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", project["name"])
    assert json.loads(files["advisor.json"])["text"] == text
    block = files["README.md"].decode().split("## The scenario\n")[1].split("\n## The recommendation: ")[0]
    lines = [line for line in block.splitlines() if line]
    nothing = ["No description was given, only the facts below."]
    assert all(line.startswith("    ") for line in lines) or lines == nothing
    outside = files["README.md"].decode().replace(block, "")
    assert all(c.isprintable() or c == "\n" for c in outside)


def test_a_hostile_project_lints_and_runs(book: Rulebook, tmp_path: Path) -> None:
    """A project made from hostile words passes its linter, and its package imports."""
    folder = tmp_path / "$(touch pwned) '\"; x"
    facts = {n: Known(v, 0.9, "text", (Span(0, 0, HOSTILE),)) for n, v in FACTS["none_reliable"].items()}
    project = starter.write(folder, Scenario(HOSTILE, HOSTILE), recommend(facts, book), book)
    assert project.folder.parent == tmp_path
    lint = subprocess.run([sys.executable, "-m", "ruff", "check", str(folder)], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout
    ran = alone(folder, tmp_path, f"import {starter.PACKAGE}.settings as s; print(s.SETTINGS.stages)")
    assert ran.returncode == 0 and ran.stdout == "4\n", ran.stderr
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_every_project_passes_its_linter(book: Rulebook, tmp_path: Path) -> None:
    """`ruff check` and the formatter find nothing in any variant, by the project's own settings."""
    for case in FACTS:
        written(case, tmp_path / case, book)
    for command in (["check"], ["format", "--check"]):
        lint = subprocess.run([sys.executable, "-m", "ruff", *command, str(tmp_path)], capture_output=True, text=True)
        assert lint.returncode == 0, lint.stdout
