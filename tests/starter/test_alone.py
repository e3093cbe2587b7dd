"""Generated projects, run on their own: without advisor on the path, and in an environment of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from advisor import starter
from advisor.rulebook import Rulebook, load
from tests.conftest import Run

from .projects import FACTS, FAMILY, SIMULATED, alone, written

PACKAGE = starter.PACKAGE
FAST = ["maml", "rl2", "pearl", "multi_task"]
OTHERS = [case for case in FACTS if case not in FAST and case not in SIMULATED]
SMALL = {  # options of train.py that make an iteration small
    "maml": ["--tasks", "2"],
    "rl2": ["--tasks", "32"],
    "pearl": ["--train-tasks", "20", "--gradient-steps", "2"],
    "multi_task": ["--updates", "2", "--mitigation", "one_scale"],
}
# trains, evaluates with a picture and as JSON, and runs the project's tests but the proof of learning, in one process
PATH = f"""
import contextlib, io, pathlib
from {PACKAGE} import evaluate, train
refused = io.StringIO()
with contextlib.suppress(SystemExit), contextlib.redirect_stderr(refused):
    evaluate.main([])
assert "python -m {PACKAGE}.train` first" in refused.getvalue()
train.main(["--iterations", "2", "--seed", "3", *SMALL])
evaluate.main(["--tasks", "5"])
evaluate.main(["--tasks", "5", "--plot", "runs/curve.svg"])
kept = io.StringIO()
with contextlib.redirect_stdout(kept):
    evaluate.main(["--tasks", "5", "--json"])
pathlib.Path("report.json").write_text(kept.getvalue())
import pytest
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not test_learns[", sys.path[0] + "/tests"]))
"""


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load()


def runs(case: str, book: Rulebook, tmp_path: Path) -> None:
    folder = written(case, tmp_path, book).folder
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    done = alone(folder, cwd, PATH.replace("*SMALL", ", ".join(map(repr, SMALL[FAMILY[case]]))))
    assert done.returncode == 0 and "10 passed" in done.stdout, done.stdout + done.stderr
    assert "iteration    2 of 2" in done.stdout and "random actions" in done.stdout and "told the task" in done.stdout
    assert (cwd / "runs" / "agent.safetensors").is_file()
    assert b"<svg" in (cwd / "runs" / "curve.svg").read_bytes()
    report = json.loads((cwd / "report.json").read_text())
    assert report["oracle"] > report["random"]
    assert len(report["curve"]) == len(report["shifted_curve"]) == len(report["stages"])
    assert all(len(pair) == 2 for pair in report["curve"] + report["shifted_curve"])


@pytest.mark.parametrize("case", FAST)
def test_project_runs_on_its_own(case: str, book: Rulebook, tmp_path: Path) -> None:
    """From another folder and without advisor, each family's project trains, saves, evaluates, draws, and passes its contract tests."""
    runs(case, book, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS)
def test_variant_runs_on_its_own(case: str, book: Rulebook, tmp_path: Path) -> None:
    """So does every other variant that needs no simulator."""
    runs(case, book, tmp_path)


# plays the same actions through the class in environment.py and on the example; prints the largest difference
SAME = f"""
import torch
import numpy as np
from dataclasses import replace
from types import SimpleNamespace
from {PACKAGE} import environment as e
torch.set_num_threads(1)
QUIET
own, example, g, worst = e.own(), e.EXAMPLE, torch.Generator().manual_seed(0), 0.0
drawn = (example.catalogue(),) if hasattr(example, "catalogue") else (example.sample(5, g), example.shifted(5, g))
for tasks in drawn:
    ours = tasks[:, : own.sample(1, g).shape[1]]
    a, b, alive = own.reset(ours), example.reset(tasks), torch.ones(len(tasks), dtype=torch.bool)
    for _ in range(e.HORIZON):
        action = torch.randint(own.action_size, (len(tasks),), generator=g) if own.discrete else 2 * torch.rand(len(tasks), 2, generator=g) - 1
        worst = max(worst, float((own.observe(a) - example.observe(b))[alive][:, NUMBERS].abs().sum()))
        (a, r, ends), (b, s, over) = own.step(ours, a, action, g), example.step(tasks, b, action, g)
        worst = max(worst, float((r - s)[alive].abs().sum()) if REWARDS else 0.0, float((ends != over)[alive].sum()))
        alive &= ~ends
        if not alive.any():
            break
print(worst)
"""


QUIET = {  # takes chance out of both
    "rl2": "e.Market.NOISE, e.Market.CHANGE, e.EXAMPLE = 0.0, 0.0, replace(e.EXAMPLE, noise=0.0, change=0.0)",
    "rl2_continuous": "e.Pen.SHAKE, e.EXAMPLE = 0.0, replace(e.EXAMPLE, shake=0.0)",
    "multi_task_support": "torch.randn = lambda size, **_: torch.full(size, 0.3)\n"
    "e.SupportDesk.np_random = SimpleNamespace(normal=lambda size: np.full(size, 0.3))",
}
QUICK = ["maml", "maml_discrete", "pearl_discrete", "rl2_continuous"]
SLOW = ["rl2", "rl2_sparse", "multi_task", "multi_task_cities", "multi_task_support", "none_reliable"]
CLASSES = [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)]


