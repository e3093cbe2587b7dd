"""The proof: it passes on the shipped rules, and notices a broken table or a wrong outcome."""

from dataclasses import replace

import pytest

from advisor import rulebook
from advisor.proof import partial_sets, prove
from advisor.proof.difference import compare
from advisor.proof.mutants import Golden, judge, structural
from advisor.rulebook import Rulebook, Setting, holds, is_sound, table_faults

BOOK = rulebook.load()
POINTS = BOOK.points()


def with_settings(settings: tuple[Setting, ...]) -> Rulebook:
    return replace(BOOK, settings=settings)


def swapped(rule: str, verdict: str) -> Rulebook:
    return with_settings(tuple(replace(s, recommend=verdict) if s.id == rule else s for s in BOOK.settings))


def test_the_shipped_rules_are_proven() -> None:
    """36 points, 144 partial sets, every mutant noticed, every golden scenario in agreement, no fault."""
    proof = prove(BOOK)
    assert (proof.points, proof.partial_sets, proof.faults) == (36, 144, ())
    assert proof.structural_mutants == proof.structural_mutants_caught > 80
    assert (
        proof.outcome_swaps == proof.outcome_swaps_killed == 7 * 5 + 36 * 5
    )  # each row and each point (every row has several)
    assert proof.golden == {"agrees": 31, "left_open": 0, "contradicts": 0}


def test_counting_the_structural_mutants_by_hand() -> None:
    """The mutants are those that the words promise: one a row dropped; a cell widened, narrowed, or one of its values moved."""
    expected = 0
    for row in BOOK.settings:
        expected += 1
        for name, cell in row.when.items():
            others = len(BOOK.facts[name].values) - len(cell)
            expected += (1 if others else 0) + (others if others > 1 else 0) + len(cell) * others
            expected += len(cell) if len(cell) > 1 else 0
    assert prove(BOOK).structural_mutants == expected == len({what for what, _ in structural(BOOK)})


def test_a_mutant_is_caught_exactly_when_its_points_say_so() -> None:
    """Adding up boxes and intersecting them finds just what counting the rows at every point finds."""
    for _, rows in structural(BOOK):
        covered = [sum(holds(row.when, point) for row in rows) for point in POINTS]
        assert is_sound(rows, BOOK.decisive) == (set(covered) == {1})
        assert bool(table_faults(rows, BOOK.decisive)) == (set(covered) != {1})


def test_each_fault_shows_a_true_and_smallest_counterexample_and_rows_that_close_it() -> None:
    """Of every structural mutant: the facts named by a gap are met by no row, and no fewer facts are; the rows offered make the table
    whole again."""
    partial = partial_sets(BOOK)
    for _, rows in structural(BOOK):
        faults = table_faults(rows, BOOK.decisive)
        gaps = [f for f in faults if f.kind == "gap"]
        bare = [p for p in POINTS if not any(holds(row.when, p) for row in rows)]
        for gap in gaps:
            inside = [p for p in POINTS if gap.facts.items() <= p.items()]
            assert inside and all(p in bare for p in inside)
        if gaps:
            fewest = min(len(s) for s in partial if all(p in bare for p in POINTS if s.items() <= p.items()))
            assert len(gaps[0].facts) == fewest
        closing = [Setting(f"new{i}", f.rows[0], "maml", 90 + i, "") for i, f in enumerate(gaps)]
        assert all(sum(holds(row.when, p) for row in closing) == (p in bare) for p in POINTS)
        for fault in (f for f in faults if f.kind == "overlap"):
            inside = [p for p in POINTS if fault.facts.items() <= p.items()]
            assert inside and all(sum(holds(row.when, p) for row in rows) > 1 for p in inside)
            narrowed = fault.where.partition(", ")[2]
            was = next(row for row in rows if row.id == narrowed)
            first = fault.message.split("`")[1]
            other = next(row for row in rows if row.id == first)
            for p in POINTS:
                kept = sum(holds(row, p) for row in fault.rows)
                assert kept == (holds(was.when, p) and not holds(other.when, p))


def test_a_dropped_row_is_a_gap_with_the_row_that_closes_it() -> None:
    """Without its first setting the table has one gap, worded in one fact, and the row offered is the one that was dropped."""
    faults = prove(with_settings(BOOK.settings[1:])).faults
    assert [f.kind for f in faults][:1] == ["gap"] and faults[0].facts == {"test_tasks": "shifted"}
    assert faults[0].points == 12 and faults[0].rows == ({"test_tasks": ("shifted",)},)
    assert rulebook.as_row(faults[0].rows[0]) == 'when = { test_tasks = ["shifted"] }'


