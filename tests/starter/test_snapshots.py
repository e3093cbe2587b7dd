"""Whole generated trees, held as text: `SNAPSHOTS=write pytest tests/starter/test_snapshots.py` renews them, the diff shows what changed.

The words of the rules are masked by the place that they stand in, so that a snapshot changes only where the templates do; the
reference implementations are stand-ins, of which the copies are named, not shown; a file that is much like that of the first tree
is shown as its difference from that.
"""

import dataclasses
import difflib
import json
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from advisor.rulebook import Rulebook, load
from advisor.starter import files

from .projects import FACTS, tree, written

FOLDER = Path(__file__).parent / "snapshots"
FIRST = "maml"
WORDS = {
    "headline",
    "because",
    "limits",
    "truth",
    "mistake",
    "next",
    "meta_rl",
    "foundation_models",
    "label",
    "says",
    "left_out",
}


def masked(book: Rulebook) -> Rulebook:
    """The rules with their prose replaced by where it stands, and one short list of options for each concern."""

    def mask(value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {k: mask(v, f"{place}.{k}") if k in WORDS or isinstance(v, dict) else v for k, v in value.items()}
        if isinstance(value, list):
            return [mask(v, f"{place}.{i}") for i, v in enumerate(value)]
        return f"[{place}]" if isinstance(value, str) else value

    entries = {
        kind: {
            i: {
                **mask(dict(e), f"{kind}.{i}"),
                **({"options": [{"label": f"[{kind}.{i}.options]"}]} if "options" in e else {}),
            }
            for i, e in group.items()
        }
        for kind, group in book.entries.items()
    }
    facts = {
        name: dataclasses.replace(
            fact, question=f"[facts.{name}.question]", labels={v: f"[facts.{name}.{v}]" for v in fact.values}
        )
        for name, fact in book.facts.items()
    }
    return dataclasses.replace(
        book, entries=MappingProxyType(entries), facts=MappingProxyType(facts), version="[version]"
    )


MODULES = [
    "bandit",
    "catalogue",
    "cities",
    "diagnosis",
    "gym",
    "in_context",
    "maze",
    "objects",
    "regimes",
    "semicircle",
    "shapes",
    "support",
]
COPY = "# a copy of the reference implementation\n"


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference implementations that nobody works on."""
    root = tmp_path / "reference"
    (root / "tasks").mkdir(parents=True)
    for family in ("maml", "multi_task", "pearl", "rl2"):
        (root / f"{family}.py").write_text(f"{COPY}from .saving import save\n")
    (root / "in_context.py").write_text(f"{COPY}from .tasks.in_context import Labels\n")
    for name in (
        "saving",
        "tasks/__init__",
        *(f"tasks/{m}" for m in MODULES),
    ):
        (root / f"{name}.py").write_text(COPY)
    monkeypatch.setattr(files, "reference_folder", lambda: root)


def shown(case: str, book: Rulebook, folder: Path) -> dict[str, str]:
    """Every file of a case as it is held: path -> text."""
    found = {name: content.decode() for name, content in tree(written(case, folder, book).folder).items()}
    record = json.loads(found["advisor.json"])
    found["advisor.json"] = json.dumps({**record, "files": sorted(record["files"])}, indent=2)
    return found


def beside(text: str, first: str | None) -> str:
    """A file as it is held: whole, or where it is much like that of the first tree, its difference from that."""
    if text == first:
        return f"(as in {FIRST})"
    lines = list(difflib.unified_diff((first or "").splitlines(), text.splitlines(), lineterm="", n=1))[2:]
    if first is None or sum(map(len, lines)) > len(text) / 2:
        return text.rstrip("\n")
    return "\n".join([f"(as in {FIRST}, but:)", *lines])


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("case", FACTS)
def test_tree(case: str, tmp_path: Path) -> None:
    """The tree of each variant is the one that was last looked at."""
    book = masked(load())
    first = shown(FIRST, book, tmp_path / "first") if case != FIRST else {}
    parts = [f"=== {name}\n{beside(text, first.get(name))}" for name, text in shown(case, book, tmp_path).items()]
    found, held = "\n".join(parts) + "\n", FOLDER / f"{case}.txt"
    if os.environ.get("SNAPSHOTS") == "write":
        FOLDER.mkdir(exist_ok=True)
        held.write_text(found, encoding="utf-8")
    assert held.read_text(encoding="utf-8") == found, "look at the difference; SNAPSHOTS=write renews the tree"
