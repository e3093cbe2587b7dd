"""docs/concerns.md says what the raw runs beside it say."""

import json

import pytest

from benchmarks.concerns import COMMON, FILE, PAGE, TABLE, interval, page, verdict_of


def test_the_page_is_made_from_the_raw_runs() -> None:
    """Nobody edits the page by hand, and no run is left out of it."""
    assert PAGE.read_text() == page(json.loads(FILE.read_text()))


def test_every_run_is_of_the_table_and_was_made_once() -> None:
    """The raw runs name trainings of the table, each seed once, with as many returns as its family has tasks."""
    runs = json.loads(FILE.read_text())
    keys = [(run["concern"], run["training"], run["seed"]) for run in runs]
    assert len(keys) == len(set(keys)) > 100
    assert all(training in TABLE[concern] for concern, training, _ in keys) and TABLE.keys() == COMMON.keys()
    assert {len(run["returns"]) for run in runs if run["concern"] == "interference"} == {8}


def test_intervals_and_verdicts() -> None:
    """Student's interval by hand: mean 2, deviation 1, 3 seeds give 4.30 / sqrt(3); zero inside it is no verdict."""
    assert interval([1.0, 2.0, 3.0]) == "2.0 ± 2.5" and interval([4.0]) == "4.0"
    assert verdict_of([1.0, 2.0, 3.0]) == "*not shown*" and verdict_of([4.0]) == "too few seeds"
    assert verdict_of([9.0, 10.0, 11.0]) == "**helps**" and verdict_of([-9.0, -10.0, -11.0]) == "**hurts**"


@pytest.mark.parametrize("concern", TABLE)
def test_plain_training_comes_first(concern: str) -> None:
    """Every table has the training without mitigation that the others are compared with."""
    assert next(iter(TABLE[concern])) == "plain" and TABLE[concern]["plain"] == {}
