import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from advisor import fit as stage
from advisor.cli import app
from advisor.errors import AdvisorError, CannotWrite
from tests.fit.small import report

FACTS = {"training_tasks": "distribution", "test_tasks": "new_same_distribution", "adaptation_gradients": "not_allowed",
         "task_belief": "not_required"}  # fmt: skip
ENV = """
import sys
sys.path.insert(0, {root!r})
from advisor.fit import environment
environment.STEPS["smoke"], environment.TESTED = 400, 3
from tests.fit.small import reach
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def scenario(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(json.dumps({"facts": FACTS}))
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """What the command asks of the stage, which answers with a report made of numbers."""
    found = {}

    def answer(*arguments, **options):
        found.update(options)
        return found.get("report") or report()

    monkeypatch.setattr(stage, "run", answer)
    return found


def call(*arguments):
    return CliRunner().invoke(app, ["fit", "mine.json", *arguments])


def test_options_reach_the_stage(scenario, asked):
    """Budget, seeds, environment, workers and run folder are handed on as given, and the report's command repeats what decides the result."""
    done = call(
        "--budget",
        "long",
        "--seeds",
        "4",
        "--env",
        "a.b:c",
        "--horizon",
        "9",
        "--workers",
        "3",
        "--run",
        "r",
        "--resume",
    )
    assert done.exit_code == 0, done.output
    assert {k: asked[k] for k in ("budget", "seeds", "env", "horizon", "workers", "resume")} == {
        "budget": "long", "seeds": 4, "env": "a.b:c", "horizon": 9, "workers": 3, "resume": True}  # fmt: skip
    assert asked["folder"] == Path("r")
    assert "advisor fit mine.json --budget long --seeds 4 --env a.b:c --horizon 9" in " ".join(done.output.split())


def test_page_is_written_and_renewed(scenario, asked):
    """--html writes the page; a page that fit wrote may be renewed, any other file is left alone before anything is trained."""
    assert call("--html", "out.html").exit_code == 0
    first = (scenario / "out.html").read_bytes()
    assert first.startswith(b"<!DOCTYPE html>") and b"FITS" in first
    assert call("--html", "out.html").exit_code == 0 and (scenario / "out.html").read_bytes() == first
    (scenario / "notes.html").write_text("my notes")
    asked.clear()
    refused = call("--html", "notes.html")
    assert isinstance(refused.exception, CannotWrite) and not asked
    assert (scenario / "notes.html").read_text() == "my notes"
    assert isinstance(call("--html", "nowhere/out.html").exception, CannotWrite) and not asked


def test_exit_codes(scenario, asked):
    """0 where it fits, 1 where it doesn't, 130 where Ctrl-C stopped it, and then the report says incomplete first."""
    assert call().exit_code == 0
    asked["report"] = report(verdict="does_not_fit")
    assert call().exit_code == 1
    asked["report"] = report(verdict="not_enough_evidence", unfinished=("maml seed 2",))
    stopped = call()
    assert stopped.exit_code == 130 and "INCOMPLETE" in stopped.output


@pytest.mark.parametrize(
    ("options", "words"), [(["--resume"], "folder of the run"), (["--horizon", "5"], "your own environment")]
)
def test_options_that_need_another(options, words, scenario, asked):
    """An option that says nothing without another is refused with the other one's name."""
    refused = call(*options).exception
    assert isinstance(refused, AdvisorError) and words in refused.message and "--" in refused.hint and not asked


def test_json_holds_the_curves(scenario, asked):
    """--json gives one document with curves and what did not run."""
    found = json.loads(call("--json").stdout)
    assert found["curves"]["MAML"]["adaptation"][1]["figure"] == 0.8 and found["unfinished"] == []


@pytest.mark.slow
def test_killed_command_resumes_on_an_own_environment(scenario):
    """The command with worker processes on the user's environment, killed by SIGKILL and stopped by Ctrl-C, ends as if left alone."""
    (scenario / "mine_env.py").write_text(ENV.format(root=str(ROOT)))
    command = [sys.executable, "-m", "advisor", "fit", "mine.json", "--env", "mine_env:reach", "--seeds", "2", "--json"]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*options, kill=None):
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=surroundings, text=True
        )
        jobs = scenario / "r" / "jobs"
        while (
            kill is not None
            and process.poll() is None
            and not (jobs.is_dir() and len(list(jobs.glob("*.npz"))) >= kill[1])
        ):
            time.sleep(0.05)
        if kill is not None:
            process.send_signal(kill[0])
        return process.returncode, process.communicate(timeout=500)[0]

    def plain(text):
        found = json.loads(text)
        del found["cpu_seconds"], found["command"]
        for candidate in found["candidates"]:
            del candidate["cpu_seconds"]
        return found

    alone = run()[1]
    run("--run", "r", kill=(signal.SIGKILL, 2))
    run("--run", "r", "--resume", kill=(signal.SIGINT, 5))
    assert plain(run("--run", "r", "--resume")[1]) == plain(alone)
