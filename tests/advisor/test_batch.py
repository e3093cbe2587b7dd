"""Batches: order kept, faults confined to their row, exit codes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import batch, rulebook
from tests.conftest import Run

BOOK = rulebook.load()
SHIFTED = {"test_tasks": "shifted"}


def test_a_folder_of_everything(advisor: Run, tmp_path: Path) -> None:
    """Every scenario file of a folder is found recursively; faults become records with an error, and the exit code says so."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.yaml").write_text("facts: {test_tasks: shifted}\n")
    (folder / "b.json").write_text("{nonsense")
    (folder / "deep" / "c.jsonl").write_text(
        '{"id": "one", "test_tasks": "shifted"}\n\nnot json\n{"id": "two", "facts": {"test_tasks": "shifted"}}\n'
        '{"id": "three", "no_fact": "x"}\n{"id": "four"}\n[1]\n'
    )
    (folder / "d.csv").write_text("id,test_tasks,text\nr1,shifted,\nr2,shifted\nr3,nowhere,\n")
    done = advisor("classify", "in", "--format", "jsonl")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3, done.stderr
    assert [(r["id"], r["recommendation"], r["error"] and r["error"]["code"]) for r in records] == [
        ("a", "none_reliable", None),
        ("b", None, "bad-scenario"),
        ("r1", "none_reliable", None),
        ("in/d.csv, line 3", None, "bad-scenario"),
        ("r3", None, "unknown-value"),
        ("one", "none_reliable", None),
        ("in/deep/c.jsonl, line 3", None, "bad-scenario"),
        ("two", "none_reliable", None),
        ("three", None, "unknown-fact"),
        ("four", None, "empty-scenario"),
        ("in/deep/c.jsonl, line 7", None, "bad-scenario"),
    ]


def test_stdin_and_formats(advisor: Run) -> None:
    """`-` reads JSONL; table, CSV and one JSON document come out, exit 0 when every row was read."""
    rows = "".join(json.dumps({"id": f"s{i}", **SHIFTED}) + "\n" for i in range(3))
    assert advisor("classify", "-", stdin=rows).stdout.count("none_reliable") == 3
    csv_out = advisor("classify", "-", "--format", "csv", stdin=rows).stdout.splitlines()
    assert csv_out[0].startswith("id,recommendation") and len(csv_out) == 4
    assert [r["id"] for r in json.loads(advisor("classify", "-", "--json", stdin=rows).stdout)] == ["s0", "s1", "s2"]


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    """A row in another encoding is an error of that row alone."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"id": "a", "test_tasks": "shifted"}\n{"id": "\xff"}\n{"id": "b", "test_tasks": "shifted"}\n')
    records = list(batch.classify(batch.rows([str(path)]), BOOK))
    assert [r.error is None for r in records] == [True, False, True]


def test_a_line_without_end(tmp_path: Path) -> None:
    """A line of several megabytes is refused without being parsed, and the next row is read."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "' + "x" * 3_000_000 + '"}\n{"id": "b", "test_tasks": "shifted"}\n')
    records = list(batch.classify(batch.rows([str(path)]), BOOK))
    assert [(r.id, r.recommendation) for r in records][1] == ("b", "none_reliable")
    assert records[0].error is not None and "characters" in records[0].error.message


def test_order_with_an_executor(tmp_path: Path) -> None:
    """With workers, the records come in the order of the input and are the same."""
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"id": str(i), **SHIFTED}) + "\n" for i in range(2000)))
    alone = list(batch.classify(batch.rows([str(path)]), BOOK))
    with ThreadPoolExecutor(3) as pool:
        together = list(batch.classify(batch.rows([str(path)]), BOOK, pool))
    assert together == alone and [r.id for r in alone] == [str(i) for i in range(2000)]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_line_gives_one_record(line: str) -> None:
    """Whatever stands in a line, a record comes out and nothing is raised."""
    row = batch._row(line, "here, line 1")
    assert batch._classify(row, BOOK).rules_version or batch._classify(row, BOOK).error is not None
