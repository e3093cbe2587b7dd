"""The README of a project."""

from pathlib import Path

import pytest

from advisor import starter
from advisor.rulebook import Rulebook, load
from advisor.starter import readme

from .projects import FACTS, advised, written


@pytest.fixture(scope="module")
def book() -> Rulebook:
    return load()


def test_readme_tells_the_recommendation(book: Rulebook, tmp_path: Path) -> None:
    """The README has the user's words, each fact, what would change the verdict, the pitfalls, mitigations and commands."""
    scenario, recommendation = advised(FACTS["multi_task"], book, "Seven machines.\nOne policy.")
    folder = starter.write(tmp_path / "mine", scenario, recommendation, book).folder
    text = (folder / "README.md").read_text()
    assert "    Seven machines.\n    One policy.\n" in text
    for name in FACTS["multi_task"]:
        assert f"`{name}`" in text
    assert "**PEARL**" in text and "Negative transfer is real" in text and "gradient surgery (PCGrad)" in text
    assert (
        "pip install -c constraints.txt -e '.[test]'" in text and f"python -m {starter.PACKAGE}.train && pytest" in text
    )


@pytest.mark.parametrize("case", FACTS)
def test_readme_is_tidy_and_names_every_file(case: str, book: Rulebook, tmp_path: Path) -> None:
    """No blank line is doubled, no template sign is left, and every Python file of the package is named with its use."""
    project = written(case, tmp_path, book)
    text = (project.folder / "README.md").read_text()
    assert "\n\n\n" not in text and "{{" not in text and "{%" not in text
    for name in project.files:
        if name.startswith(starter.PACKAGE) and not name.endswith("__init__.py"):
            assert f"`{name}`" in text, name


def test_none_reliable_is_no_recommendation(book: Rulebook, tmp_path: Path) -> None:
    """The project for a shift says that its learner is not recommended, and what to do instead."""
    text = (written("none_reliable", tmp_path, book).folder / "README.md").read_text()
    assert "No family is reliable here" in text and "it is not a recommendation" in text and "shift" in text
    assert "You asked for this family" not in text


def test_code_span_can_not_be_closed() -> None:
    """The fence of a quotation is longer than any run of backticks in it, and the line and the table cell hold."""
    assert readme.code_span("a ``` b\n| c") == "```` a ``` b ¦ c ````"
