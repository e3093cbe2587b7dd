"""The whole path, end to end, as the commands are used."""

import json
from pathlib import Path

import pytest

from advisor import rulebook
from tests.conftest import Run

BOOK = rulebook.load()
PROSE = (
    "Our trading agent is trained on thousands of simulated market regimes. In production it meets regimes that it has never seen before. "
    "The weights are frozen on deployment: no retraining and no gradient updates."
)


def test_prose_to_fit_report(advisor: Run, tmp_path: Path) -> None:
    """A scenario in prose becomes a recommendation, a project, and a fit report from real training, one command after another."""
    (tmp_path / "s.md").write_text(PROSE)
    record = json.loads(advisor("explain", "s.md", "--json").stdout)
    assert record["recommendation"] == "rl2" and record["facts"]["adaptation_gradients"]["source"] == "text"
    for fact in record["facts"].values():
        for span in fact["evidence"]:
            assert PROSE[span["start"] : span["end"]] == span["text"]
    written = json.loads(advisor("new", "project", "--from", "s.md", "--json").stdout)
    assert written["family"] == "rl2" and (tmp_path / "project" / "README.md").is_file()
    done = advisor("fit", "project", "--seeds", "2", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["verdict"] == "fits" else 1), done.stderr
    names = {c["name"]: c for c in report["candidates"]}
    assert any("random" in n for n in names) and any("optimum" in n or "oracle" in n for n in names)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted(BOOK.entries["scenarios"]))
def test_worked_scenarios_all_the_way(advisor: Run, tmp_path: Path, scenario: str) -> None:
    """Each worked scenario goes through classify, new and fit; the verdict of the fit is printed, and is one of the three."""
    entry = BOOK.entries["scenarios"][scenario]
    (tmp_path / "s.json").write_text(
        json.dumps({"id": scenario, "description": entry["text"], "facts": entry["facts"]})
    )
    record = json.loads(advisor("classify", "s.json", "--format", "jsonl").stdout)
    assert record["recommendation"] == entry["verdict"]
    assert advisor("new", "project", "--from", "s.json").returncode == 0
    done = advisor("fit", "s.json", "--json")
    report = json.loads(done.stdout)
    print(f"{scenario}: {entry['verdict']} -> {report['verdict']}: {report['reason']}")
    assert report["verdict"] in ("fits", "does_not_fit", "not_enough_evidence")
    assert done.returncode == (0 if report["verdict"] == "fits" else 1), done.stderr
