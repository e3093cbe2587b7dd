"""The fast way from rows to lines gives what the plain way gives."""

import csv
import io
import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import batch, library, rulebook
from advisor.batch.answers import LINES, Classifier, Job, classify_chunk, to_csv_row, to_jsonl
from advisor.batch.inputs import Cells, Chunk
from advisor.batch.rows import Row, chunk_rows
from advisor.engine import possible_verdicts
from advisor.errors import AdvisorError
from advisor.executors import OtherVersion, Version, version
from advisor.record import Record
from advisor.scenario import Scenario

BOOK = rulebook.load()
FAST = {kind: Classifier(BOOK, kind) for kind in LINES}
TEXTS = [
    "A robot arm meets new objects each day and may take ten gradient steps on each.",
    "The policy is trained on ten cities and drives in those ten cities; rewards of different scales, gradients conflict.",
    'Nothing of the kind.\n\x1b[31m "quoted", ünïcode 🤖 Its weights are frozen, and new houses differ.',
    "The doctor must keep explicit uncertainty over the condition as symptoms arrive.",
    "x",
]


def plainly(chunk: Chunk) -> list[Record]:
    """The records through every stage in turn, each checked by pydantic."""
    return list(batch.classify(chunk_rows(chunk), BOOK))


def hold_equal(chunk: Chunk) -> None:
    """Every kind of line of a chunk says what the records say."""
    expected = plainly(chunk)
    lines = FAST["jsonl"].chunk(chunk).data("jsonl").decode().split("\n")
    assert lines[:-1] == [to_jsonl(r).encode("utf-8", "backslashreplace").decode() for r in expected]
    assert lines[-1] == ""
    for line, record in zip(lines, expected, strict=False):
        assert Record.model_validate_json(line) == record or not record.id.isprintable()
    table = csv.reader(io.StringIO(FAST["csv"].chunk(chunk).data("csv").decode(), newline=""), strict=True)
    assert list(table) == [
        [cell.encode("utf-8", "backslashreplace").decode() for cell in to_csv_row(r)] for r in expected
    ]
    cells = FAST["cells"].chunk(chunk).data("cells").decode("utf-8").split("\n")[:-1]
    assert [json.loads(line) for line in cells] == [to_csv_row(r) for r in expected]
    done = FAST["none"].chunk(chunk)
    assert done.data("none") == b"" and done.rows == len(expected) == sum(done.tally.values())
    assert done.own_ids() == [r.id for r, row in zip(expected, chunk_rows(chunk), strict=True) if not _placed(row)]
    keys = [key.partition(":") for key in done.tally.elements()]
    assert sorted(k[2] if k[0] == "error" else k[0] for k in keys) == sorted(
        r.error.code if r.error else str(r.recommendation) for r in expected
    )


def _placed(row: Row) -> bool:
    """Whether a row has no id of its own and goes by its file and line."""
    row_id, where = (row.id, row.where) if isinstance(row, Scenario) else (row[0], row[1].where)
    return row_id == where


def jsonl(rows: list[object]) -> Chunk:
    raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return Chunk("x.jsonl", len(raw), raw, first=7)


def test_every_partial_set_of_facts() -> None:
    """All combinations of the deciding facts, unknown ones included, come out as the plain way gives them, flat and nested."""
    combinations = product(*((None, *fact.values) for fact in BOOK.decisive))
    points = [{f.id: v for f, v in zip(BOOK.decisive, values, strict=True) if v} for values in combinations]
    assert len(points) == 144
    rows: list[object] = [{"id": f"p{i}", **p} for i, p in enumerate(points)]
    hold_equal(jsonl([*rows, *({"id": f"q{i}", "facts": p, "text": ""} for i, p in enumerate(points))]))


def test_texts() -> None:
    """Texts, alone and with stated facts, come out as the plain way gives them."""
    rows: list[object] = [{"id": i, "text": text} for i, text in enumerate(TEXTS)]
    rows += [{"description": text, "test_tasks": "shifted", "task_count": 7} for text in TEXTS]
    rows += [{"text": text, "facts": dict.fromkeys((f.id for f in BOOK.decisive), "unknown")} for text in TEXTS]
    rows += [{"id": "both", "text": TEXTS[0], "facts": {"no_such_fact": "x"}}]
    hold_equal(jsonl(rows))


values = st.one_of(
    st.sampled_from([v for fact in BOOK.facts.values() for v in fact.values]),
    st.sampled_from(["unknown", "", "shiftd", "5"]),
    st.sampled_from([None, 1, True, False, 0, 1.0, 5, [], {}, ["shifted"], 10**13]),
)
names = st.sampled_from([*BOOK.facts, "owner", "id", "text", "description", "facts", "error"])
cells = st.dictionaries(names, values, max_size=6)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(cells, st.builds(lambda c, f: {**c, "facts": f}, cells, cells)), max_size=8))
def test_any_rows(rows: list[Cells]) -> None:
    """Whatever stands in the columns, both ways give the same, from lines and from columns."""
    given_rows = [row if row.get("text") not in ("5", "shiftd") else {**row, "text": ""} for row in rows]
    hold_equal(jsonl(list(given_rows)))
    numbered: list[tuple[int, Cells | AdvisorError]] = [(i, row) for i, row in enumerate(given_rows, 1)]
    hold_equal(Chunk("x.parquet", 0, rows=numbered, unit="row"))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20))
def test_any_id(row_id: str) -> None:
    """Quotes, commas, line ends, control characters and half surrogate pairs of an id are written as the formats want them."""
    hold_equal(jsonl([{"id": row_id, "test_tasks": "shifted"}, {"id": row_id, "test_tasks": "nowhere"}]))


def test_tally_names_what_is_known() -> None:
    """The tally of an undecided row holds its deciding facts, from which the questions follow."""
    done = FAST["none"].chunk(jsonl([{"id": "a", "test_tasks": "new_same_distribution", "task_count": "5"}]))
    assert list(done.tally) == ["undecided:test_tasks=new_same_distribution"]
    assert len(possible_verdicts({"test_tasks": "new_same_distribution"}, BOOK)) > 1


def test_what_is_kept_is_bounded() -> None:
    """A million different counts do not fill the memory: the combinations that are kept have a limit."""
    fast = Classifier(BOOK, "csv")
    fast.chunk(jsonl([{"id": i, "task_count": i % 9000 + 1} for i in range(9000)]))
    kept = fast._stated.cache_info()
    assert kept.currsize == kept.maxsize == 8192


def test_the_careful_reader_may_read() -> None:
    """With another reader the lines hold what that reader reads."""
    text = TEXTS[0]
    careful = Classifier(BOOK, "jsonl", "careful").chunk(jsonl([{"id": "a", "text": text}])).data("jsonl")
    expected = library.understand(Scenario("a", text), BOOK)
    found = Record.model_validate_json(careful)
    assert found.confidence == pytest.approx(expected.confidence, abs=1e-4)
    assert {n: f.value for n, f in found.facts.items()} == {n: k.value for n, k in expected.facts.items()}


def test_another_version_is_refused() -> None:
    """A job of a run with other rules is not worked out."""
    ours = version(BOOK)
    job = Job(None, "csv", Version(ours.release, "other", ours.code))
    with pytest.raises(OtherVersion, match=f"rules {ours.rules}.*this run has .*rules other"):
        classify_chunk(jsonl([{"id": "a", "test_tasks": "shifted"}]), job)
