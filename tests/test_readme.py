"""The README shows what the program does: its commands run, its outputs and tables are compared."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from advisor import rulebook
from advisor.export import FORMATS
from tests.conftest import Run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```console\n(.*?)```", README, re.S)


def commands() -> list[tuple[str, str]]:
    """(command, shown output) of every console block; `fit` and `make` are run by tests of their own."""
    found = []
    for block in SHOWN:
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            while command.endswith("\\"):
                more, _, output = output.partition("\n")
                command = command[:-1] + more.lstrip("> ")
            found.append((command, output))
    return found


RUN = [(c, o) for c, o in commands() if c.startswith("advisor ") and not c.startswith("advisor fit")]


def test_there_is_something_to_run() -> None:
    """The first screen shows a command with its output."""
    assert len(RUN) >= 3 and "$ advisor" in "\n".join(README.splitlines()[:30])


@pytest.mark.parametrize(("command", "output"), RUN, ids=[c[:40] for c, _ in RUN])
def test_commands_print_what_is_shown(advisor: Run, tmp_path: Path, command: str, output: str) -> None:
    """Each shown line stands in the real output, in that order; `...` stands for lines left out."""
    (tmp_path / "scenarios").mkdir()
    for name in ("arm.yaml", "trading.md"):
        (tmp_path / "scenarios" / name).write_text((ROOT / "tests" / "readme" / name).read_text())
    done = advisor(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    real = iter(line.rstrip() for line in done.stdout.splitlines())
    for line in (line.rstrip() for line in output.splitlines() if line.strip() not in ("", "...")):
        assert any(line == other for other in real), f"not printed: {line!r}\n{done.stdout}"


def test_tables_are_those_of_the_rules() -> None:
    """The table under "How it decides" is made by `advisor rules export`."""
    assert FORMATS["markdown"](rulebook.load()) in README


def test_map_is_that_of_the_rules() -> None:
    """The map is made by `advisor rules export --format mermaid`."""
    assert FORMATS["mermaid"](rulebook.load()) in README


def test_every_path_named_exists() -> None:
    """The files and folders that the README names are there."""
    for path in re.findall(r"`((?:advisor|rules|reference_impls|benchmarks|tests|docs)/[\w./]*)`", README):
        assert (ROOT / path).exists(), path


def test_make_targets_named_exist() -> None:
    """Every `make` target that the README names is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_worked_record_in_readme_is_json(advisor: Run) -> None:
    """`--json` prints a document that Python reads back."""
    done = advisor("explain", "It is trained on ten cities and drives in those same ten cities.", "--json")
    assert json.loads(done.stdout)["error"] is None and sys.version_info >= (3, 11)
