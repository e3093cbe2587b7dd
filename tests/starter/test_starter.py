"""Writing a project into a folder: refusals, dry run, failures."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from advisor import starter
from advisor.errors import CannotWrite, FolderNotEmpty, NoProject, UnknownEntry
from advisor.resources import reference_folder
from advisor.rulebook import Rulebook, load

from .projects import ENVIRONMENT, FACTS, FAMILY, NEW, advised, parses, tree, written


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load()


@pytest.mark.parametrize("case", FACTS)
def test_project_holds_what_it_says(case: str, book: Rulebook, tmp_path: Path) -> None:
    """The files on disk are those of the result and parse, none imports advisor or names this machine, and names suit every system."""
    project = written(case, tmp_path, book)
    files = tree(project.folder)
    assert project.files == tuple(sorted(files))
    assert project.family == FAMILY[case]
    parses(files)
    assert len({name.lower() for name in files}) == len(files)
    for name, content in files.items():
        assert str(tmp_path).encode() not in content, name
        assert not any(c in name for c in '<>:"\\|?*') and name.isascii(), name
        for line in content.decode().splitlines():
            if name.endswith(".py"):
                assert not line.strip().startswith(("import advisor", "from advisor", "from reference_impls")), name


@pytest.mark.parametrize("case", FACTS)
def test_reference_files_are_copied_unchanged(case: str, book: Rulebook, tmp_path: Path) -> None:
    """The algorithm, the example and what they import have the bytes of the reference implementations."""
    project = written(case, tmp_path, book)
    root, package = reference_folder(), f"{starter.PACKAGE}/"
    generated = {
        "__init__.py",
        "adapter.py",
        "agent.py",
        "environment.py",
        "settings.py",
        "train.py",
        "evaluate.py",
        "plot.py",
    }
    generated |= {"widened.py", "shift.py"}
    inside = [p.removeprefix(package) for p in project.files if p.startswith(package)]
    same = [name for name in inside if name not in generated]
    assert f"{project.family}.py" in same and len(same) >= 3
    for name in same:
        assert (project.folder / package / name).read_bytes() == (root / name).read_bytes(), name


@pytest.mark.parametrize("case", FACTS)
def test_manifest(case: str, book: Rulebook, tmp_path: Path) -> None:
    """advisor.json holds the facts with their source, the verdict, the versions and the right hash of every other file."""
    project = written(case, tmp_path, book)
    files = tree(project.folder)
    manifest = json.loads(files.pop("advisor.json"))
    assert manifest["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert {name: fact["value"] for name, fact in manifest["facts"].items()} == FACTS[case]
    assert {fact["source"] for fact in manifest["facts"].values()} == {"file"}
    assert manifest["family"] == project.family
    assert manifest["verdict"] == ("none_reliable" if case == "none_reliable" else project.family)
    assert manifest["insisted"] is False
    assert manifest["env"] == ENVIRONMENT.get(case, "")
    assert manifest["rules_version"] == book.version
    assert manifest["template_version"] == starter.TEMPLATE_VERSION


def test_same_input_same_project(book: Rulebook, tmp_path: Path) -> None:
    """Writing twice gives the same bytes."""
    assert tree(written("maml", tmp_path / "a", book).folder) == tree(written("maml", tmp_path / "b", book).folder)


def test_insisting_is_said(book: Rulebook, tmp_path: Path) -> None:
    """A family that was not recommended is written when asked for, and README and advisor.json say so."""
    scenario, recommendation = advised({"training_tasks": "single", "test_tasks": "same_as_training"}, book)
    project = starter.write(tmp_path / "mine", scenario, recommendation, book, family="maml")
    assert project.family == "maml"
    assert "You asked for this family" in (project.folder / "README.md").read_text()
    assert json.loads((project.folder / "advisor.json").read_text())["insisted"] is True


@pytest.mark.parametrize(
    ("facts", "words"),
    [({}, "answer"), ({"training_tasks": "single", "test_tasks": "same_as_training"}, "PPO")],
)
def test_no_project_has_a_next_step(facts: dict[str, str], words: str, book: Rulebook, tmp_path: Path) -> None:
    """Undecided and out of scope give no project, a next step, and the way to insist."""
    with pytest.raises(NoProject) as caught:
        starter.write(tmp_path / "mine", *advised(facts, book), book)
    assert words in caught.value.hint and "--family" in caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "right"), [({"family": "mamml"}, "maml"), ({"env": "metaworld:ML2"}, "metaworld:ML1")]
)
def test_unknown_names(wrong: dict[str, str], right: str, book: Rulebook, tmp_path: Path) -> None:
    """A family or an environment that does not exist is refused with the nearest that does."""
    with pytest.raises(UnknownEntry, match="is called") as caught:
        starter.write(tmp_path / "mine", *advised(FACTS["maml"], book), book, **wrong)  # type: ignore[arg-type]
    assert f"did you mean `{right}`?" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_folder_that_is_not_empty_is_left_alone(book: Rulebook, tmp_path: Path) -> None:
    """A folder with anything in it, hidden files too, is refused, also on a dry run, and stays as it was."""
    (tmp_path / ".hidden").write_text("mine")
    for dry_run in (False, True):
        with pytest.raises(FolderNotEmpty, match=r"\.hidden"):
            starter.write(tmp_path, *advised(FACTS["maml"], book), book, dry_run=dry_run)
    assert tree(tmp_path) == {".hidden": b"mine"}


@pytest.mark.parametrize("force", [False, True])
def test_file_in_the_place_of_the_folder(force: bool, book: Rulebook, tmp_path: Path) -> None:
    """A file, a broken link and a name with a null byte can't become the folder, and nothing is overwritten."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "nul\0l", "file/below"):
        with pytest.raises(CannotWrite):
            starter.write(tmp_path / name, *advised(FACTS["maml"], book), book, force=force)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


def test_empty_folder_is_used_as_it_is(book: Rulebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`advisor new .` in an empty folder fills that folder, and nothing is left beside it."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    project = starter.write(Path("."), *advised(FACTS["maml"], book), book)
    assert project.folder == here and Path("README.md").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


def test_dry_run_writes_nothing(book: Rulebook, tmp_path: Path) -> None:
    """A dry run lists the files that a real run then writes, and touches nothing."""
    arguments = advised(FACTS["rl2"], book)
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
        starter.write(tmp_path / place, *advised(FACTS["maml"], book), book)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["empty"]


def test_import_is_light() -> None:
    """Importing the stage loads neither jinja2 nor torch."""
    code = "import sys, advisor.starter; sys.exit(bool({'jinja2', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_families_of_the_rules_have_a_project(book: Rulebook) -> None:
    """Each family that a verdict names can be written, and no other."""
    families = sorted(str(v["family"]) for v in book.entries["verdicts"].values() if v["family"])
    assert families == ["maml", "multi_task", "pearl", "rl2"]
    for family in families:
        recommendation = advised({**NEW}, book)[1]
        assert starter.choose(recommendation, book, family).family == family
