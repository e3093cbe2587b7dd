"""The corpus, and the rows that are made of it; training alone needs them.

A row is a clause (the facts that it states), a description (its facts, concerns and beliefs, with the words that carry each), or a "voice":
a short text labelled for concerns and beliefs, which says nothing of facts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .beliefs import take_apart
from .beliefs.weighing import CONCERNS
from .model import FACTS, corpus_files

Row = dict[str, Any]


def read_corpus(folder: Path) -> list[Row]:
    """All rows of the corpus files in name order, `origin` added. Raises ValueError for an unknown fact, value or kind."""
    rows = []
    for path in corpus_files(folder):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line)
            for fact, value in row["facts"].items():
                if value not in FACTS.get(fact, ()):
                    raise ValueError(f"{path.name}, line {number}: {fact} = {value} is not in the vocabulary")
            if row["kind"] not in ("clause", "description", "voice"):
                raise ValueError(f"{path.name}, line {number}: kind {row['kind']} is not clause, description or voice")
            rows.append({**row, "origin": path.parent.name})
    return rows


def labelled(row: Row) -> bool:
    """Whether concerns and pitfalls of a row were labelled (none, where the keys are missing): those are the rows with a verdict.

    The others, taken as voicing none, made the reader shyer and no better.
    """
    return "verdict" in row and row["kind"] == "description"


def marked_clauses(rows: Sequence[Row]) -> list[Row]:
    """The words marked in descriptions as the carriers of a fact, as clause rows; the same words may carry several."""
    found = []
    for row in rows:
        by_words: dict[str, dict[str, str]] = {}
        for fact, marked in row.get("spans", {}).items():
            if fact in row["facts"] and len(marked) < len(row["text"]) / 2:  # longer ones carry the rest as well
                by_words.setdefault(marked, {})[fact] = row["facts"][fact]
        found += [{"text": t, "facts": f, "kind": "clause", "origin": row["origin"]} for t, f in by_words.items()]
    return found


def marked_voices(rows: Sequence[Row]) -> list[Row]:
    """The words marked in descriptions as the carriers of a concern or a belief, as voice rows."""
    found = []
    for row in rows:
        by_words: dict[str, dict[str, list[str]]] = {}
        for label, marked in row.get("marks", {}).items():
            kind = "concerns" if label in CONCERNS else "pitfalls"
            by_words.setdefault(marked, {}).setdefault(kind, []).append(label)
        found += [{"text": t, "facts": {}, "kind": "voice", "origin": row["origin"], **v} for t, v in by_words.items()]
    return found


def with_silence(rows: Sequence[Row]) -> list[Row]:
    """The rows and `marked_clauses` of them; a clause that voices no concern and no belief is `silent`.

    Without silent clauses an encoder that learned from voices would hear a concern in every clause. A written clause is taken for
    silent if no cue holds in it, a marked one if no mark of a concern or a belief shares any of its words.
    """
    written = [{**r, "silent": not take_apart(r["text"]).cues} if r["kind"] == "clause" else r for r in rows]
    marked = []
    for row in rows:
        voiced = row.get("marks", {}).values()
        for clause in marked_clauses([row]):
            apart = all(_apart(row["text"], clause["text"], voice) for voice in voiced)
            marked.append({**clause, "silent": labelled(row) and apart})
    return written + marked


def _apart(text: str, one: str, other: str) -> bool:
    """Whether two pieces of a text share none of it."""
    here, there = text.index(one), text.index(other)
    return here + len(one) <= there or there + len(other) <= here
