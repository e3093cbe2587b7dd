"""--force and --upgrade: nothing of the user's is overwritten or deleted, and a failure changes nothing."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import starter
from advisor.errors import AdvisorError, BadScenario, CannotWrite
from advisor.rulebook import Rulebook, load
from advisor.starter import place
from tests.conftest import Run

from .projects import FACTS, advised, tree, written

SETTINGS = f"{starter.PACKAGE}/settings.py"
AGENT = f"{starter.PACKAGE}/agent.py"


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load()


@pytest.fixture
def older(book: Rulebook, tmp_path: Path) -> Path:
    """A project whose settings.py, agent.py and gone.py were written by older templates; the last of them exists no more today."""
    project = written("maml", tmp_path, book)
    record = json.loads((project.folder / "advisor.json").read_text())
    for name in (SETTINGS, AGENT, f"{starter.PACKAGE}/gone.py"):
        (project.folder / name).write_text("# older\n")
        record["files"][name] = hashlib.sha256(b"# older\n").hexdigest()
    record["template_version"] = "1"
    (project.folder / "advisor.json").write_text(json.dumps(record))
    return project.folder


def test_upgrade_renews_what_was_not_changed(older: Path, book: Rulebook, tmp_path: Path) -> None:
    """Files as they were written become today's, the record too; a file that is needed no more stays and is named."""
    (older / "runs").mkdir()
    (older / "runs" / "agent.safetensors").write_bytes(b"mine")
    project, verdict = starter.upgrade(older, book)
    fresh = tree(written("maml", tmp_path / "other", book).folder)
    now = tree(older)
    assert {n: c for n, c in now.items() if n in fresh} == fresh
    assert project.placement is not None and verdict == ""
    assert set(project.placement.replaced) == {SETTINGS, AGENT, "advisor.json"}
    assert project.placement.left == (f"{starter.PACKAGE}/gone.py",)
    assert now["runs/agent.safetensors"] == b"mine" and now[f"{starter.PACKAGE}/gone.py"] == b"# older\n"


def test_upgrade_keeps_what_the_user_changed(older: Path, book: Rulebook) -> None:
    """A changed file keeps its bytes and gets the new version beside it, once; a deleted one does not come back."""
    (older / SETTINGS).write_text("# mine\n")
    (older / "README.md").unlink()
    project, _ = starter.upgrade(older, book)
    assert project.placement is not None
    assert project.placement.beside == {SETTINGS: f"{SETTINGS}.new"}
    assert project.placement.deleted == ("README.md",)
    assert (older / SETTINGS).read_text() == "# mine\n" and not (older / "README.md").exists()
    assert b"class Settings" in (older / f"{SETTINGS}.new").read_bytes()
    before = tree(older)
    again, _ = starter.upgrade(older, book)
    assert again.placement is not None and not again.placement.beside and not again.placement.replaced
    assert tree(older) == before


def test_a_name_that_is_taken_is_not_overwritten(older: Path, book: Rulebook) -> None:
    """Where NAME.new is somebody's file already, the new version takes the next free name."""
    (older / SETTINGS).write_text("# mine\n")
    (older / f"{SETTINGS}.new").write_text("also mine\n")
    project, _ = starter.upgrade(older, book)
    assert project.placement is not None and project.placement.beside == {SETTINGS: f"{SETTINGS}.new2"}
    assert (older / f"{SETTINGS}.new").read_text() == "also mine\n"


def test_upgrading_a_fresh_project_changes_nothing(book: Rulebook, tmp_path: Path) -> None:
    """All variants come out of their own record as they went in."""
    for case in FACTS:
        folder = written(case, tmp_path / case, book).folder
        before = tree(folder)
        project, verdict = starter.upgrade(folder, book)
        assert tree(folder) == before and verdict == "", case
        assert project.placement is not None and set(project.placement.unchanged) == set(before)


def test_dry_upgrade_touches_nothing(older: Path, book: Rulebook) -> None:
    """A dry run says the same and writes nothing."""
    before = tree(older)
    planned, _ = starter.upgrade(older, book, dry_run=True)
    assert tree(older) == before
    done, _ = starter.upgrade(older, book)
    assert planned.placement == done.placement


def test_another_verdict_is_said_and_the_algorithm_kept(book: Rulebook, tmp_path: Path) -> None:
    """Where today's rules would recommend otherwise, the upgrade says so and keeps the project's family."""
    folder = written("maml", tmp_path, book).folder
    record = json.loads((folder / "advisor.json").read_text())
    record["facts"]["test_tasks"]["value"] = "same_as_training"  # as if the rules had read it otherwise then
    (folder / "advisor.json").write_text(json.dumps(record))
    project, verdict = starter.upgrade(folder, book)
    assert (project.family, verdict) == ("maml", "multi_task")
    assert "You asked for this family" in (folder / "README.md").read_text()