@pytest.mark.parametrize("case", CLASSES)
def test_the_class_is_the_example(case: str, book: Rulebook, tmp_path: Path) -> None:
    """The class that the user starts from is the example in gymnasium's form: same observations, rewards and ends; chance apart."""
    folder = written(case, tmp_path, book).folder
    rewards, numbers = (
        case != "rl2_sparse",
        ":1" if case == "pearl_discrete" else ":",
    )  # a pull, and a test's result, are drawn
    done = alone(
        folder,
        tmp_path,
        SAME.replace("QUIET", QUIET.get(case, "")).replace("NUMBERS", numbers).replace("REWARDS", str(rewards)),
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-4


MITIGATED = f"""
import torch
from {PACKAGE} import settings, train
small = ["--iterations", "7", "--updates", "1", "--episodes", "1", "--batch", "4", "--replay", "50"]
for name in settings.MITIGATIONS:
    train.main([*small, "--mitigation", name])
"""


def test_every_mitigation_can_be_switched_on(book: Rulebook, tmp_path: Path) -> None:
    """Each switch trains, also on top of the ones that the facts have put on."""
    done = alone(written("multi_task", tmp_path, book).folder, tmp_path, MITIGATED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("iteration    7 of 7") == 12, done.stdout


ADAPTER = f"""
import gymnasium, numpy as np, pytest, torch
from {PACKAGE}.adapter import Batched
from {PACKAGE}.environment import make, HORIZON
Class = type(make())

def play(make, horizon=5, steps=5):
    family, g = Batched(make, horizon), torch.Generator().manual_seed(0)
    tasks = family.sample(2, g)
    state = family.reset(tasks)
    for _ in range(steps):
        state, *_ = family.step(tasks, state, torch.zeros(2, family.action_size), g)
    return family

class Nan(Class):
    def step(self, action):
        return super().step(action)[0], float("nan"), False, False, {{}}
class Short(Class):
    def step(self, action):
        return *super().step(action)[:3], True, {{}}
class Words(Class):
    def __init__(self):
        super().__init__()
        self.observation_space = gymnasium.spaces.Text(5)
class Unbounded(Class):
    def __init__(self):
        super().__init__()
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
for fault, words in ((Nan, "reward is nan"), (Short, "cut off"), (Words, "must be a Box"), (Unbounded, "bounds")):
    with pytest.raises(ValueError, match=words):
        play(fault)

class Wide(Class):
    def __init__(self):
        super().__init__()
        self.action_space, self.seen = gymnasium.spaces.Box(np.array([0, -4], np.float32), np.array([10, 4], np.float32)), []
    def step(self, action):
        self.seen.append(action)
        return super().step(action)
family = play(Wide)
assert all(np.allclose(e.environment.seen, [[5, 0]] * 5) for e in family._playing.values())
del Class.shifted_tasks
family = Batched(make, HORIZON)
g = torch.Generator()
assert len(family.shifted(3, g)) == 0 and bool(family.oracle_return(family.sample(3, g), g).isnan().all())
tasks = family.sample(3, g)
for _ in range(50):  # copies are used again, also for episodes that nobody played
    state = torch.where(torch.tensor([[True], [False], [True]]), family.reset(tasks), family.reset(tasks))
    family.observe(state)
    family.step(tasks, state, torch.zeros(3, 2), g)
assert len(family._free) + len(family._playing) <= 8 and len(family._waiting) <= 3, (family._free, family._waiting)
"""


def test_the_adapter_names_what_is_wrong(book: Rulebook, tmp_path: Path) -> None:
    """Faulty environments are refused with their cause, actions are scaled to their bounds, and copies are used again."""
    done = alone(written("pearl", tmp_path, book).folder, tmp_path, ADAPTER)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in FACTS if c not in SIMULATED])
def test_project_proves_that_it_learns(case: str, book: Rulebook, tmp_path: Path) -> None:
    """The project's own tests pass, learning included."""
    folder = written(case, tmp_path, book).folder
    code = "import pytest\nraise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', sys.path[0] + '/tests']))"
    run = alone(folder, folder, code, timeout=3000)
    assert run.returncode == 0, run.stdout


@pytest.mark.slow
def test_types_of_every_project_check(book: Rulebook, tmp_path: Path) -> None:
    """mypy finds nothing in any variant, by the project's own settings."""
    for second, case in enumerate(FACTS):
        shutil.rmtree(tmp_path / "mine", ignore_errors=True)
        folder = written(case, tmp_path, book).folder
        for path in folder.rglob("*.py"):  # mypy's cache tells files of one name and size apart by the second
            os.utime(path, (second, second))
        command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache")]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{case}: {done.stdout}"


