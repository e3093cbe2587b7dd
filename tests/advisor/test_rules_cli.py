"""`advisor rules`: what it prints, for people and for programs, and its exit codes."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from advisor import rulebook
from tests.conftest import Run

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "own-rules.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n\$ (.*?)\n(.*?)```", PAGE, re.S)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The worked example of docs/own-rules.md, and a copy of it with the fault that the page shows, where the page says they are."""
    shutil.copytree(ROOT / "docs" / "own-rules", tmp_path / "docs" / "own-rules")
    shutil.copytree(ROOT / "docs" / "own-rules", tmp_path / "docs" / "own-rules-overlapping")
    path = tmp_path / "docs" / "own-rules-overlapping" / "settings.toml"
    before, _, rest = path.read_text().partition('id = "no_gradient"')
    assert ', failed_trials = ["tolerable"] }' in rest
    path.write_text(before + 'id = "no_gradient"' + rest.replace(', failed_trials = ["tolerable"] }', " }", 1))
    return tmp_path


def test_check_prints_what_was_proven(advisor: Run) -> None:
    """Counts of entries, points, partial sets and mutants, and the expected questions of five policies; exit 0."""
    done = advisor("rules", "check")
    assert done.returncode == 0 and done.stderr == ""
    for words in (
        "36 full points",
        "144 partial fact sets",
        "structural mutants caught",
        "outcome swaps killed by 31 golden",
    ):
        assert words in done.stdout
    for policy in ("optimum", "ours", "greedy information gain", "fixed order", "ask all"):
        assert re.search(rf"{policy} \d\.\d\d\d", done.stdout)
    assert f"rules {rulebook.load().version}: 20 facts" in done.stdout


def test_check_as_one_document(advisor: Run) -> None:
    """`--json` holds every figure."""
    done = advisor("rules", "check", "--json")
    proof = json.loads(done.stdout)
    assert done.returncode == 0 and proof["faults"] == [] and proof["rules_version"] == rulebook.load().version
    assert (proof["points"], proof["partial_sets"]) == (36, 144)
    assert proof["structural_mutants"] == proof["structural_mutants_caught"] > 0
    assert proof["outcome_swaps"] == proof["outcome_swaps_killed"] > 0
    questions = proof["expected_questions"]
    assert set(questions) == {"optimum", "ours", "greedy_information_gain", "fixed_order", "ask_all"}
    assert questions["ours"] == questions["optimum"]
    assert proof["entries"] == {kind: len(entries) for kind, entries in rulebook.load().entries.items()}


def test_a_failure_prints_the_counterexample_and_the_row(advisor: Run, tmp_path: Path) -> None:
    """A gap is shown with the fewest facts that lie in it and the row that would close it; exit 1; pasting the row closes it."""
    drop = '[[setting]]\nid = "single_new"\ndrop = true\n'
    (tmp_path / "gap").mkdir()
    (tmp_path / "gap" / "settings.toml").write_text(drop)
    done = advisor("rules", "check", "--rules", "gap")
    assert done.returncode == 1 and "fault in settings.toml: gap" in done.stdout
    assert (
        "smallest counterexample: test_tasks = new_same_distribution, training_tasks = single (4 of 36" in done.stdout
    )
    row = re.search(r"this row would close it:\n    (when = .*)", done.stdout)
    assert row is not None
    document = json.loads(advisor("rules", "check", "--rules", "gap", "--json").stdout)
    assert document["faults"][0]["rows"] == [{"test_tasks": ["new_same_distribution"], "training_tasks": ["single"]}]
    facts = 'training_tasks = "single", test_tasks = "new_same_distribution", task_belief = "required", adaptation_gradients = "allowed"'
    (tmp_path / "gap" / "settings.toml").write_text(
        f'[[setting]]\nid = "one_then_new"\nlabel = "x"\n{row[1]}\nrecommend = "none_reliable"\npriority = 6\nbecause = "x"\n'
        f'source = ["x"]\nlimits = "x"\nexample = {{ text = "x", facts = {{ {facts} }} }}\n'
        'near_miss = { text = "x", change = { training_tasks = "distribution" }, verdict = "pearl" }\n' + drop
    )
    closed = advisor("rules", "check", "--rules", "gap")
    assert closed.returncode == 0, closed.stdout + closed.stderr


def test_other_commands_refuse_a_broken_table(advisor: Run, own: Path) -> None:
    """A table that does not hold advises nobody: one message, exit 1, and the way to the whole report."""
    done = advisor("classify", "docs/own-rules/scenarios.jsonl", "--rules", "docs/own-rules-overlapping")
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert "settings.toml, no_failed_trial" in done.stderr and "advisor rules check --rules" in done.stderr


def test_diff_of_a_rule_set_with_itself(advisor: Run) -> None:
    """Nothing differs, and that is exit 0."""
    done = advisor("rules", "diff", "shipped", "shipped")
    assert done.returncode == 0 and "0 of 36 full points" in done.stdout and "every entry is the same" in done.stdout


