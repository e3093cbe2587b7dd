"""What batches read: every format the same, faults confined to their row and named with file and line."""

import csv
import gzip
import io
import json
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from advisor import batch, rulebook
from advisor.batch import inputs
from advisor.batch.inputs import Chunk, _csv
from advisor.batch.rows import chunk_rows
from advisor.record import Record

BOOK = rulebook.load()
FACTS = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "task_belief": "required"}
GOOD = '{"id": "a", "test_tasks": "shifted"}'


def records(*paths: Path | str) -> list[Record]:
    return list(batch.classify(batch.rows([str(p) for p in paths]), BOOK))


def test_every_format_says_the_same(tmp_path: Path) -> None:
    """One scenario in each format, zipped or not, gives one and the same record."""
    text = 'A café robot, „naïve“, meets\nnew drinks; it says "hello".'
    row = {"id": "s", "text": text, **FACTS}
    nested = {"id": "s", "description": text, "facts": FACTS}
    line = json.dumps(row, ensure_ascii=False) + "\n"
    (tmp_path / "s.jsonl").write_text(line, encoding="utf-8")
    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    (tmp_path / "s.json").write_text(json.dumps(nested), encoding="utf-8")
    (tmp_path / "s.yaml").write_text(json.dumps(nested, ensure_ascii=False), encoding="utf-8")  # JSON is YAML
    facts = "".join(f'{k} = "{v}"\n' for k, v in FACTS.items())
    (tmp_path / "s.toml").write_text(f'id = "s"\ndescription = {json.dumps(text)}\n[facts]\n{facts}', encoding="utf-8")
    table = io.StringIO()
    writer = csv.DictWriter(table, row.keys())
    writer.writeheader()
    writer.writerow(row)
    (tmp_path / "s.csv").write_text(table.getvalue(), encoding="utf-8", newline="")
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(table.getvalue().encode()))
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "s.parquet")
    found = records(tmp_path)
    assert len(found) == 8 and found[0].recommendation == "pearl"
    assert all(r == found[0] for r in found)
    assert records(str(tmp_path / "*.gz")) == found[:2]


def test_chunks_cut_smaller(tmp_path: Path) -> None:
    """Cut chunks hold the same rows at the same places, line ends and faults included, and their sizes add up."""
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([GOOD.encode(), b"", b"{broken", b'{"id":\r"c"}', GOOD.encode()]))
    (tmp_path / "b.csv").write_text("id,test_tasks\n" + "".join(f"{i},shifted\n" for i in range(7)))
    for i in range(5):
        (tmp_path / f"c{i}.txt").write_text("A robot.")
    whole = list(inputs.chunks([str(tmp_path)]))
    for rows in (1, 2, 3, 100):
        small = list(inputs.cut(whole, rows))
        assert all(len(list(chunk_rows(c))) <= rows for c in small)
        assert [repr(r) for c in small for r in chunk_rows(c)] == [repr(r) for c in whole for r in chunk_rows(c)]
        assert sum(c.size for c in small) == sum(c.size for c in whole)


def test_prose_files(tmp_path: Path) -> None:
    """Markdown and text files are descriptions as they stand, with the file's name as id."""
    (tmp_path / "a.md").write_text("The tasks at test time are off the training distribution.")
    (tmp_path / "b.txt").write_text("The tasks at test time are off the training distribution.")
    found = records(tmp_path)
    assert [r.id for r in found] == ["a", "b"] and found[0].facts == found[1].facts


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, suffix: str, end: str, mark: bytes) -> None:
    """A byte-order mark, CRLF and a missing last line end change nothing."""
    lines = (
        [GOOD, "", '{"id": "b", "test_tasks": "nowhere"}']
        if suffix == "jsonl"
        else ["id,test_tasks", "a,shifted", "", "b,nowhere"]
    )
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(mark + end.join(lines).encode())
    first, second = records(path)
    assert (first.id, first.recommendation, second.id) == ("a", "none_reliable", "b")
    assert second.error is not None and second.error.where == f"{path}, line {len(lines)}"


