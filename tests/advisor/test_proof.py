"""The proof: it passes on the shipped rules, and notices a broken table."""

from dataclasses import replace

from advisor import rulebook
from advisor.proof import prove

BOOK = rulebook.load()


def test_the_shipped_rules_are_proven() -> None:
    """36 points, 144 partial sets, every structural mutant caught, no fault."""
    proof = prove(BOOK)
    assert (proof.points, proof.partial_sets, proof.faults) == (36, 144, ())
    assert proof.mutants == proof.mutants_caught > 50


def test_a_dropped_row_is_a_gap_with_its_counterexample() -> None:
    """Without its first setting the table has a gap, and the proof names a point in it."""
    broken = rulebook.table_faults(BOOK.settings[1:], BOOK.points())
    assert broken and broken[0].startswith("gap: ") and "test_tasks=shifted" in broken[0]


def test_a_verdict_that_nothing_reaches_is_a_fault() -> None:
    """Swapping one outcome leaves a verdict unreachable, and the proof says which."""
    settings = tuple(replace(s, recommend="maml") if s.recommend == "rl2" else s for s in BOOK.settings)
    proof = prove(replace(BOOK, settings=settings))
    assert "unreachable verdict: rl2" in proof.faults