def test_a_hidden_row_is_dead() -> None:
    """A row that rows of higher priority cover wholly is dead, and they are named."""
    extra = Setting("extra", {"test_tasks": ("shifted",), "task_belief": ("required",)}, "pearl", 99, "")
    faults = table_faults((*BOOK.settings, extra), BOOK.decisive)
    assert [f.kind for f in faults] == ["dead_row"]
    assert "`extra`" in faults[0].message and "`shifted`" in faults[0].message


def test_a_tie_of_priority_is_a_fault() -> None:
    """Priority is a total order: two settings with one number are named."""
    tied = tuple(replace(s, priority=3) if s.id == "no_gradient" else s for s in BOOK.settings)
    assert [f.kind for f in table_faults(tied, BOOK.decisive)] == ["priority"]


@pytest.mark.parametrize("row", BOOK.settings, ids=lambda s: s.id)
def test_every_swapped_outcome_contradicts_a_golden_scenario(row: Setting) -> None:
    """A row with any other verdict is a fault of the proof, through a scenario that was not written from the table."""
    for verdict in {s.recommend for s in BOOK.settings} - {row.recommend}:
        kinds = {f.kind for f in prove(swapped(row.id, verdict)).faults}
        assert "golden" in kinds


def test_a_verdict_that_nothing_reaches_is_a_fault() -> None:
    """Swapping its only outcome leaves a verdict unreachable, and the proof says which."""
    faults = [f for f in prove(swapped("no_gradient", "maml")).faults if f.kind == "unreachable_verdict"]
    assert [f.where for f in faults] == ["verdicts, rl2"]


def test_without_golden_scenarios_no_swap_is_killed() -> None:
    """It is the golden scenarios that notice a swapped outcome: without them each row is a fault that says where one is needed; with one
    for a part of a row, the points outside it are."""
    bare = replace(BOOK, entries={**BOOK.entries, "golden": {}, "scenarios": {}})
    proof = prove(bare)
    assert proof.outcome_swaps_killed == 0
    assert [f.where for f in proof.faults] == [f"settings, {s.id}" for s in BOOK.settings]
    assert all("add a [[golden]] entry" in f.advice for f in proof.faults)
    part = {"g15_shift_before_single": BOOK.entries["golden"]["g15_shift_before_single"]}
    faults = prove(replace(BOOK, entries={**BOOK.entries, "golden": part, "scenarios": {}})).faults
    points = [f.facts for f in faults if f.where == "settings, shifted"]
    assert points == [p for p in POINTS if p["test_tasks"] == "shifted" and p["training_tasks"] != "single"]


def test_judging_a_golden_scenario() -> None:
    """A scenario agrees, is contradicted, or is left open where a fact that it does not state decides."""
    case = Golden("g", {}, "rl2", (0, 1))
    assert judge(case, ["rl2", "rl2", "maml"]) == "agrees"
    assert judge(case, ["rl2", "maml"]) == "left_open"
    assert judge(case, ["pearl", "maml"]) == "contradicts"
    assert judge(replace(case, verdict="undecided"), ["rl2", "maml"]) == "agrees"
    assert judge(replace(case, verdict="undecided"), ["rl2", "rl2"]) == "contradicts"


def test_a_rule_set_differs_from_itself_nowhere() -> None:
    """No point, no entry."""
    same = compare(BOOK, BOOK)
    assert same.compared == 36 and not same.points and not same.groups and not same.entries


def test_the_difference_names_every_point_and_no_other() -> None:
    """A swapped row differs at exactly its points, and the groups cover them without overlap."""
    for row in BOOK.settings:
        found = compare(BOOK, swapped(row.id, "pearl" if row.recommend != "pearl" else "maml"))
        expected = [p for p in POINTS if holds(row.when, p)]
        assert [dict(p.facts) for p in found.points] == expected
        assert all(p.a.rule == p.b.rule == row.id for p in found.points)
        for p in POINTS:
            assert sum(all(p[n] in cell for n, cell in g.facts.items()) for g in found.groups) == (p in expected)
        assert sum(g.points for g in found.groups) == len(expected)


def test_the_difference_knows_values_that_only_one_side_has() -> None:
    """Where a rule set does not know a value it has no advice, and the point counts as different."""
    fact = BOOK.facts["task_belief"]
    wider = replace(fact, values=(*fact.values, "sometimes"))
    settings = tuple(
        replace(s, when={**s.when, "task_belief": (*s.when["task_belief"], "sometimes")})
        if s.when.get("task_belief") == ("required",)
        else s
        for s in BOOK.settings
    )
    other = replace(BOOK, facts={**BOOK.facts, "task_belief": wider}, settings=settings)
    found = compare(BOOK, other)
    assert found.compared == 54 and len(found.points) == 18
    assert all(p.a.verdict is None and p.b.verdict for p in found.points)