def test_other_encodings(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 cost their row alone; a UTF-16 file is one error, not one a line."""
    (tmp_path / "a.jsonl").write_bytes(f'{GOOD}\n{{"id": "\xff"}}\n{GOOD}\n'.encode("latin-1"))
    (tmp_path / "b.csv").write_bytes("id,test_tasks\na,shifted\n\xff,shifted\nb,shifted\n".encode("latin-1"))
    (tmp_path / "c.txt").write_bytes(b"caf\xe9")
    (tmp_path / "d.jsonl").write_bytes(f"{GOOD}\n{GOOD}\n".encode("utf-16"))
    (tmp_path / "e.csv").write_bytes("id,test_tasks\na,shifted\nb,shifted\n".encode("utf-16"))
    found = [
        (r.error.where.removeprefix(f"{tmp_path}/"), r.error.message) if r.error else r.id for r in records(tmp_path)
    ]
    assert found == [
        "a",
        ("a.jsonl, line 2", "is not UTF-8"),
        "a",
        "a",
        ("b.csv, line 3", "is not UTF-8"),
        "b",
        ("c.txt", "is not UTF-8 (byte 3)"),
        ("d.jsonl, line 1", "is UTF-16, not UTF-8"),
        ("e.csv, line 1", "is UTF-16, not UTF-8"),
    ]


def test_broken_csv(tmp_path: Path) -> None:
    """Ragged rows, quotes left open, text after a quote and unknown columns are errors of their line; the rows around are read."""
    path = tmp_path / "x.csv"
    path.write_text(
        "id,test_tasks,text\na,shifted,\nb,shifted\nc,shifted,,\n"
        'd,shifted,"open\ne,shifted,\nf,shifted,"with ""quotes""\nand a line"\ng,"shifted"x,\nh,shifted,"open to the end\ni,shifted,\n'
    )
    found = {r.id.rpartition(", ")[2]: r.error and r.error.message for r in records(path)}
    assert list(found) == ["a", "line 3", "line 4", "line 5", "e", "f", "line 9", "line 10", "i"]
    assert [name for name, message in found.items() if message is None] == ["a", "e", "f", "i"]
    assert found["line 3"] == "has 2 columns and the header has 3" and "is no valid CSV" in str(found["line 10"])
    path.write_text("id,owner,test_tasks\na,me,shifted\nb,,shifted\n")
    first, second = records(path)
    assert first.error is not None and first.error.code == "unknown-fact" and "`owner`" in first.error.message
    assert second.recommendation == "none_reliable"
    path.write_text("id,id,test_tasks\na,b,shifted\n")
    (only,) = records(path)
    assert only.error is not None and only.error.message == "the column `id` stands twice"


def test_a_line_of_fifty_megabytes(tmp_path: Path) -> None:
    """A line of 50 MB is refused without being held, in JSONL and in CSV, and the rows around it are read."""
    with (tmp_path / "x.jsonl").open("w") as lines, (tmp_path / "x.csv").open("w") as table:
        print(GOOD, file=lines)
        print("id,test_tasks,text\na,shifted,", file=table)
        print("b,shifted,", end="", file=table)
        for _ in range(50):
            print("x" * 1_000_000, end="", file=lines)
            print("x" * 1_000_000, end="", file=table)
        print("\n" + GOOD, file=lines)
        print("\nc,shifted,", file=table)
    code = (
        "import resource, sys; from advisor import batch, rulebook\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for r in batch.classify(batch.rows(sys.argv[1:]), rulebook.load()): print(r.id, r.error and r.error.message)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "x.csv", "x.jsonl"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    *lines_out, kilobytes = done.stdout.splitlines()
    long = f"the line has more than {inputs.LONGEST_LINE} bytes"
    assert lines_out == [
        "a None",
        f"x.csv, line 3 is no valid CSV: {long}",
        "c None",
        "a None",
        f"x.jsonl, line 2 {long}",
        "a None",
    ]
    assert int(kilobytes) < 30_000


def test_damaged_archives(tmp_path: Path) -> None:
    """A cut or garbled gzip file gives the rows before the damage and an error with its place; so does Parquet, as a whole."""
    rows = "".join(f'{{"id": "s{i}", "test_tasks": "shifted"}}\n' for i in range(20_000)).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows)[:-2000])
    (tmp_path / "b.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no parquet PAR1")
    found = records(tmp_path)
    *good, cut, no_gzip, no_parquet = found
    assert len(good) > 1000 and all(r.id == f"s{i}" and r.error is None for i, r in enumerate(good))
    assert cut.error is not None and cut.error.where == f"{tmp_path}/a.jsonl.gz, line {len(good) + 1}"
    assert no_gzip.error is not None and no_gzip.error.where.startswith(f"{tmp_path}/b.csv.gz")
    assert no_parquet.error is not None and "is no valid Parquet" in no_parquet.error.message


def test_parquet_rows(tmp_path: Path) -> None:
    """Columns without a value are unknown facts, counts are numbers, and a fault names its row."""
    rows = [
        {"id": i, "test_tasks": "shifted" if i % 2 else None, "task_count": 50 if i < 600 else None} for i in range(700)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    found = records(tmp_path / "x.parquet")
    assert [r.id for r in found] == [str(i) for i in range(700)]
    assert found[1].facts["task_count"].value == "50" and "task_count" not in found[601].facts
    assert found[698].error is not None and found[698].error.where == f"{tmp_path}/x.parquet, row 699"


def test_json_that_is_nearly_right(tmp_path: Path) -> None:
    """A key that stands twice, flat or nested, a value of the wrong sort, half a surrogate pair: an error or an answer, never a guess."""
    lines = [
        '{"id": "a", "test_tasks": "shifted", "test_tasks": "same_as_training"}',
        '{"id": "b", "facts": {"test_tasks": "shifted", "test_tasks": "same_as_training"}}',
        '{"id": "c", "test_tasks": "shifted", "test_tasks" : "same_as_training"}',
        '{"id": "d:e", "test_tasks": "shifted"}',
        '{"id": "f", "task_count": 1, "test_tasks": "shifted"}',
        '{"id": "g", "task_count": true, "test_tasks": "shifted"}',
        '{"id": "h", "task_count": 1.0, "test_tasks": "shifted"}',
        '{"id": "i", "test_tasks": ["shifted"]}',
        '{"id": "j", "facts": [1]}',
        '{"id": "\\ud800", "test_tasks": "shifted"}',
        " " + GOOD + " ",
        GOOD + GOOD,
        "[" * 100_000,
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    found = records(tmp_path / "x.jsonl")
    assert [r.error.code if r.error else r.id for r in found] == (
        ["bad-scenario"] * 3 + ["d:e", "f"] + ["bad-scenario"] * 4 + ["\ud800", "a"] + ["bad-scenario"] * 2
    )


def test_folders_hold_only_scenarios(tmp_path: Path) -> None:
    """Other files, broken links and links to folders are passed over; the order is that of the names."""
    (tmp_path / "b").mkdir()
    for name in ("c.jsonl", "b/a.jsonl", "a.jsonl", "z.bin", "y.yaml.gz"):
        (tmp_path / name).write_text(GOOD.replace('"a"', json.dumps(name)) + "\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nothing.jsonl")
    assert [r.id for r in records(tmp_path)] == ["a.jsonl", "b/a.jsonl", "c.jsonl"]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_line_gives_one_record(line: str) -> None:
    """Whatever stands in a line, a record comes out and nothing is raised."""
    raw = line.replace("\n", " ").encode("utf-8", "surrogatepass")
    found = list(batch.classify(inputs_rows(Chunk("here", len(raw), raw)), BOOK))
    assert len(found) == bool(line.replace("\n", " ").strip())
    assert all(r.rules_version or r.error is not None for r in found)


def inputs_rows(chunk: Chunk) -> list[batch.Row]:
    from advisor.batch.rows import chunk_rows

    return list(chunk_rows(chunk))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.text(alphabet='ab",\r\n\x00é', max_size=6), min_size=2, max_size=2), max_size=8))
def test_well_formed_csv_is_read_as_the_library_reads_it(table: list[list[str]]) -> None:
    """What Python's csv module writes comes back cell by cell, whatever the cells hold."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(["id", "text"])
    writer.writerows(table)
    found = [row for chunk in _csv(io.BytesIO(text.getvalue().encode()), "x") for _, row in chunk.rows]
    assert [list(row.values()) for row in found if isinstance(row, dict)] == [row for row in table if any(row)]
    assert all(isinstance(row, dict) for row in found)


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Reading 200,000 rows takes no more memory than the chunk under way."""
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f'{{"id": "s{i}", "test_tasks": "shifted"}}\n' for i in range(200_000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(len(chunk.lines) for chunk in inputs.chunks([str(path)])) == path.stat().st_size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
