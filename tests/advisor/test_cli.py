"""The command line as a user meets it: output, errors, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from advisor.record import Record
from tests.conftest import Run

MAML = {
    "training_tasks": "distribution",
    "test_tasks": "new_same_distribution",
    "task_belief": "not_required",
    "adaptation_gradients": "allowed",
}


@pytest.fixture
def maml_file(tmp_path: Path) -> str:
    (tmp_path / "maml.json").write_text(json.dumps({"facts": MAML}))
    return "maml.json"


def test_explain_json_is_one_record(advisor: Run, maml_file: str) -> None:
    """`--json` prints one document that holds the contract's fields."""
    done = advisor("explain", maml_file, "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr == ""
    assert record["recommendation"] == "maml" and record["rule"] == "gradient_budget" and record["confidence"] == 1.0
    assert {"recommendation": "rl2", "if": {"adaptation_gradients": "not_allowed"}} in record["alternatives"]
    Record.model_validate(record)
    with pytest.raises(ValidationError):
        Record.model_validate({**record, "surprise": 1})


def test_explain_shows_reasons_and_alternatives(advisor: Run, maml_file: str) -> None:
    """The terminal form names the rule, what would change the verdict, the pitfalls and the evidence, without colour codes."""
    done = advisor("explain", maml_file)
    for words in (
        "MAML",
        "gradient_budget",
        "adaptation_gradients = not_allowed -> RL²",
        "maml_by_default",
        "Evidence",
    ):
        assert words in done.stdout
    assert "\x1b" not in done.stdout


def test_markdown_and_control_characters(advisor: Run) -> None:
    """Markup and control characters of a text are shown, never obeyed."""
    text = "A robot \x1b[31mmeets [bold]new objects[/bold] `x` each day."
    plain, markdown = advisor("explain", text), advisor("explain", text, "--markdown")
    assert plain.returncode == markdown.returncode == 0
    assert "\x1b" not in plain.stdout + markdown.stdout
    assert "[bold]" in plain.stdout and "\\[bold\\]" in markdown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["explain", "nofile.yaml"], 2, "error[missing-file]: nofile.yaml"),
        (["explain", ""], 2, "error[empty-scenario]"),
        (["explain", "."], 2, "advisor classify"),
        (["classify", "nofile"], 2, "error[missing-file]"),
        (["rules", "show", "no_gradeint"], 2, "did you mean `no_gradient`?"),
        (["rules", "check", "--rules", "nowhere"], 1, "error[bad-rules]"),
        (["new", "x", "--family", "mmal"], 2, "did you mean `maml`?"),
        (["ask"], 2, "--answers FILE"),
    ],
)
def test_slips_are_one_message(advisor: Run, arguments: list[str], code: int, words: str) -> None:
    """A slip of the user's gives one message with the next step, the right exit code and no traceback."""
    done = advisor(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_unknown_fact_in_a_file(advisor: Run, tmp_path: Path) -> None:
    """The message names the file, the fact, the nearest name and where to look."""
    (tmp_path / "s.yaml").write_text("facts:\n  adaptation_gradeints: allowed\n")
    done = advisor("explain", "s.yaml")
    assert done.returncode == 2
    assert "error[unknown-fact]: s.yaml, line 2: no fact is called `adaptation_gradeints`" in done.stderr
    assert "did you mean `adaptation_gradients`? all facts: advisor rules list facts" in done.stderr


def test_ask_with_answers(advisor: Run, tmp_path: Path) -> None:
    """Without a terminal the answers come from a file; the scenario is saved with them and never over another file."""
    (tmp_path / "a.yaml").write_text("\n".join(f"{n}: {v}" for n, v in MAML.items()))
    done = advisor("ask", "--answers", "a.yaml", "--save", "s.json", "--json")
    assert json.loads(done.stdout)["recommendation"] == "maml", done.stderr
    assert json.loads(advisor("explain", "s.json", "--json").stdout)["recommendation"] == "maml"
    again = advisor("ask", "--answers", "a.yaml", "--save", "s.json")
    assert again.returncode == 2 and "exists already" in again.stderr


def test_ask_names_the_missing_answer(advisor: Run, tmp_path: Path) -> None:
    """An open question that the answers do not cover is named with its values."""
    (tmp_path / "a.yaml").write_text("test_tasks: new_same_distribution\n")
    done = advisor("ask", "--answers", "a.yaml")
    assert done.returncode == 2 and "error[missing-answer]" in done.stderr and "| unknown" in done.stderr


def test_rules_commands(advisor: Run) -> None:
    """The rules can be listed, shown and proven, for people and for programs."""
    assert "no_gradient" in advisor("rules", "list").stdout
    assert set(json.loads(advisor("rules", "list", "families", "--json").stdout)["families"]) == {
        "maml",
        "rl2",
        "pearl",
    }
    shown = advisor("rules", "show", "no_gradient").stdout
    assert "because" in shown and "near_miss" in shown and "Duan et al. 2016" in shown
    proof = json.loads(advisor("rules", "check", "--json").stdout)
    assert proof["points"] == 36 and proof["partial_sets"] == 144 and proof["faults"] == []


def test_undecided_is_an_answer(advisor: Run, tmp_path: Path) -> None:
    """Too little said ends with exit 0, what is still possible, and the question that helps most."""
    (tmp_path / "s.json").write_text(json.dumps({"facts": {"test_tasks": "new_same_distribution"}}))
    done = advisor("explain", "s.json")
    assert done.returncode == 0 and "undecided" in done.stdout and "The question that helps most" in done.stdout


def test_version_names_the_rules(advisor: Run) -> None:
    """`--version` prints the version of the program and of its rules."""
    assert advisor("--version").stdout.startswith("advisor 0.")


@pytest.mark.parametrize("command", [["new", "x", "--from"], ["fit"]])
def test_no_project_is_an_answer(advisor: Run, tmp_path: Path, command: list[str]) -> None:
    """Where there is nothing to write or to train, `new` and `fit` say so kindly, with what to use instead, and write nothing."""
    (tmp_path / "s.json").write_text('{"facts": {"training_tasks": "single", "test_tasks": "same_as_training"}}')
    done = advisor(*command, "s.json")
    assert done.returncode == 0 and "single-task" in done.stdout and "error" not in done.stdout + done.stderr
    assert json.loads(advisor(*command, "s.json", "--json").stdout)["folder"] is None
    assert [p.name for p in tmp_path.iterdir()] == ["s.json"]


def test_a_plain_ascii_terminal(advisor: Run) -> None:
    """Under LANG=C letters that the terminal lacks are replaced, and nothing fails."""
    done = advisor(
        "explain", "A frozen policy meets new houses: naïve RL²?", PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0"
    )
    assert done.returncode == 0 and done.stdout and done.stderr == ""


def test_a_closed_pipe_ends_quietly(advisor: Run, tmp_path: Path) -> None:
    """`advisor classify file | head` prints no traceback."""
    (tmp_path / "x.jsonl").write_text("".join(f'{{"id": {i}, "test_tasks": "shifted"}}\n' for i in range(5000)))
    pipe = f"{sys.executable} -m advisor classify x.jsonl --format jsonl | head -n 1"
    done = subprocess.run(pipe, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith('{"id": "0"') and done.stderr == ""
