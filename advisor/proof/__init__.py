"""Stage 3c: Rulebook -> proof by walking the whole fact space. `advisor rules check` prints it.

Walks over the table find what is wrong with its form; golden scenarios, written without looking at the table, find what is wrong with its
outcomes. Both are themselves tested by mutants: mutants.py. What the questions cost: questionnaires.py. Two rule sets: difference.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from math import prod
from typing import Any

from ..engine import open_facts, possible_verdicts
from ..rulebook import Fault, Rulebook, holds, is_sound, rule_faults, words
from .mutants import Golden, Swap, judge, outcome_swaps, structural
from .questionnaires import Cost, questionnaires

_SPARE = 1e-9  # rounding of sums of probabilities


@dataclass(frozen=True)
class Proof:
    """What was walked and what was found; `faults` is empty when everything holds.

    `structural_mutants` drop a row, or widen, narrow or move a cell; `outcome_swaps` give one row, or one single point, another verdict.
    `golden` counts the expectations that agree, that own facts leave open, and that contradict. `expected_questions` holds the expected
    questionnaire from nothing known, by policy. While the table has faults, what builds on it is not walked and stays empty.
    """

    entries: Mapping[str, int]
    points: int
    partial_sets: int
    structural_mutants: int
    structural_mutants_caught: int
    outcome_swaps: int
    outcome_swaps_killed: int
    golden: Mapping[str, int]
    expected_questions: Mapping[str, Cost]
    faults: tuple[Fault, ...]

    def as_dict(self) -> dict[str, Any]:
        """The proof as plain data."""
        return asdict(self)


def partial_sets(book: Rulebook) -> list[dict[str, str]]:
    """Every set of known decisive facts, the empty and the full ones included."""
    facts = book.decisive
    rows = product(*((None, *fact.values) for fact in facts))
    return [{f.id: v for f, v in zip(facts, row, strict=True) if v is not None} for row in rows]


def prove(book: Rulebook) -> Proof:
    """Walks all points, all partial fact sets, all mutants of the table and all questionnaires."""
    points = book.points()
    faults = rule_faults(book)
    counts = {name: len(entries) for name, entries in book.entries.items()}
    space = prod(len(fact.values) + 1 for fact in book.decisive)
    if not is_sound(book.settings, book.decisive):
        return Proof(counts, len(points), space, 0, 0, 0, 0, {}, {}, tuple(faults))
    verdicts = [next(s.recommend for s in book.settings if holds(s.when, p)) for p in points]
    faults += _omissions(book, points, verdicts)
    golden, judged = _golden(book, points, verdicts)
    faults += judged
    mutants = list(structural(book))
    missed = [what for what, rows in mutants if is_sound(rows, book.decisive)]
    faults += [Fault("mutant", "settings", f"passes unnoticed: {what}", {}) for what in missed]
    swaps = list(outcome_swaps(book, points, verdicts, golden))
    faults += _unkilled(swaps)
    costs = questionnaires(book)
    if costs["ours"].effort > costs["optimum"].effort + _SPARE:
        said = f"ours costs {costs['ours'].effort:.4f}, the optimum {costs['optimum'].effort:.4f}"
        faults.append(Fault("questions", "facts", said, {}))
    results = [judge(g, verdicts) for g in golden]
    return Proof(
        entries=counts,
        points=len(points),
        partial_sets=space,
        structural_mutants=len(mutants),
        structural_mutants_caught=len(mutants) - len(missed),
        outcome_swaps=len(swaps),
        outcome_swaps_killed=sum(swap.killed for swap in swaps),
        golden={name: results.count(name) for name in ("agrees", "left_open", "contradicts")},
        expected_questions=costs,
        faults=tuple(faults),
    )


def _omissions(book: Rulebook, points: list[dict[str, str]], verdicts: list[str]) -> Iterator[Fault]:
    """Partial fact sets at which the engine says anything but the verdicts of the completions, or misjudges which facts are open."""
    for known in sorted(partial_sets(book), key=len):
        reached = {v for p, v in zip(points, verdicts, strict=True) if known.items() <= p.items()}
        if set(possible_verdicts(known, book)) != reached or (len(reached) > 1) != bool(open_facts(known, book)):
            yield Fault("omission", "settings", "the engine is wrong where only these facts are known", known)


def _golden(book: Rulebook, points: list[dict[str, str]], verdicts: list[str]) -> tuple[list[Golden], list[Fault]]:
    """The golden scenarios, the worked ones among them, and a fault for each that the table contradicts."""
    golden, faults = [], []
    for name in ("golden", "scenarios"):
        for i, entry in book.entries[name].items():
            facts = {n: str(v) for n, v in entry["facts"].items() if book.facts[n].decisive}
            covered = [k for k, point in enumerate(points) if facts.items() <= point.items()]
            case = Golden(i, facts, entry["verdict"], tuple(covered))
            golden.append(case)
            if judge(case, verdicts) == "contradicts":
                reached = ", ".join(sorted({verdicts[k] for k in covered}))
                said = f"it expects {case.verdict}, and the table says {reached}"
                faults.append(
                    Fault(
                        "golden",
                        f"{name}, {i}",
                        said,
                        facts,
                        len(covered),
                        (),
                        "correct the setting or the expectation",
                    )
                )
    return golden, faults


def _unkilled(swaps: list[Swap]) -> Iterator[Fault]:
    """One fault for each row, or where the whole row is watched for each point of it, at which another verdict would pass unnoticed."""
    missed: dict[tuple[str, bool, str], list[Swap]] = {}
    for swap in swaps:
        if not swap.killed:
            missed.setdefault((swap.rule, swap.whole, words(swap.facts)), []).append(swap)
    unwatched = {rule for rule, whole, _ in missed if whole}
    for (rule, whole, said), found in missed.items():
        if whole or rule not in unwatched:
            others = ", ".join(swap.verdict for swap in found)
            what = f"no golden scenario would notice if `{rule}` said {others}"
            advice = f"add a [[golden]] entry within {said}, written from what you expect and not from the setting"
            yield Fault("outcome_swap", f"settings, {rule}", what, found[0].facts, advice=advice)
