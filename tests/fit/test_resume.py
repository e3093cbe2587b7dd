import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from advisor.errors import AdvisorError, FolderNotEmpty, MissingFile, Stopped
from advisor.executors import InProcess, OtherVersion
from advisor.fit import execute, jobs, train
from advisor.fit.progress import carry_out, label
from advisor.fit.resume import Store
from advisor.fit.train import Outcome
from tests.fit.small import plan

ROOT = Path(__file__).parents[2]


def run(folder, resume=False, tell=None, plan=plan()):
    return execute(plan, "s", "0", "again", InProcess(), tell, folder=folder, resume=resume)


def plain(report):
    """The report without what is measured anew each time: CPU seconds."""
    found = json.loads(report.as_json())
    found.pop("cpu_seconds")
    for candidate in found["candidates"]:
        candidate.pop("cpu_seconds")
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run(folder)


def test_killed_at_any_moment(tmp_path, undisturbed):
    """A run killed by SIGKILL after its third training resumes to the report of an undisturbed run and repeats no training that had ended."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom tests.fit.test_resume import run\n"
        "def tell(text, done, total):\n    done == 3 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "run(Path(sys.argv[1]), tell=tell)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path / "r")], cwd=ROOT, timeout=500)
    assert died.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "r" / "jobs").iterdir())) == 3 and not (tmp_path / "r" / "report.json").exists()
    told = []
    report = run(tmp_path / "r", resume=True, tell=lambda *told_of: told.append(told_of))
    assert plain(report) == plain(undisturbed[1])
    assert [done for _, done, _ in told] == list(range(3, len(jobs(plan())) + 1))


def test_resuming_a_whole_run_trains_nothing(undisturbed, monkeypatch):
    """A run that had ended resumes to the same bytes, CPU seconds included, without any training."""
    folder, report = undisturbed
    monkeypatch.setattr(train, "run", lambda job: pytest.fail("trained again"))
    assert run(folder, resume=True).as_json() == report.as_json() == (folder / "report.json").read_bytes()


def test_spoilt_outcomes_are_repeated(tmp_path, undisturbed):
    """A job's file that is cut short, empty or no outcome at all counts as unfinished, and leftovers of a cut write are removed."""
    work = jobs(plan())
    store = Store.open(tmp_path / "r", work, {}, resume=False)
    for job, outcome in zip(work, Store(undisturbed[0], work).held(), strict=True):
        store.keep(job, outcome)
    paths = sorted((tmp_path / "r" / "jobs").iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    paths[1].write_bytes(b"")
    np.savez(paths[2], strange=np.zeros(2))
    np.savez(paths[3], plain=np.array([{"a": 1}], dtype=object))  # a pickle inside is never opened
    (tmp_path / "r" / "jobs" / ".x.npz.1.part").write_bytes(b"half")
    again = Store.open(tmp_path / "r", work, {}, resume=True)
    assert sum(outcome is None for outcome in again.held()) == 4
    assert not list((tmp_path / "r" / "jobs").glob(".*"))


def test_outcomes_survive_the_folder(tmp_path):
    """An outcome comes back with each number to the last bit."""
    job = jobs(plan())[0]
    outcome = Outcome(
        {"known": np.random.default_rng(0).normal(size=(2, 3)), "shifted/random": np.ones((1, 1))}, 7, cpu_seconds=0.1
    )
    store = Store.open(tmp_path / "r", [job], {}, resume=False)
    store.keep(job, outcome)
    (back,) = store.held()
    assert back.environment_steps == 7 and back.cpu_seconds == 0.1 and back.returns.keys() == outcome.returns.keys()
    assert all(np.array_equal(back.returns[name], outcome.returns[name]) for name in outcome.returns)


def test_other_runs_are_not_mixed(tmp_path, undisturbed):
    """Neither a folder in use, nor one without a run, nor a run of other seeds or versions is taken; nothing in them changes."""
    folder, _ = undisturbed
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(FolderNotEmpty, match="not empty") as used:
        run(folder)
    assert "--resume" in used.value.hint
    with pytest.raises(OtherVersion, match="scenario, budget and seeds"):
        run(folder, resume=True, plan=plan(seeds=2))
    with pytest.raises(OtherVersion, match="versions"):
        execute(plan(), "s", "other rules", "again", InProcess(), folder=folder, resume=True)
    with pytest.raises(MissingFile, match="no run"):
        run(tmp_path, resume=True)
    (tmp_path / "run.json").write_text("no json")
    with pytest.raises(AdvisorError, match="no run that advisor wrote"):
        run(tmp_path, resume=True)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_ctrl_c_reports_what_ran(undisturbed):
    """Ctrl-C leaves a report of the seeds that are whole: marked, without a verdict for or against, naming what did not run."""

    def stop(text, done, total):
        if done == 9:
            raise KeyboardInterrupt

    report = run(None, tell=stop)
    assert report.seeds == 2 and report.verdict == "not_enough_evidence" and "stopped before the end" in report.reason
    assert report.unfinished == tuple(label(j) for j in jobs(plan()) if j.seed == 2 and j.training != "multi_task")
    whole = {c.name: c.returns for c in undisturbed[1].candidates}
    assert all(c.returns == whole[c.name][:2] for c in report.candidates)


def test_early_ctrl_c_says_what_ended(tmp_path):
    """Before two seeds are whole no score can be given: what had ended is named, and how to go on."""

    def stop(text, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match="ended: multi task seed 0, multi task hidden seed 0") as stopped:
        run(tmp_path / "r", tell=stop)
    assert "--resume" in stopped.value.hint and stopped.value.exit_code == 130


def test_progress_tells_what_runs_and_what_is_left():
    """Progress names what runs, counts what waits and what is done; what a folder holds counts as done and is not run."""
    work, told = jobs(plan(seeds=2)), []
    held = [Outcome({}, 0) if job.training == "multi_task" else None for job in work]
    some = [held[i] or Outcome({}, 0) for i in range(len(work))]
    carry_out(work, some, InProcess(), 2, tell=lambda *told_of: told.append(told_of))
    assert told == [("all trainings ended", 8, 8)]
    told.clear()
    carry_out(work[:3], [None, held[1], None], InProcess(), 1, tell=lambda *told_of: told.append(told_of))
    assert told == [
        ("multi task seed 0; 1 waiting", 1, 3),
        ("multi task hidden seed 0", 2, 3),
        ("all trainings ended", 3, 3),
    ]
