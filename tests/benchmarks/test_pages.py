"""The pages of the methods: made from the kept results, and nothing in them typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pages

RESULT: dict[str, Any] = {
    "case": "rl2-grid",
    "figure": 1.35,
    "unit": "steps over the shortest way",
    "seeds": [1.3, 1.4],
    "training_cpu_seconds": [30.0, 60.0],
    "load": [1.0, 7.5],
    "cores": 2,
    "reference_of_seeds": {"success of episode 3": [0.9, 0.99]},
    "peer": None,
    "ratios": [],
    "versions": {"python": "3.11.0", "torch": "2.13.0"},
}


@pytest.mark.parametrize("page", pages.PAGES)
def test_a_page_is_what_the_results_make_it(page: str) -> None:
    """The page in docs is, to the letter, what `python -m benchmarks pages` writes from the results beside it."""
    docs = pages.ROOT / "docs"
    assert (docs / f"{page}.md").read_text(encoding="utf-8") == pages.render(page, pages.read(docs / "results"))


def test_kept_results_are_those_of_their_names() -> None:
    """A file in docs/results holds the case and the budget that its name says, and no path of the machine it was made on."""
    kept = sorted((pages.ROOT / "docs" / "results").glob("*.json"))
    assert kept
    for path in kept:
        text = path.read_text(encoding="utf-8")
        result = json.loads(text)
        long = "-long" if result["budget"] == "long" else ""
        assert path.stem == f"{result['case']}{long}"
        assert str(Path.home()) not in text and '"/' not in text
        assert len(result["seeds"]) == len(result["training_cpu_seconds"]) == len(result["load"])


def test_a_bar_is_judged_by_the_mean_and_by_the_clock() -> None:
    """A bar is met or not by the mean over the seeds, its seconds by their mean, and the seeds that reach it are counted."""
    assert pages.Bar("<=", 1.4, 40).judge(RESULT) == "at most 1.4 in 40 s: met (2 of 2 seeds), NOT in time (45.0 s)"
    assert pages.Bar("<=", 1.32, 50).judge(RESULT) == "at most 1.32 in 50 s: NOT met (1 of 2 seeds), in time (45.0 s)"
    success = pages.Bar(">=", 0.95, quantity="success of episode 3")
    assert success.judge(RESULT) == "success of episode 3 at least 0.95: NOT met (1 of 2 seeds)"


def test_what_was_not_measured_says_so() -> None:
    """A case without a kept result stands in its table as not measured; with one, its seeds and its load stand there."""
    empty, full = (pages.render("rl2", results) for results in ({}, {"rl2-grid": RESULT}))
    assert empty.count("not measured") == len(pages.RL2)
    assert full.count("not measured") == len(pages.RL2) - 1
    assert "**1.35** (1.3 1.4)" in full and "(load 1 7.5 on 2 cores)" in full


def test_rows_name_cases_that_exist() -> None:
    """Each line of a page carries a command that `python -m benchmarks` knows."""
    from benchmarks.__main__ import cases

    known = cases()
    rows = [row for _, _, rows in pages.PAGES.values() for row in rows]
    assert {row.name.removesuffix("-long") for row in rows} <= set(known)
    assert {name for row in rows for name in row.peers} <= set(known)
