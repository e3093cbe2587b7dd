"""Score a reader on labelled descriptions: JSONL rows with `text`, `recommendation` (or `verdict`) and `facts`.

Optional fields: `decidable` (false: an expert could not settle the family), `framing`, `answers` (what the writer says when asked)
and `spans` (fact -> the words that carry it).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import engine
from ..facts import establish
from ..questions import next_question
from ..rulebook import Rulebook, load
from ..scenario import Scenario
from . import Proposal, read_many
from .llm import read_all
from .model import FACTS
from .propose import propose

OPEN = ("undecided", "meta_any")
FRAMING_OF_LABEL = {"shifted": "none", "out_of_scope": "none"}
BINS = 10

Reader = Callable[[Sequence[str]], list[tuple[Proposal, ...]]]
READERS: dict[str, tuple[Reader, Reader]] = {  # name -> as used alone, and where questions can follow
    "careful": (
        lambda texts: propose(texts, True),
        lambda texts: propose(texts, True, True, evidence=False),
    ),
    "quick": (read_many, lambda texts: propose(texts, False, True)),
    "llm": (read_all, read_all),
}


def framing(verdicts: Sequence[str], book: Rulebook) -> str:
    """`multi_task`, `meta` or `none` once all verdicts share it, else `undecided`."""
    kinds = {str(book.entries["verdicts"][v]["framing"]) for v in verdicts}
    return kinds.pop() if len(kinds) == 1 else "undecided"


def share(part: float, whole: int) -> float | None:
    """A share rounded to three places, or None without any row."""
    return round(part / whole, 3) if whole else None


def answered(facts: dict[str, str], truth: dict[str, str], book: Rulebook) -> tuple[tuple[str, ...], int]:
    """What is possible after truthful answers to the questions that the tool asks, and how many it asked.

    The writer knows what is in `truth`; for anything else the answer is "don't know".
    """
    known = dict(facts)
    asked: list[str] = []
    while (question := next_question(known, [name for name in asked if name not in known], book)) is not None:
        asked.append(question.id)
        if question.id in truth:
            known[question.id] = truth[question.id]
    return engine.possible_verdicts(known, book), len(asked)


def evaluate(rows: Sequence[dict[str, Any]], reader: str = "careful") -> dict[str, Any]:
    """All figures of one file, as a dictionary ready for JSON."""
    book = load()
    alone, asking = READERS[reader]
    texts = [row["text"] for row in rows]
    decidable = decided = right = wrong = must_stay_open = stayed_open = 0
    framed = framing_decided = framing_right = shifted = shifted_found = 0
    after = after_right = questions = 0
    marked = overlapping = 0
    shortened: list[tuple[str, str, str]] = []
    named: dict[str, Counter[str]] = {kind: Counter() for kind in ("concerns", "pitfalls")}
    sure: list[tuple[float, bool]] = []
    counts = {fact: {"proposed": 0, "right": 0, "labelled": 0} for fact in FACTS}
    for row, proposals, cautious in zip(rows, alone(texts), asking(texts), strict=True):
        facts = {p.fact: p.value for p in proposals if p.fact in FACTS}
        got = engine.possible_verdicts(facts, book)
        single = got[0] if len(got) == 1 else None
        label = row.get("recommendation") or row["verdict"]
        settled = label not in OPEN and row.get("decidable") is not False
        if settled:
            decidable += 1
            decided += single is not None
            right += single == label
        else:
            must_stay_open += 1
            stayed_open += single is None
        answer = engine.recommend(establish(Scenario("", row["text"]), book, proposals), book)
        if single is not None:
            wrong += single != label
            sure.append((answer.confidence, single == label))
        for kind, found_here in (("concerns", answer.concerns), ("pitfalls", answer.pitfalls)):
            for name in {*found_here, *row.get(kind, ())}:
                end = "missed" if name not in found_here else "right" if name in row.get(kind, ()) else "wrong"
                named[kind][end] += 1
        truth = {**_deciding(row.get("facts", {})), **_deciding(row.get("answers", {}))}
        target = engine.possible_verdicts(truth, book)
        if len(target) == 1:  # else no answer of the writer's settles it
            reached, asked = answered({p.fact: p.value for p in cautious if p.fact in FACTS}, truth, book)
            after += 1
            questions += asked
            after_right += reached == target
        expected = row.get("framing") or (framing([label], book) if label not in OPEN else None)
        if expected is not None:
            found = framing(got, book)
            framed += 1
            framing_decided += found != "undecided"
            framing_right += found == FRAMING_OF_LABEL.get(expected, expected)
        if label == "none_reliable":
            shifted += 1
            shifted_found += facts.get("test_tasks") == "shifted"
        stated = {p.fact: p.value for p in proposals if p.fact in FACTS and p.source == "text"}
        for fact, value in row.get("facts", {}).items():
            if fact in counts:
                counts[fact]["labelled"] += 1
                counts[fact]["proposed"] += fact in stated
                counts[fact]["right"] += stated.get(fact) == value
        for p in proposals:
            words = row.get("spans", {}).get(p.fact)
            if words and p.source == "text" and row["facts"].get(p.fact) == p.value:
                marked += 1
                shortened.append((without(p, row["text"]), p.fact, p.value))
                overlapping += 2 * covered(p, row["text"], words) >= len(words)
    left = asking([text for text, _, _ in shortened])
    gone = sum(
        all((p.fact, p.value) != (fact, value) for p in found)
        for (_, fact, value), found in zip(shortened, left, strict=True)
    )
    proposed, correct, labelled = (sum(c[k] for c in counts.values()) for k in ("proposed", "right", "labelled"))
    return {
        "reader": reader,
        "rows": len(rows),
        "decidable": decidable,
        "decided": share(decided, decidable),
        "right_among_decided": share(right, decided),
        "wrong_over_all": share(wrong, len(rows)),
        "open_left_open": share(stayed_open, must_stay_open),
        "framing_right": share(framing_right, framed),
        "framing_right_among_decided": share(framing_right, framing_decided),
        "shifted_found": share(shifted_found, shifted),
        "ece": calibration_error(sure),
        "verdicts": {
            "number": len(sure),
            "confidence": share(sum(confidence for confidence, _ in sure), len(sure)),
            "right": share(sum(hit for _, hit in sure), len(sure)),
        },
        "after_questions": {
            "rows": after,
            "right": share(after_right, after),
            "questions": share(questions, after),
        },
        "stated_facts": {
            "precision": share(correct, proposed),
            "recall": share(correct, labelled),
        },
        **{
            kind: {
                "precision": share(n["right"], n["right"] + n["wrong"]),
                "recall": share(n["right"], n["right"] + n["missed"]),
                "labelled": n["right"] + n["missed"],
            }
            for kind, n in named.items()
        },
        "evidence": {
            "facts": marked,
            "overlapping": share(overlapping, marked),
            "open_without_it": share(gone, marked),
        },
        "facts": {
            fact: {
                "precision": share(c["right"], c["proposed"]),
                "recall": share(c["right"], c["labelled"]),
                **c,
            }
            for fact, c in counts.items()
        },
    }


def _deciding(facts: dict[str, str]) -> dict[str, str]:
    return {fact: value for fact, value in facts.items() if fact in FACTS}


def covered(proposal: Proposal, text: str, words: str) -> int:
    """How many characters of the marked words the evidence holds."""
    start = text.find(words)
    end = start + len(words)
    return sum(max(0, min(end, span.end) - max(start, span.start)) for span in proposal.evidence)


def without(proposal: Proposal, text: str) -> str:
    """The text with the words of the evidence left out."""
    for span in sorted(proposal.evidence, key=lambda s: -s.start):
        text = text[: span.start] + text[span.end :]
    return text


def calibration_error(sure: Sequence[tuple[float, bool]]) -> float | None:
    """Expected calibration error over ten equal bins (Guo et al. 2017) of (confidence, right) pairs; None without any."""
    error = 0.0
    for b in range(BINS):
        members = [(c, hit) for c, hit in sure if min(int(c * BINS), BINS - 1) == b]
        if members:
            gap = sum(c for c, _ in members) - sum(hit for _, hit in members)
            error += abs(gap) / len(sure)
    return round(error, 3) if sure else None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file. Raises ValueError with file and line for a row that cannot be used."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row["text"], str):
                raise TypeError("text is no string")
            row.get("recommendation") or row["verdict"]
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}: a row needs `text` and `recommendation` ({error})") from error
        rows.append(row)
    return rows


def evaluate_file(path: Path, reader: str = "careful") -> dict[str, Any]:
    """Read a JSONL file and score it. Raises ValueError with file and line for a row that cannot be used."""
    return evaluate(read_rows(path), reader)