@pytest.mark.slow
def test_a_wider_training_distribution_helps(book: Rulebook, tmp_path: Path) -> None:
    """In the none_reliable project, deployment-like tasks in training bring back a good part of what the shift costs."""
    folder = written("none_reliable", tmp_path, book).folder
    code = f"from {PACKAGE} import shift\nshift.main(['--iterations', '20', '--tasks', '200', '--json'])"
    done = alone(folder, tmp_path, code, timeout=3000)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows[0]["inside"] - rows[0]["deployed"] > 0.3, rows
    assert max(row["deployed"] for row in rows) - rows[0]["deployed"] > 0.2, rows


@pytest.mark.slow
def test_prompt_and_fine_tuning_part_under_a_shift(book: Rulebook, tmp_path: Path) -> None:
    """In the language project the prompt is best inside of pretraining and no better than chance outside, where fine-tuning still learns."""
    folder = written("language", tmp_path, book).folder
    done = alone(
        folder, tmp_path, f"from {PACKAGE} import in_context\nin_context.main(['--seed', '1', '--json'])", timeout=3000
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    inside, shifted = found["distance 0.0"], found["distance 1.0"]  # shares of right labels after 0 to 3 examples
    assert inside["in the prompt"][1] > inside["fine-tuned"][1] + 0.03, inside
    assert shifted["in the prompt"][3] < 0.55 and shifted["fine-tuned"][3] > 0.65, shifted


@pytest.mark.slow
def test_the_page_on_your_own_environment_can_be_followed(advisor: Run, book: Rulebook, tmp_path: Path) -> None:
    """Done word by word, the page ends with a policy that adapts: better than chance and than with its memory cleared."""
    page = (Path(__file__).parent.parent.parent / "docs" / "own-environment-starter.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL)
    (tmp_path / "thermostat.yaml").write_text(next(text for kind, text in blocks if kind == "yaml"))
    commands = [line.removeprefix("$ ") for kind, text in blocks if kind == "console" for line in text.splitlines()]
    assert commands[0].startswith("advisor ") and advisor(*commands[0].split()[1:]).returncode == 0
    folder = tmp_path / commands[1].removeprefix("cd ")
    yours, horizon, family = (text for kind, text in blocks if kind == "python")
    path = folder / PACKAGE / "environment.py"
    text = path.read_text()
    text = text[: text.index("class Pen")] + yours + "\n\n" + text[text.index("def own()") :]
    for line in (horizon.strip(), family.strip()):
        begin = line.partition("=")[0]
        text = "\n".join(line if old.startswith(begin) else old for old in text.split("\n"))
    path.write_text(text)
    assert commands[2].startswith("pip install")  # the packages are there
    checked = alone(folder, folder, "import pytest\nraise SystemExit(pytest.main(['-q', 'tests/test_environment.py']))")
    assert checked.returncode == 0, checked.stdout
    trained = alone(folder, folder, f"from {PACKAGE} import train\ntrain.main([])", timeout=3000)
    assert trained.returncode == 0, trained.stderr
    measured = alone(
        folder, folder, f"from {PACKAGE} import evaluate\nevaluate.main(['--json', '--plot', 'runs/curve.svg'])"
    )
    report = json.loads(measured.stdout)
    gained = report["curve"][-1][0] - report["random"]
    assert gained > 3 and report["curve"][-1][0] - report["unadapted"] > 1, report
    assert (folder / "runs" / "curve.svg").is_file()
    assert commands[3:] == [
        "pytest tests/test_environment.py",
        f"python -m {PACKAGE}.train",
        f"python -m {PACKAGE}.evaluate --plot runs/curve.svg",
    ]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a new environment that holds nothing but pip. The families share it: the first one's command downloads the packages."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "env", with_pip=True)
    return folder / "env" / ("Scripts" if os.name == "nt" else "bin")


@pytest.mark.slow
@pytest.mark.parametrize("case", FAST)
def test_the_commands_of_the_readme_in_a_fresh_environment(
    case: str, fresh: Path, book: Rulebook, tmp_path: Path
) -> None:
    """In a new environment, where nobody has installed advisor, the two commands of each family's README install, train and test."""
    folder = written(case, tmp_path, book).folder
    commands = (folder / "README.md").read_text().split("## Run it\n\n```\n")[1].split("```")[0].strip().splitlines()
    assert len(commands) == 2
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "PYTEST_"))}
    environment["PATH"] = os.pathsep.join([str(fresh), environment["PATH"]])
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=3000
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout) and not re.search(r"failed|skipped|error", done.stdout), done.stdout
    assert (folder / "runs" / "agent.safetensors").is_file()
    where = f"import {PACKAGE}; print({PACKAGE}.__file__)"
    mine = subprocess.run(
        [fresh / "python", "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert Path(mine.stdout.strip()).is_relative_to(folder)
    for name in ("advisor", "reference_impls"):
        gone = subprocess.run([fresh / "python", "-c", f"import {name}"], cwd=tmp_path, env=environment)
        assert gone.returncode != 0
