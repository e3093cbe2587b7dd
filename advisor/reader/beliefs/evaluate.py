"""Score concerns and pitfalls on labelled descriptions, through the whole pipeline: text, facts, recommendation, record.

JSONL rows with `text` and, where there are any, `concerns` and `pitfalls` (ids of the rules). Other fields are ignored.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ... import engine
from ...facts import establish
from ...rulebook import load
from ...scenario import Scenario
from .. import read

KINDS = ("concerns", "pitfalls")


def found(text: str) -> dict[str, set[str]]:
    """The concerns and pitfalls that the record of a text names."""
    book = load()
    answer = engine.recommend(establish(Scenario("", text), book, read(text)), book)
    return {"concerns": set(answer.concerns), "pitfalls": set(answer.pitfalls)}


def evaluate(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Precision and recall over all ids of a kind together, and the counts of each id; None where there is nothing to divide by."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    number = 0
    for row in rows:
        number += 1
        answer = found(row["text"])
        for kind in KINDS:
            labelled = set(row.get(kind) or ())
            for name in answer[kind] | labelled:
                end = "missed" if name not in answer[kind] else "right" if name in labelled else "wrong"
                counts[kind][f"{name}: {end}"] += 1
    result: dict[str, Any] = {"rows": number}
    for kind in KINDS:
        right, wrong, missed = (
            sum(n for name, n in counts[kind].items() if name.endswith(end)) for end in ("right", "wrong", "missed")
        )
        result[kind] = {
            "precision": round(right / (right + wrong), 3) if right + wrong else None,
            "recall": round(right / (right + missed), 3) if right + missed else None,
            "named": right + wrong,
            "labelled": right + missed,
            "each": dict(sorted(counts[kind].items())),
        }
    return result


def evaluate_file(path: Path) -> dict[str, Any]:
    """Score a JSONL file. Raises ValueError with file and line for a row that cannot be used."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
                row["text"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: a row needs `text` ({error})") from error
            rows.append(row)
    return evaluate(rows)