@pytest.mark.parametrize("call", [2, 3])
def test_failed_upgrade_changes_nothing(
    call: int, older: Path, book: Rulebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk fails half-way, every file is as it was and none is left over."""
    (older / SETTINGS).write_text("# mine\n")
    before, real, calls = tree(older), place._write, 0

    def fails(path: Path, content: bytes, over: bool) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(28, "No space left on device")
        real(path, content, over)

    monkeypatch.setattr(place, "_write", fails)
    with pytest.raises(CannotWrite, match="No space left"):
        starter.upgrade(older, book)
    assert tree(older) == before


def test_links_out_of_the_folder_are_refused(older: Path, book: Rulebook, tmp_path: Path) -> None:
    """A link in the place of a folder of the project is not followed; a link in the place of a file is the user's and stays."""
    outside = tmp_path / "outside"
    (older / starter.PACKAGE).rename(outside)
    (older / starter.PACKAGE).symlink_to(outside)
    before = tree(outside)
    with pytest.raises(CannotWrite, match="link"):
        starter.upgrade(older, book)
    assert tree(outside) == before
    (older / starter.PACKAGE).unlink()
    outside.rename(older / starter.PACKAGE)
    (tmp_path / "secret").write_text("# older\n")
    (older / SETTINGS).unlink()
    (older / SETTINGS).symlink_to(tmp_path / "secret")
    project, _ = starter.upgrade(older, book)
    assert project.placement is not None and SETTINGS in project.placement.beside
    assert (tmp_path / "secret").read_text() == "# older\n" and (older / SETTINGS).is_symlink()


def test_force_lays_a_project_around_the_users_files(book: Rulebook, tmp_path: Path) -> None:
    """With --force what was there stays to the byte, an own advisor.json too, and the project's file comes beside it."""
    mine = {"README.md": b"mine", "tests/test_mine.py": b"mine", "notes": b"mine", "advisor.json": b'{"files": 3}'}
    for name, content in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    project = starter.write(tmp_path, *advised(FACTS["rl2"], book), book, force=True)
    files = tree(tmp_path)
    assert {name: files[name] for name in mine} == mine
    assert project.placement is not None
    assert set(project.placement.beside) == {"README.md", "advisor.json"}
    assert b"RL" in files["README.md.new"] and set(project.files) <= set(files)


def test_force_over_a_project_keeps_changes(older: Path, book: Rulebook) -> None:
    """--force over a project of ours renews it as an upgrade does, for another family too."""
    (older / AGENT).write_text("# mine\n")
    project = starter.write(older, *advised(FACTS["rl2"], book), book, force=True)
    assert project.placement is not None and AGENT in project.placement.beside
    assert (older / AGENT).read_text() == "# mine\n" and "rl2" in (older / SETTINGS).read_text()
    assert f"{starter.PACKAGE}/maml.py" in project.placement.left and (older / f"{starter.PACKAGE}/maml.py").is_file()


records = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    field=st.sampled_from(["family", "facts", "files", "env", "text", "project", "scenario", "verdict", "insisted"]),
    value=records
    | st.sampled_from([{"../../x": "0" * 64}, {"/etc/passwd": "0" * 64}, "rl2", {"test_tasks": {"value": "shifted"}}]),
)
def test_a_hostile_record_is_refused_or_harmless(
    field: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever advisor.json says, an upgrade is refused with an error of ours, or stays inside the folder."""
    top = tmp_path_factory.mktemp("fuzz")
    book = load()
    folder = written("pearl", top, book).folder
    record = json.loads((folder / "advisor.json").read_text())
    record[field] = value
    (folder / "advisor.json").write_text(json.dumps(record))
    try:
        starter.upgrade(folder, book)
    except AdvisorError as error:
        assert str(error).isprintable() or "\n" in str(error)
    assert [p.name for p in top.iterdir()] == ["mine"]


@pytest.mark.parametrize("content", ["", "[]", "{", "{}", '{"family": "maml"}', "x" * 2_100_000])
def test_no_record_no_upgrade(content: str, book: Rulebook, tmp_path: Path) -> None:
    """A folder without a readable record is no project, and is left alone."""
    with pytest.raises(BadScenario, match="no starter project"):
        starter.upgrade(tmp_path, book)
    (tmp_path / "advisor.json").write_text(content)
    with pytest.raises(AdvisorError):
        starter.upgrade(tmp_path, book)
    assert os.listdir(tmp_path) == ["advisor.json"]


def test_the_commands_list_what_happened(advisor: Run, tmp_path: Path) -> None:
    """`new`, `new --upgrade` and `new --force` say for each file of the user's what became of it; --upgrade takes no other option."""
    assert advisor("new", "mine", "--family", "maml").returncode == 0
    (tmp_path / "mine" / "README.md").write_text("mine")
    (tmp_path / "mine" / SETTINGS).unlink()
    again = advisor("new", "mine", "--upgrade")
    assert again.returncode == 0 and f"deleted by you, not brought back: {SETTINGS}" in again.stdout
    forced = advisor("new", "mine", "--family", "maml", "--force", "--json")
    placed = json.loads(forced.stdout)["placement"]
    assert placed["deleted"] == [SETTINGS] and "README.md" in placed["unchanged"]
    refused = advisor("new", "mine", "--upgrade", "--family", "rl2")
    assert refused.returncode == 2 and "--upgrade goes alone" in refused.stderr
    used = advisor("new", "mine", "--family", "rl2")
    assert used.returncode == 2 and "--upgrade" in used.stderr
    wrong = advisor("new", "other", "--family", "rl2", "--env", "mujoco:half-cheetah")
    assert wrong.returncode == 2 and "did you mean `mujoco:half-cheetah-vel`?" in wrong.stderr
    assert not (tmp_path / "other").exists()
    odd = advisor("new", "a; b\x1b[31m", "--family", "rl2")
    assert odd.returncode == 0 and "\x1b" not in odd.stdout and "cd '" in odd.stdout.replace("\n", "")
