"""Shell habits: completion, closed and full pipes, streams kept apart, and bare environments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run

ROOT = Path(__file__).parent.parent.parent
FACTS = {"training_tasks": "known_set", "test_tasks": "same_as_training", "task_belief": "not_required"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one scenario, answers, a row that is wrong, many rows, and `advisor` as a command of its own."""
    (tmp_path / "s.json").write_text(json.dumps({"facts": FACTS}))
    (tmp_path / "answers.yaml").write_text("test_tasks: shifted\n")
    (tmp_path / "bad.jsonl").write_text('{"x": 1}\n')
    (tmp_path / "many.jsonl").write_text('{"test_tasks": "shifted"}\n' * 20_000)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "advisor"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m advisor "$@"\n')
    command.chmod(0o755)
    return tmp_path


def shell(folder: Path, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A script of bash in an environment that holds nothing but the path, as cron has it."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--norc", "-c", script], cwd=folder, env={"PATH": path, **env}, capture_output=True, text=True, timeout=300
    )  # fmt: skip


def test_completion_in_bash(folder: Path) -> None:
    """The script that is shown completes commands, their own commands and options in a real bash."""
    done = shell(
        folder,
        """
        eval "$(advisor --show-completion bash)"
        complete -p advisor
        try() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _advisor_completion advisor; echo "${COMPREPLY[@]}"
        }
        try advisor cla
        try advisor rules ""
        try advisor new --fam
        """,
    )
    assert done.stdout.splitlines() == [
        "complete -o default -F _advisor_completion advisor",
        "classify",
        "list show export check diff",
        "--family",
    ], done.stderr


@pytest.mark.parametrize(
    ("name", "env", "words"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "advisor cla"}, '"classify":"Many scenarios'),
        ("fish", {"_TYPER_COMPLETE_ARGS": "advisor cla", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "classify\tMany scenarios"),
        ("bash", {"COMP_WORDS": "advisor cla", "COMP_CWORD": "1"}, "classify"),
    ],
)  # fmt: skip
def test_completion_of_each_shell(folder: Path, name: str, env: dict[str, str], words: str) -> None:
    """The script of each shell calls back with its own protocol, which is answered; installing writes inside the home folder alone."""
    script = shell(folder, f"advisor --show-completion {name}").stdout
    assert f"_ADVISOR_COMPLETE=complete_{name}" in script
    assert words in shell(folder, "advisor", _ADVISOR_COMPLETE=f"complete_{name}", **env).stdout
    before = set(folder.rglob("*"))
    home = folder / "home"
    home.mkdir()
    done = shell(folder, f"advisor --install-completion {name}", HOME=str(home))
    assert done.returncode == 0, done.stderr
    new = [p for p in set(folder.rglob("*")) - before if p.is_file() and "__pycache__" not in p.parts]
    assert new and all(home in p.parents for p in new)
    assert any("_ADVISOR_COMPLETE" in p.read_text() for p in new)


def test_completion_of_an_unknown_shell(folder: Path) -> None:
    """A shell that is not known is named as such, and not taken for the one at hand."""
    done = shell(folder, "advisor --show-completion tcsh")
    assert done.returncode == 2 and "tcsh" in done.stderr and done.stdout == ""


def test_version_names_the_rules(advisor: Run) -> None:
    """`--version` names the release and the version of the rules that records bear."""
    record = json.loads(advisor("explain", "-", "--json", stdin="Robots in new towns.").stdout)
    done = advisor("--version")
    assert done.stdout.endswith(f"(rules {record['rules_version']})\n") and done.stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        "classify many.jsonl --format jsonl",
        "classify many.jsonl --json --workers 2",
        "classify many.jsonl",
        "explain s.json",
        "new p --from s.json --dry-run",
        "--version",
        "--help",
    ],
)
def test_a_reader_that_goes_away(folder: Path, command: str) -> None:
    """`| head` ends every command quietly, with the status that a shell gives for a closed pipe."""
    done = shell(folder, f"advisor {command} 2>err | true; echo ${{PIPESTATUS[0]}}; cat err >&2")
    assert done.stdout == "141\n" and done.stderr == ""


def test_head_gets_its_line(folder: Path) -> None:
    """What was asked for arrives before the end, and a script that heeds failures in pipes may look for 141."""
    done = shell(folder, "advisor classify many.jsonl --format jsonl | head -n 1")
    assert json.loads(done.stdout)["recommendation"] == "none_reliable" and done.stderr == ""


@pytest.mark.parametrize("command", ["classify many.jsonl --format jsonl", "explain s.json", "--version"])
def test_a_full_disk(folder: Path, command: str) -> None:
    """Output that can't be written is one clear error, never a silent success."""
    done = shell(folder, f"advisor {command} > /dev/full")
    assert done.returncode == 2 and done.stderr.startswith("error[cannot-write]") and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("advisor explain s.json >&-", 0),
        ("advisor explain s.json --json 2>&-", 0),
        ("advisor explain - <&-", 2),
        ("advisor ask <&-", 2),
        ("advisor classify many.jsonl -o out.jsonl >&- 2>&-", 0),
    ],
)
def test_closed_streams(folder: Path, script: str, code: int) -> None:
    """A stream that the caller closed is no reason for a traceback."""
    done = shell(folder, script)
    assert done.returncode == code and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("explain s.json", 0),
        ("explain 'hello there'", 0),
        ("classify s.json bad.jsonl", 3),
        ("ask --answers answers.yaml --save saved.json", 0),
        ("new p --from s.json", 0),
        ("new p --from answers.yaml", 2),
        ("fit 'hello there'", 0),
        ("explain nowhere.yaml", 2),
        ("rules list", 0),
        ("rules show no_gradient", 0),
        ("rules check", 0),
        ("rules diff shipped shipped", 0),
    ],
)
def test_json_on_stdout_and_the_rest_on_stderr(folder: Path, command: str, code: int) -> None:
    """With `--json` every command prints one JSON document on stdout, or nothing where it failed; messages go to stderr."""
    done = shell(folder, f"advisor {command} --json")
    assert done.returncode == code, done.stderr
    if code == 2:
        assert done.stdout == "" and done.stderr.startswith("error[")
    else:
        json.loads(done.stdout)
        assert "error[" not in done.stderr and "{" not in done.stderr


@pytest.mark.parametrize("env", [{"LANG": "C"}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_bare_environments(folder: Path, env: dict[str, str]) -> None:
    """Without HOME and TERM, and in any locale, text comes out readable and JSON comes out whole."""
    text = "Ein Roboter fährt in „neuen“ Städten"
    plain = shell(folder, f"advisor explain '{text}'", **env)
    assert plain.returncode == 0 and plain.stderr == "" and "\x1b" not in plain.stdout
    as_json = shell(folder, f"advisor explain '{text}' --json", **env)
    assert json.loads(as_json.stdout)["id"] == "text" and as_json.stderr == ""


def test_undecodable_arguments(folder: Path) -> None:
    """Bytes that are no UTF-8 in an argument are shown as such and leave JSON valid."""
    done = shell(
        folder,
        "advisor explain $'caf\\xe9 robots in new towns' --json; advisor explain $'caf\\xe9 robots in new towns'",
    )
    json.JSONDecoder().raw_decode(done.stdout)
    assert done.returncode == 0 and done.stderr == ""
