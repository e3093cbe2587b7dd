import json

from benchmarks import fit_table


def test_page_is_made_from_the_stored_figures():
    """The page says what the stored JSON says and nothing else, for every stand-in of every setting that has been run."""
    document = json.loads((fit_table.DOCS / "fit-of-the-table.json").read_text())
    assert (fit_table.DOCS / "fit-of-the-table.md").read_text() == fit_table.page(document)
    assert len(document["rows"]) >= 8
    for row in document["rows"]:
        assert row["stand_in"] in fit_table.TABLE[row["setting"]] and row["seeds"] >= 2
        assert {c["role"] for c in row["cells"].values()} == {"recommended", "control"}


def test_every_family_is_tried_in_every_setting():
    """Each setting's rows hold all families whose form allows it, and what the setting doesn't admit is known."""
    for setting, plan, admitted in fit_table.plans("smoke", 2):
        trained = {c.training for c in plan.candidates if c.role != "reference"}
        alone = setting == "shifted" or plan.row.id in ("bandit", "diagnosis")
        assert {"rl2", "pearl"} <= trained and ("maml" in trained or alone)
        assert admitted <= {c.name for c in plan.candidates}
        recommended = next(c.name for c in plan.candidates if c.role == "recommended")
        assert recommended in admitted


def test_cells_mark_what_is_not_admitted():
    """The recommended is bold, what isn't admitted stands in brackets, what learned nothing is marked, and no form is a dash."""
    cell = {"score": {"figure": 0.5, "low": 0.4, "high": 0.6}, "admitted": True}
    row = {"recommended": "MAML", "cells": {"MAML": cell, "RL²": {**cell, "admitted": False}}}
    row["cells"]["PEARL"] = {"score": {"figure": 0.0, "low": -0.02, "high": 0.02}, "admitted": True}
    found = [fit_table._cell(row, (name,)) for name in ("MAML", "RL²", "PEARL", "from scratch")]
    assert found == ["**0.50**", "(0.50)", "0.00°", "-"]
