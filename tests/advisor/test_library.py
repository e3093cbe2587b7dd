"""The library: its public names, its six functions, and the example in the docs."""

import contextlib
import io
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import advisor
from advisor import rulebook
from advisor.export import FORMATS

ROOT = Path(__file__).parent.parent.parent
MAML = {
    "training_tasks": "distribution",
    "test_tasks": "new_same_distribution",
    "task_belief": "not_required",
    "adaptation_gradients": "allowed",
}


def test_public_names() -> None:
    """Six functions, each with a docstring, and their types are public, and nothing else is."""
    assert advisor.__all__ == [
        "AdvisorError", "FitReport", "Project", "QuestionRecord", "Record", "Scenario", "__version__",
        "classify_many", "fit_scenario", "new", "next_question", "read", "recommend",
    ]  # fmt: skip
    assert dir(advisor) == sorted(advisor.__all__)
    functions = [getattr(advisor, name) for name in advisor.__all__ if name.islower() and name != "__version__"]
    assert len(functions) == 6 and all(function.__doc__ for function in functions)
    with pytest.raises(AttributeError, match="public are: .*recommend"):
        _ = advisor.recomend


def test_importing_costs_nothing() -> None:
    """`import advisor` loads no module of advisor's and no library."""
    code = "import sys; before = set(sys.modules); import advisor; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"pydantic", "typer", "rich", "numpy", "torch", "advisor.rulebook"} & set(eval(done.stdout))


def blocks(text: str) -> list[tuple[str, str]]:
    """The Python blocks of a page, each with the text that it prints."""
    return re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", text, re.DOTALL)


def run_blocks(found: list[tuple[str, str]]) -> None:
    assert found
    session: dict[str, Any] = {"__name__": "docs"}
    for code, printed in found:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, session)
        assert out.getvalue() == printed, code


def test_the_example_in_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page runs from top to bottom, but for the training, and prints what it says."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/library.md").read_text()
    quick = page.partition("## Does it fit?")[0]
    assert len(blocks(page)) == page.count("```python") == len(blocks(quick)) + 1
    run_blocks(blocks(quick))


@pytest.mark.slow
def test_the_example_in_the_docs_with_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole page runs, the fit of its project included."""
    monkeypatch.chdir(tmp_path)
    run_blocks(blocks((ROOT / "docs/library.md").read_text()))


@pytest.mark.parametrize(
    "source",
    [
        {"facts": MAML},
        {"facts": {"test_tasks": "new_same_distribution", "task_imbalance": "present", "model_kind": "foundation_model"}},
        {"facts": {"training_tasks": "single", "test_tasks": "same_as_training"}},
        "A fleet drives in ten cities and was trained on those same ten; one city dominates the data.",
        {"facts": {"test_taks": "shifted"}},
        "",
    ],
    ids=["decided", "undecided", "out of scope", "text", "bad fact", "empty"],
)  # fmt: skip
def test_records_round_trip_and_validate(source: Any) -> None:
    """Every record, errors included, survives pydantic and fits the exported JSON Schema, which refuses what is no record."""
    (record,) = advisor.classify_many([source])
    assert advisor.Record.model_validate_json(record.model_dump_json(by_alias=True)) == record
    assert advisor.Record.model_validate(record.as_dict()) == record
    schema = json.loads(FORMATS["record-schema"](rulebook.load()))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(json.loads(json.dumps(record.as_dict())))) == []
    assert not validator.is_valid({**record.as_dict(), "recommendation": "mmal"})
    assert not validator.is_valid({**record.as_dict(), "surprise": 1})


def test_answers_beat_facts_and_text() -> None:
    """An answer beats the stated fact, and each fact says where it came from."""
    record = advisor.recommend({"facts": MAML}, {"adaptation_gradients": "not_allowed"})
    assert record.recommendation == "rl2"
    assert record.facts["adaptation_gradients"].source == "answer" and record.facts["test_tasks"].source == "file"


def test_unknown_is_not_asked_again() -> None:
    """A question answered with "I don't know" does not come back, neither from next_question nor in the record."""
    asked = []
    answers: dict[str, str] = {}
    while question := advisor.next_question({"facts": {"task_count": 3}}, answers):
        assert question.fact not in asked
        assert advisor.recommend({"facts": {"task_count": 3}}, answers).next_question == question
        asked.append(question.fact)
        answers[question.fact] = "unknown"
    assert sorted(asked) == sorted(MAML)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: advisor.read("scenario.yaml"), "bad-scenario"),
        (lambda: advisor.read(Path("nowhere.yaml")), "bad-scenario"),
        (lambda: advisor.read({"fatcs": {}}), "bad-scenario"),
        (lambda: advisor.read(3), "bad-scenario"),  # type: ignore[arg-type]
        (lambda: advisor.recommend(" "), "empty-scenario"),
        (lambda: advisor.recommend({"facts": MAML}, {"test_taks": "unknown"}), "unknown-fact"),
        (lambda: advisor.recommend({"facts": MAML}, {"test_tasks": "moved"}), "unknown-value"),
        (lambda: advisor.recommend({"facts": MAML}, {"test_tasks": True}), "bad-scenario"),
        (lambda: advisor.recommend({"facts": MAML}, rules=Path("nowhere")), "bad-rules"),
        (lambda: advisor.new(Path("x")), "bad-scenario"),
        (lambda: advisor.new(Path("x"), {"facts": {"task_count": 3}}), "no-project"),
        (lambda: advisor.fit_scenario({"facts": {"task_count": 3}}), "no-project"),
    ],
)  # fmt: skip
def test_slips_are_errors_with_a_code(call: Any, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the caller's is an AdvisorError with its code, and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(advisor.AdvisorError) as slip:
        call()
    assert slip.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_classify_many_takes_everything(tmp_path: Path) -> None:
    """Texts, mappings, files, folders, tables and scenarios mix; the order holds, with an executor as without."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.json").write_text(json.dumps({"facts": MAML}))
    (tmp_path / "t.jsonl").write_text('{"id": "r1", "test_tasks": "shifted"}\nnot json\n')
    sources = [
        advisor.read({"facts": MAML}, "mine"),
        {"facts": {"test_tasks": "shifted"}},
        tmp_path / "deep",
        tmp_path / "t.jsonl",
        tmp_path / "missing.yaml",
        7,
    ]
    records = list(advisor.classify_many(sources))  # type: ignore[arg-type]
    assert [r.id for r in records[:4]] == ["mine", "2", "a", "r1"]
    assert [r.recommendation for r in records] == ["maml", "none_reliable", "maml", "none_reliable", None, None, None]
    assert [r.error.code for r in records[4:] if r.error] == ["bad-scenario", "missing-file", "bad-scenario"]
    with ThreadPoolExecutor(1) as executor:
        assert list(advisor.classify_many(sources, executor=executor)) == records  # type: ignore[arg-type]
    assert [r.id for r in advisor.classify_many({"id": "one", "facts": MAML})] == ["one"]
