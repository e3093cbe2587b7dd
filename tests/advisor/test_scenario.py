"""Scenario files: what is accepted, and one clear message for what is not."""

from pathlib import Path

import pytest

from advisor import rulebook
from advisor.errors import AdvisorError
from advisor.facts import establish
from advisor.reader import Proposal, Span
from advisor.scenario import Scenario, load

BOOK = rulebook.load()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.yaml", "id: s\ndescription: Fifty shapes.\nfacts:\n  training_tasks: known_set\n  task_count: 50\n"),
        ("s.json", '{"description": "Fifty shapes.", "facts": {"training_tasks": "known_set", "task_count": 50}}'),
    ],
)
def test_data_files(tmp_path: Path, name: str, content: str) -> None:
    """YAML and JSON give the same scenario; the id falls back to the file's name."""
    (tmp_path / name).write_text(content)
    told = load(str(tmp_path / name))
    assert (told.id, told.text) == ("s", "Fifty shapes.")
    assert told.facts == {"training_tasks": "known_set", "task_count": "50"}


@pytest.mark.parametrize("name", ["s.md", "s.txt"])
def test_prose_files_are_the_description(tmp_path: Path, name: str) -> None:
    """Of Markdown and text the whole file is the description."""
    (tmp_path / name).write_text("# Robot\n\nIt picks.\n")
    assert load(str(tmp_path / name)).text == "# Robot\n\nIt picks.\n"


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("a.yaml", b"description: &a x\nfacts: *a\n", "bad-scenario", ["a.yaml", "line 1", "aliases"]),
        ("a.yaml", b"description: !!python/object:os.system x\n", "bad-scenario", ["tags"]),
        ("a.yaml", b"description: [x\n", "bad-scenario", ["line"]),
        ("a.yaml", b"id: 1\nid: 2\n", "bad-scenario", ["a.yaml"]),
        ("a.yaml", b"- x\n", "bad-scenario", ["mapping"]),
        ("a.yaml", b"descripton: x\n", "bad-scenario", ["descripton", "fields"]),
        ("a.yaml", b"facts: {training_tasks: [known_set]}\n", "bad-scenario", ["training_tasks"]),
        ("a.json", b'{"description": }', "bad-scenario", ["line 1"]),
        ("a.json", b'{"id": 1, "id": 2}', "bad-scenario", ["twice"]),
        ("a.json", b"[" * 100000, "bad-scenario", ["nested"]),
        ("a.txt", b"\xff\xfe\x00", "bad-scenario", ["UTF-8"]),
        ("a.txt", b" \n", "empty-scenario", ["advisor ask"]),
        ("a.yaml", b"id: x\n", "empty-scenario", ["neither"]),
        ("a.txt", b"x" * 10_000_000, "too-large", ["2000000 bytes"]),
        ("a.txt", b"x" * 500_000, "too-large", ["200000"]),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, code: str, words: list[str]) -> None:
    """A file that can't be used gives one message with its place and the right code."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AdvisorError) as caught:
        load(str(tmp_path / name))
    assert caught.value.code == code and caught.value.exit_code == 2
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_missing_file_is_no_text(tmp_path: Path) -> None:
    """What looks like a file name and is none is an error, not a description."""
    with pytest.raises(AdvisorError) as caught:
        load("no/such/file.yaml")
    assert caught.value.code == "missing-file"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"adaptation_gradeints": "allowed"}, ["unknown-fact", "did you mean `adaptation_gradients`?"]),
        ({"test_tasks": "shift"}, ["unknown-value", "did you mean `shifted`?"]),
        ({"task_count": "-3"}, ["unknown-value", "from 1 to"]),
    ],
)
def test_unknown_facts_and_values_offer_the_nearest(facts: dict[str, str], words: list[str]) -> None:
    """A wrong name or value is refused with the nearest known one."""
    with pytest.raises(AdvisorError) as caught:
        establish(Scenario("s", "", facts), BOOK)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_answers_beat_the_file_and_the_file_beats_the_text() -> None:
    """Where a value came from is kept, and the order between the sources holds."""
    read = [Proposal(n, "allowed", 0.9, "text", (Span(0, 1, "x"),)) for n in ("adaptation_gradients",)]
    told = Scenario("s", "x", {"test_tasks": "shifted"})
    assert establish(told, BOOK, read)["adaptation_gradients"].source == "text"
    told = Scenario("s", "x", {"adaptation_gradients": "not_allowed"})
    assert establish(told, BOOK, read)["adaptation_gradients"].value == "not_allowed"
    answered = establish(told, BOOK, read, {"adaptation_gradients": "allowed"})["adaptation_gradients"]
    assert (answered.value, answered.source) == ("allowed", "answer")
    assert "adaptation_gradients" not in establish(told, BOOK, read, {"adaptation_gradients": "unknown"})
