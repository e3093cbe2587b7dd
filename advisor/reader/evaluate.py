"""Score the reader on labelled descriptions: JSONL rows with `text`, `recommendation` and `facts`.

Optional fields: `decidable` (false: an expert could not settle the family), `framing`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import engine
from ..facts import Known
from ..rulebook import load
from . import read
from .model import FACTS

OPEN = ("undecided", "meta_any")
FRAMING_OF_LABEL = {"shifted": "none", "out_of_scope": "none"}
BINS = 10


def possible_verdicts(facts: dict[str, str]) -> frozenset[str]:
    """Every verdict that some completion of the facts reaches, by the shipped rules."""
    return frozenset(engine.possible_verdicts(facts, load()))


def framing(verdicts: frozenset[str]) -> str:
    """`multi_task`, `meta` or `none` once all verdicts share it, else `undecided`."""
    kinds = {str(load().entries["verdicts"][v]["framing"]) for v in verdicts}
    return kinds.pop() if len(kinds) == 1 else "undecided"


def share(part: int, whole: int) -> float | None:
    """A share rounded to three places, or None without any row."""
    return round(part / whole, 3) if whole else None


def evaluate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All figures of one file, as a dictionary ready for JSON."""
    decidable = decided = right = wrong = must_stay_open = stayed_open = 0
    framed = framing_decided = framing_right = shifted = shifted_found = 0
    sure: list[tuple[float, bool]] = []
    counts = {fact: {"proposed": 0, "right": 0, "labelled": 0} for fact in FACTS}
    for row in rows:
        proposals = read(row["text"])
        facts = {p.fact: p.value for p in proposals if p.fact in FACTS}
        got = possible_verdicts(facts)
        single = next(iter(got)) if len(got) == 1 else None
        label = row["recommendation"]
        settled = label not in OPEN and row.get("decidable") is not False
        if settled:
            decidable += 1
            decided += single is not None
            right += single == label
        else:
            must_stay_open += 1
            stayed_open += single is None
        if single is not None:
            hit = single == label
            wrong += not hit
            known = {p.fact: Known(p.value, p.confidence, p.source) for p in proposals}
            sure.append((engine.recommend(known, load()).confidence, hit))
        expected = row.get("framing") or (framing(frozenset({label})) if label not in OPEN else None)
        if expected is not None:
            found = framing(got)
            framed += 1
            framing_decided += found != "undecided"
            framing_right += found == FRAMING_OF_LABEL.get(expected, expected)
        if label == "none_reliable":
            shifted += 1
            shifted_found += facts.get("test_tasks") == "shifted"
        for fact, value in row.get("facts", {}).items():
            if fact in counts:
                counts[fact]["labelled"] += 1
                counts[fact]["proposed"] += fact in facts
                counts[fact]["right"] += facts.get(fact) == value
    error = 0.0
    for b in range(BINS):
        members = [(c, hit) for c, hit in sure if min(int(c * BINS), BINS - 1) == b]
        if members:
            gap = sum(c for c, _ in members) - sum(hit for _, hit in members)
            error += abs(gap) / len(sure)
    return {
        "rows": len(rows),
        "decidable": decidable,
        "decided": share(decided, decidable),
        "right_among_decided": share(right, decided),
        "wrong_over_all": share(wrong, len(rows)),
        "open_left_open": share(stayed_open, must_stay_open),
        "framing_right": share(framing_right, framed),
        "framing_right_among_decided": share(framing_right, framing_decided),
        "shifted_found": share(shifted_found, shifted),
        "ece": round(error, 3) if sure else None,
        "facts": {
            fact: {"precision": share(c["right"], c["proposed"]), "recall": share(c["right"], c["labelled"]), **c}
            for fact, c in counts.items()
        },
    }


def evaluate_file(path: Path) -> dict[str, Any]:
    """Read a JSONL file and score it. Raises ValueError with file and line for a row that cannot be used."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row["text"], row["recommendation"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: a row needs `text` and `recommendation` ({error})") from error
        rows.append(row)
    return evaluate(rows)
