"""Scenario files: what is accepted, and one clear message for what is not."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import rulebook
from advisor.errors import AdvisorError, quoted
from advisor.export import FORMATS
from advisor.facts import establish
from advisor.reader import Proposal, Span
from advisor.scenario import Scenario, joined_facts, load, load_mapping
from tests.conftest import Run

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


def test_a_fact_of_no_such_name_is_refused_though_it_is_unknown() -> None:
    """`unknown` takes back a fact that exists; a misspelt one is a mistake."""
    assert not establish(Scenario("s", "", {"task_belief": "unknown"}), BOOK)
    with pytest.raises(AdvisorError, match="weather"):
        establish(Scenario("s", "", {"weather": "unknown"}), BOOK)


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
        ("a.yaml", b"", "empty-scenario", ["advisor ask"]),
        ("a.json", b"null", "empty-scenario", ["advisor ask"]),
        ("a.json", b"", "bad-scenario", ["line 1"]),
        (
            "a.yaml",
            b"facts:\n  test_tasks: shifted\n  test_tasks: same_as_training\n",
            "bad-scenario",
            ["line 3", "`test_tasks`"],
        ),
        ("a.json", b'{"facts": {"reward": "dense", "reward": "sparse"}}', "bad-scenario", ["`reward`", "twice"]),
        ("a.yaml", b"description: one\ntext: two\n", "contradicting-facts", ["`description` and `text`"]),
        ("a.yaml", b"facts: {task_count: 1.5}\n", "bad-scenario", ["task_count", "whole number"]),
        ("a.yaml", b"facts: {task_count: " + b"9" * 6000 + b"}\n", "bad-scenario", ["a.yaml"]),
        ("a.txt", b"one\ntwo \x00", "bad-scenario", ["line 2", "NUL"]),
        ("a.yaml", b'description: "a\\0b"\n', "bad-scenario", ["NUL"]),
        ("a.yaml", b"x\x07: 1\n", "bad-scenario", ["a.yaml"]),
        ("a.json", b'{"a\\u001b[31m": 1}', "bad-scenario", ["`a\\x1b[31m`"]),
        ("a.txt", b"x" * 10_000_000, "too-large", ["2000000 bytes"]),
        ("a.txt", b"x" * 500_000, "too-large", ["200000"]),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, code: str, words: list[str]) -> None:
    """A file that can't be used gives one message with its place and the right code."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AdvisorError) as caught:
        load(str(tmp_path / name))
    said = str(caught.value)
    assert caught.value.code == code and caught.value.exit_code == 2
    assert all(word in said for word in words), said
    assert said.count("\n") == 1 and said.replace("\n", "").isprintable(), said  # the message, then the next step


def test_a_missing_file_is_no_text(tmp_path: Path) -> None:
    """What looks like a file name and is none is an error, not a description."""
    with pytest.raises(AdvisorError) as caught:
        load("no/such/file.yaml")
    assert caught.value.code == "missing-file"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"a\nb\x1b[0m": "x"}, ["unknown-fact", "`a\\nb\\x1b[0m`"]),
        ({"test_tasks": "x" * 5000}, ["unknown-value", "..."]),
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


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("s.yaml", "description: |\n  facts:\n    test_taks: none\nfacts:\n  reward: dense\n  test_taks: shifted\n", 6),
        (
            "s.json",
            '{\n "description": "\\"facts\\": {\\"test_taks\\": 1}",\n "facts": {"reward": "dense",\n "test_taks": "shifted"}}',
            4,
        ),
    ],
)
def test_an_unknown_fact_is_found_on_its_line(tmp_path: Path, name: str, content: str, line: int) -> None:
    """The message names the line on which the fact stands, whatever the description says about facts."""
    (tmp_path / name).write_text(content)
    with pytest.raises(AdvisorError) as caught:
        establish(load(str(tmp_path / name)), BOOK)
    assert caught.value.where == f"{tmp_path / name}, line {line}"


@pytest.mark.parametrize(
    ("facts", "fits"),
    [
        ({"training_tasks": "single", "task_count": "50"}, False),
        ({"training_tasks": "known_set", "task_count": "1"}, False),
        ({"training_tasks": "distribution", "task_count": "1"}, False),
        ({"training_tasks": "single", "task_count": "1"}, True),
        ({"training_tasks": "known_set", "task_count": "2"}, True),
        ({"task_count": "1"}, True),
    ],
)
def test_contradicting_facts_of_one_file(facts: dict[str, str], fits: bool) -> None:
    """Facts that can't both hold are refused with both named; those that can are kept."""
    told = Scenario("s", "", facts, "s.yaml")
    if fits:
        assert set(establish(told, BOOK)) == set(facts)
        return
    with pytest.raises(AdvisorError) as caught:
        establish(told, BOOK)
    assert caught.value.code == "contradicting-facts" and all(
        f"{n} = {v}" in str(caught.value) for n, v in facts.items()
    )