def test_diff_as_one_document(advisor: Run, own: Path) -> None:
    """`--json` lists every differing point with the verdict and the rule of both sides."""
    done = advisor("rules", "diff", "shipped", "docs/own-rules", "--json")
    difference = json.loads(done.stdout)
    assert done.returncode == 0 and difference["compared"] == 72 and len(difference["points"]) == 4
    for point in difference["points"]:
        assert point["facts"]["failed_trials"] == "not_tolerable"
        assert point["b"] == {"verdict": "none_reliable", "rule": "no_failed_trial"}
    back = json.loads(advisor("rules", "diff", "docs/own-rules", "shipped", "--json").stdout)
    assert [(p["a"], p["b"]) for p in back["points"]] == [(p["b"], p["a"]) for p in difference["points"]]


@pytest.mark.parametrize(("command", "output"), BLOCKS, ids=[c[8:40] for c, _ in BLOCKS])
def test_the_page_on_own_rules_shows_what_is_printed(advisor: Run, own: Path, command: str, output: str) -> None:
    """Each line shown in docs/own-rules.md stands in the real output, in that order."""
    done = advisor(*shlex.split(command)[1:], COLUMNS="200")
    assert done.returncode == (1 if "overlapping" in command else 0), done.stderr
    real = iter(line.rstrip() for line in done.stdout.splitlines())
    for line in (line.rstrip() for line in output.splitlines() if line.strip()):
        assert any(line == other for other in real), f"not printed: {line!r}\n{done.stdout}"


def test_the_page_quotes_its_files() -> None:
    """The files that docs/own-rules.md quotes hold what it quotes."""
    rows, facts = re.search(r"```json\n(.*?)```", PAGE, re.S), re.search(r"```toml\n(.*?)\.\.\.", PAGE, re.S)
    assert rows is not None and facts is not None
    assert (ROOT / "docs" / "own-rules" / "scenarios.jsonl").read_text() == rows[1]
    assert facts[1] in (ROOT / "docs" / "own-rules" / "facts.toml").read_text()


def test_own_rules_are_used_by_ask_and_explain(advisor: Run, own: Path) -> None:
    """A fact of a team's own is asked for when it matters, decides with its setting, and shows in the explanation."""
    row = json.loads((own / "docs" / "own-rules" / "scenarios.jsonl").read_text().splitlines()[2])
    facts = {k: v for k, v in row.items() if k != "id"}
    (own / "s.json").write_text(json.dumps({"facts": facts}))
    (own / "answers.yaml").write_text("failed_trials: not_tolerable\n")
    asked = advisor("ask", "s.json", "--answers", "answers.yaml", "--rules", "docs/own-rules", "--json")
    record = json.loads(asked.stdout)
    assert (record["recommendation"], record["rule"]) == ("none_reliable", "no_failed_trial"), asked.stderr
    (own / "none.yaml").write_text("{}\n")
    unanswered = advisor("ask", "s.json", "--answers", "none.yaml", "--rules", "docs/own-rules")
    assert unanswered.returncode == 2 and "May it fail while it tries out a new task?" in unanswered.stderr
    (own / "t.json").write_text(json.dumps({"facts": {**facts, "failed_trials": "not_tolerable"}}))
    shown = advisor("explain", "t.json", "--rules", "docs/own-rules")
    assert shown.returncode == 0 and "no_failed_trial" in shown.stdout and "failed_trials" in shown.stdout
    undecided = json.loads(advisor("explain", "s.json", "--rules", "docs/own-rules", "--json").stdout)
    assert undecided["possible"] == ["maml", "none_reliable"] and undecided["next_question"]["fact"] == "failed_trials"


def test_show_finds_every_kind(advisor: Run) -> None:
    """An id that two kinds share shows both entries, as a list of documents too; `kind/id` shows one."""
    shown = advisor("rules", "show", "maml").stdout
    assert "families: maml" in shown and "verdicts: maml" in shown
    both = json.loads(advisor("rules", "show", "maml", "--json").stdout)
    assert [(entry["file"], entry["id"]) for entry in both] == [("families", "maml"), ("verdicts", "maml")]
    assert json.loads(advisor("rules", "show", "verdicts/maml", "--json").stdout)["file"] == "verdicts"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["diff", "shipped", "nowhere"], 1, "nowhere: is no folder"),
        (["export", "--format", "dnm"], 2, "did you mean `dmn`?"),
        (["list", "pitfals"], 2, "did you mean `pitfalls`?"),
        (["show", "a\x1bb\nc"], 2, "`a\\x1bb\\nc`"),
    ],
)
def test_slips_are_one_message(advisor: Run, arguments: list[str], code: int, words: str) -> None:
    """One message with the next step, the right exit code, no traceback, no control character."""
    done = advisor("rules", *arguments)
    assert done.returncode == code and words in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr and "\x1b" not in done.stderr and len(done.stderr.splitlines()) <= 2
