"""Batches from the command line: order kept, faults confined to their row, formats, exit codes."""

import csv
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from advisor import batch, rulebook
from advisor.batch.inputs import CHUNK_BYTES
from advisor.errors import UnknownEntry
from tests.conftest import Run

BOOK = rulebook.load()
SHIFTED = {"test_tasks": "shifted"}


def rows_of(count: int, **facts: str) -> str:
    return "".join(json.dumps({"id": f"s{i}", **(facts or SHIFTED)}) + "\n" for i in range(count))


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
    (folder / "e.toml").write_text('id = "t"\n[facts]\ntest_tasks = "shifted"\n')
    (folder / "notes.log").write_text("no scenario")
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
        ("t", "none_reliable", None),
    ]
    assert records[4]["error"]["where"] == "in/d.csv, line 4"
    assert "7 record(s) hold an error" in done.stderr


def test_unknown_in_a_row(advisor: Run, tmp_path: Path) -> None:
    """Under `facts`, `unknown` takes back what the text says; a column has one in every row, and there it is an empty cell."""
    text = "The arm is trained on thousands of generated objects and in the field meets new objects it has never seen. Its weights are frozen."
    nested: dict[str, object] = {"text": text, "facts": {"adaptation_gradients": "unknown"}}
    rows = [nested, {"text": text, "adaptation_gradients": "unknown"}, {"facts": {"test_tasks": "unknown"}}]
    rows += [{"test_tasks": "unknown"}, {**nested, "adaptation_gradients": "allowed"}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = [json.loads(line) for line in advisor("classify", "x.jsonl", "--format", "jsonl").stdout.splitlines()]
    assert [r["recommendation"] for r in records] == ["undecided", "rl2", "undecided", None, "maml"]
    assert records[0]["possible"] == ["maml", "rl2"] and records[3]["error"]["code"] == "empty-scenario"


def test_formats_on_stdout(advisor: Run) -> None:
    """`-` reads JSONL; table, CSV, JSONL, one JSON document and the Markdown summary come out, exit 0 when every row was read."""
    rows = rows_of(3)
    assert advisor("classify", "-", stdin=rows).stdout.count("none_reliable") == 3
    csv_out = list(csv.reader(io.StringIO(advisor("classify", "-", "--format", "csv", stdin=rows).stdout)))
    assert csv_out[0] == batch.CSV_HEADER and [r[0] for r in csv_out[1:]] == ["s0", "s1", "s2"]
    done = advisor("classify", "-", "--json", stdin=rows)
    assert [r["id"] for r in json.loads(done.stdout)] == ["s0", "s1", "s2"] and done.stderr == ""
    assert json.loads(advisor("classify", "-", "--json", stdin="").stdout) == []
    lines = advisor("classify", "-", "--format", "jsonl", stdin=rows).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["s0", "s1", "s2"]


def test_the_summary(advisor: Run, tmp_path: Path) -> None:
    """The summary counts verdicts and errors, and names the question that settles most of the undecided rows."""
    (tmp_path / "x.jsonl").write_text(
        rows_of(2)
        + rows_of(3, training_tasks="distribution", test_tasks="new_same_distribution", task_belief="not_required")
        + '{"id": "open"}\n{"id": "typo", "test_taks": "shifted"}\n'
        + '{"id": "typo2", "test_taks": "shifted"}\n'
    )
    done = advisor("classify", "x.jsonl", "--output", "out.md")
    text = (tmp_path / "out.md").read_text()
    assert done.returncode == 3 and done.stdout == ""
    assert text.startswith("# 8 scenarios\n") and "| undecided (`undecided`) | 3 | 37.5% |" in text
    assert "| none reliable (`none_reliable`) | 2 | 25.0% |" in text and "| no answer: an error | 3 | 37.5% |" in text
    fact = BOOK.facts["adaptation_gradients"]
    assert f"**{fact.question}** (`adaptation_gradients`)" in text
    assert f"| `adaptation_gradients` | 3 | {3 * (1 - fact.dont_know / 100):.1f} |" in text
    assert "| `unknown-fact` | 2 |\n| `empty-scenario` | 1 |" in text


def test_a_long_table_is_cut(advisor: Run) -> None:
    """A table shows a thousand rows and says how to get the others."""
    done = advisor("classify", "-", stdin=rows_of(1003))
    assert done.stdout.count("none_reliable") == 1000
    assert "1000 of 1003 rows are shown" in done.stderr and "--output" in done.stderr


def test_repeated_ids_are_told(advisor: Run, tmp_path: Path) -> None:
    """A repeated id is answered like any other and told with file and line, wherever in the input it stands; the flood is counted."""
    many = rows_of(3000)
    assert len(many) < CHUNK_BYTES
    (tmp_path / "a.jsonl").write_text(many)
    (tmp_path / "b.csv").write_text("id,test_tasks\nnew,shifted\ns7,shifted\nnew,shifted\n")
    done = advisor("classify", "a.jsonl", "b.csv", "--format", "csv")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3004
    assert done.stderr.splitlines() == [
        "b.csv, line 3: the id `s7` stood before",
        "b.csv, line 4: the id `new` stood before",
    ]
    flood = advisor("classify", "a.jsonl", "a.jsonl", "--format", "csv").stderr.splitlines()
    assert len(flood) == 6 and flood[-1] == "3000 rows in all bear an id that stood before"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.jsonl", "--format", "jsnol"], "did you mean `jsonl`?"),
        (["x.jsonl", "--output", "y.pdf"], "names no format"),
        (["x.jsonl", "--resume"], "--output FILE"),
        (["x.jsonl", "--format", "table", "--output", "y.txt"], "for a file: jsonl"),
        (["x.jsonl", "--format", "parquet"], "--output FILE.parquet"),
        (["x.jsonl", "--workers", "2", "--cluster", "tcp://127.0.0.1:1"], "exclude each other"),
        (["x.jsonl", "nothing/*.jsonl"], "error[missing-file]: nothing/*.jsonl"),
        (["x.jsonl", "nofile.jsonl", "--output", "y.csv"], "error[missing-file]: nofile.jsonl"),
    ],
)
def test_slips_are_found_before_the_work(advisor: Run, tmp_path: Path, arguments: list[str], words: str) -> None:
    """Wrong usage ends with exit 2, the next step, nothing on stdout and no file."""
    (tmp_path / "x.jsonl").write_text(rows_of(1))
    done = advisor("classify", *arguments)
    assert done.returncode == 2 and words in done.stderr and done.stdout == "", done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_formats_by_suffix(tmp_path: Path) -> None:
    """--format beats the suffix; each suffix names its format."""
    for name, form in (
        ("a.jsonl", "jsonl"),
        ("a.JSON", "json"),
        ("a.csv", "csv"),
        ("a.parquet", "parquet"),
        ("a.md", "markdown"),
    ):
        assert batch.format_of(None, tmp_path / name) == form
    assert batch.format_of("csv", tmp_path / "a.jsonl") == "csv" and batch.format_of(None, None) == "table"
    with pytest.raises(UnknownEntry):
        batch.format_of(None, tmp_path / "a")


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    """`advisor classify ... | head` prints no traceback, whatever the format."""
    (tmp_path / "x.jsonl").write_text(rows_of(20_000))
    pipe = f"{sys.executable} -m advisor classify x.jsonl --format csv | head -n 1"
    done = subprocess.run(pipe, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("id,recommendation") and done.stderr == ""


def test_records_for_programs(tmp_path: Path) -> None:
    """`batch.classify` gives the records in the order of the rows, the same ones with an executor."""
    (tmp_path / "x.jsonl").write_text(rows_of(700) + "nonsense\n")
    paths = [str(tmp_path / "x.jsonl")]
    alone = list(batch.classify(batch.rows(paths), BOOK))
    with ThreadPoolExecutor(3) as pool:
        together = list(batch.classify(batch.rows(paths), BOOK, pool))
    assert together == alone and [r.id for r in alone[:700]] == [f"s{i}" for i in range(700)]
    assert alone[700].error is not None and alone[700].error.where.endswith("x.jsonl, line 701")