def test_a_proposal_that_contradicts_is_dropped() -> None:
    """What the reader only proposes gives way to what the user stated; between two proposals the count gives way."""

    def read(*facts: tuple[str, str]) -> list[Proposal]:
        return [Proposal(n, v, 0.9, "text", (Span(0, 1, "x"),)) for n, v in facts]

    stated = Scenario("s", "x", {"training_tasks": "single"})
    assert set(establish(stated, BOOK, read(("task_count", "50")))) == {"training_tasks"}
    stated = Scenario("s", "x", {"task_count": "50"})
    assert set(establish(stated, BOOK, read(("training_tasks", "single")))) == {"task_count"}
    both = read(("training_tasks", "single"), ("task_count", "50"))
    assert set(establish(Scenario("s", "x"), BOOK, both)) == {"training_tasks"}


def test_a_row_that_contradicts_itself() -> None:
    """A fact stated as a column and under `facts` must be the same both times."""
    assert joined_facts({"reward": "dense"}, {"reward": "dense", "task_count": 3}, "x") == {
        "reward": "dense",
        "task_count": "3",
    }
    with pytest.raises(AdvisorError, match="dense as a column and sparse under"):
        joined_facts({"reward": "dense"}, {"reward": "sparse"}, "x.jsonl, line 1")


def test_ten_megabytes_everywhere(advisor: Run, tmp_path: Path) -> None:
    """Ten megabytes of text are one message, exit 2, as a file and on stdin; in a batch they are one record beside the others."""
    text = "a robot " * 1_250_000
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big.txt").write_text(text)
    (tmp_path / "in" / "small.json").write_text('{"facts": {"test_tasks": "shifted"}}')
    for done in (advisor("explain", "in/big.txt"), advisor("explain", "-", stdin=text)):
        assert done.returncode == 2 and "error[too-large]" in done.stderr and "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 2 and done.stdout == ""
    batch = advisor("classify", "in", "--format", "jsonl")
    records = [json.loads(line) for line in batch.stdout.splitlines()]
    assert batch.returncode == 3 and [r["error"] and r["error"]["code"] for r in records] == ["too-large", None]


def test_quoted_names_are_one_printable_line() -> None:
    """Names out of untrusted input are shortened and their control characters made visible, lone surrogates included."""
    assert quoted("a\x1b[31m\nb\u202e\ud800") == "a\\x1b[31m\\nb\\u202e\\ud800"
    assert quoted("x" * 100) == "x" * 80 + "..."


SCENARIO_SCHEMA = jsonschema.Draft202012Validator(json.loads(FORMATS["json-schema"](BOOK)))


@pytest.mark.parametrize(
    "document",
    [
        {"description": "x"}, {"text": "x"}, {"facts": {"test_tasks": "shifted"}}, {"facts": {"task_count": 3}}, {}, {"id": "s"},
        {"description": ""}, {"description": " "}, {"facts": {}}, {"facts": {"test_tasks": "shift"}}, {"facts": {"weather": "wet"}},
        {"facts": {"task_count": 0}}, {"facts": {"task_count": "unknown"}}, {"facts": {"test_tasks": None}}, {"descripton": "x"},
        {"description": 3}, {"facts": ["test_tasks"]}, {"facts": {"test_tasks": True}}, {"id": 7, "description": "x"}, {"id": None, "text": "x"},
        [], "x", {"description": "x", "facts": None}, {"description": None, "facts": {"reward": "dense"}},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_the_schema_of_scenario_files_accepts_what_is_read(tmp_path: Path, document: object) -> None:
    """A document validates against the exported JSON Schema exactly when `explain` would read it."""
    (tmp_path / "s.json").write_text(json.dumps(document))
    try:
        establish(load(str(tmp_path / "s.json")), BOOK)
        read = True
    except AdvisorError:
        read = False
    assert SCENARIO_SCHEMA.is_valid(document) == read


def reads_or_says(path: Path) -> None:
    for use in (lambda: establish(load(str(path)), BOOK), lambda: load_mapping(path)):
        try:
            use()
        except AdvisorError as error:
            assert error.exit_code == 2 and error.where and str(error).replace("\n", "").isprintable()


SUFFIX = st.sampled_from(["yaml", "json", "md", "txt"])


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200), suffix=SUFFIX)
def test_any_bytes_as_a_scenario_file(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    """Whatever bytes a scenario file holds, it is read or refused with one message; nothing else is raised."""
    path = tmp_path_factory.mktemp("s") / f"s.{suffix}"
    path.write_bytes(content)
    reads_or_says(path)


PIECES = [
    "facts", "test_tasks", "shifted", ":", " ", "\n", "  ", "- ", "{", "}", "[", "]", "&a", "*a", "!!x", "|", ">", "'", '"', "#", "?", "%",
    "\t", "description", "<<", "---", "...", "~", "0x1f", "1e999", "2026-01-01", "\x85", "\u2028", "\ufeff", "é",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=30), suffix=SUFFIX)
def test_any_marks_as_a_scenario_file(tmp_path_factory: pytest.TempPathFactory, pieces: list[str], suffix: str) -> None:
    """The same for files made of the marks that YAML and JSON give a meaning to."""
    path = tmp_path_factory.mktemp("s") / f"s.{suffix}"
    path.write_text("".join(pieces), encoding="utf-8")
    reads_or_says(path)
