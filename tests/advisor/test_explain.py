"""The explanation: complete, both ways, readable at 40 columns, and deaf to markup in the user's text."""

import io
import re

import pytest
from rich.console import Console

from advisor import rulebook
from advisor.engine import Recommendation, decide, recommend
from advisor.explain import Explanation, explain, to_markdown, to_terminal
from advisor.explain.render import plain
from advisor.facts import Known
from advisor.reader import Span

BOOK = rulebook.load()
TEXT = "Our arm meets new shapes.\nIts weights are frozen, and gradients fight."


def span(words: str) -> Span:
    start = TEXT.index(words)
    return Span(start, start + len(words), words)


FACTS = {
    "test_tasks": Known("new_same_distribution", 0.9, "text", (span("new shapes"),)),
    "adaptation_gradients": Known("not_allowed", 0.97, "text", (span("weights are frozen"),)),
    "gradient_interference": Known("present", 0.8, "text", (span("gradients fight"),)),
    "training_tasks": Known("distribution", 0.99, "assumed"),
    "task_belief": Known("not_required", 1.0, "answer"),
}


def told(recommendation: Recommendation, text: str = "") -> Explanation:
    return explain(text, recommendation, BOOK)


def section(explanation: Explanation, title: str) -> str:
    """The words of the section whose title begins so."""
    found = [s for s in explanation.sections if s.title.startswith(title)]
    assert len(found) == 1, [s.title for s in explanation.sections]
    return "\n".join(part for line in found[0].lines for part in (f"{line.mark} {line.text}", *line.details))


def titles(explanation: Explanation) -> list[str]:
    return [s.title for s in explanation.sections]


def terminal(explanation: Explanation, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    to_terminal(explanation, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_was_understood_assumed_and_not_found_stand_apart() -> None:
    """Each known fact stands in the section of its source, with its words; each fact that could still decide is named as not found."""
    facts = {name: known for name, known in FACTS.items() if name != "task_belief"}
    explanation = told(recommend(facts, BOOK), TEXT)
    understood, assumed = section(explanation, "What was understood"), section(explanation, "Assumed")
    assert "test_tasks = new_same_distribution (read, 90% sure): “new shapes”" in understood
    assert "training_tasks" in assumed and "training_tasks" not in understood
    assert "task_belief" in section(explanation, "Not found")


def test_marks_point_at_the_words() -> None:
    """The numbers in the text are those of the facts, in the order of the words, and the words are those of the evidence."""
    explanation = told(recommend(FACTS, BOOK), TEXT)
    marked = {numbers: words for words, numbers in explanation.pieces if numbers}
    assert marked == {"1": "new shapes", "2": "weights are frozen", "3": "gradients fight"}
    assert "".join(words for words, _ in explanation.pieces) == TEXT
    understood = section(explanation, "What was understood").splitlines()
    assert understood[1].startswith("[1] test_tasks") and understood[2].startswith("[2] adaptation_gradients")


def test_words_behind_two_facts_are_marked_once() -> None:
    """Overlapping evidence is one mark with both numbers."""
    facts = {**FACTS, "task_identity": Known("hidden", 0.8, "text", (span("shapes"),))}
    explanation = told(recommend(facts, BOOK), TEXT)
    assert ("new shapes", "1,2") in explanation.pieces


@pytest.mark.parametrize("point", BOOK.points(), ids=lambda p: "-".join(p.values()))
def test_the_decision_record_is_told_whole(point: dict[str, str]) -> None:
    """At every full point: the rule, a reason against each other verdict, the forcing facts, and every change that leads elsewhere."""
    recommendation = recommend({n: Known(v, 1.0, "file") for n, v in point.items()}, BOOK)
    record = decide(point, BOOK)
    explanation = told(recommendation)
    others = section(explanation, "Why not the others").splitlines()
    assert len(others) == len(record.excluded) == len({s.recommend for s in BOOK.settings}) - 1
    for out in record.excluded:
        label = BOOK.entries["verdicts"][out.verdict]["label"]
        assert any(line.strip().startswith(f"{label}: excluded by") for line in others)
    why = section(explanation, "Why (rule")
    for names in record.forced_by:
        assert ", ".join(f"{n} = {point[n]}" for n in names) in why
    changes = section(explanation, "What would change it").splitlines() if recommendation.alternatives else []
    assert len(changes) == len(recommendation.alternatives)


def test_undecided_says_what_would_settle_it() -> None:
    """With facts missing: what is possible, the best question, and where each of its answers leads."""
    facts = {n: k for n, k in FACTS.items() if n not in ("adaptation_gradients", "task_belief")}
    explanation = told(recommend(facts, BOOK))
    settle = section(explanation, "What would settle it")
    assert "Still possible: MAML, PEARL, RL²." in settle and "the framing is decided: meta" in settle and "->" in settle
    assert not any(title.startswith("Evidence") for title in titles(explanation))


@pytest.mark.parametrize("verdict", ["multi_task", "maml", "rl2", "pearl", "none_reliable"])
def test_evidence_is_shown_both_ways_as_many_on_either_side(verdict: str) -> None:
    """Every verdict that can be disputed shows findings for and against, with source, strength, how it was read, and limits."""
    points = [{n: Known(v, 1.0, "file") for n, v in point.items()} for point in BOOK.points()]
    explanation = told(next(r for r in (recommend(p, BOOK) for p in points) if r.verdict == verdict))
    lines = next(s for s in explanation.sections if s.title.startswith("Evidence")).lines
    signs = [line.mark for line in lines]
    assert "+" in signs and "-" in signs
    for line in lines:
        if line.mark:
            assert re.search(
                r"\(.*; (strong|mixed|opinion); (read in the paper|second hand|measured here)\)$", line.text
            )
            assert line.details[0].startswith("Limits: ")


def test_mitigations_stand_in_the_order_of_the_literature() -> None:
    """One scale first, then the task's identity, then width, then surgery and heads; a step that is taken already is left out."""
    point = {"training_tasks": "known_set", "test_tasks": "same_as_training", "task_belief": "not_required"}
    facts = {n: Known(v, 1.0, "file") for n, v in {**point, "gradient_interference": "present"}.items()}
    steps = section(told(recommend(facts, BOOK)), "Mitigations")
    order = [
        steps.index(words) for words in ("one scale", "show the policy", "widen", "gradient surgery", "a head for each")
    ]
    assert order == sorted(order)
    facts["task_identity"] = Known("observed", 1.0, "file")
    assert "show the policy" not in section(told(recommend(facts, BOOK)), "Mitigations")


def test_a_concern_quotes_the_writer() -> None:
    """Where a concern was read from the text, its words stand with its mitigations."""
    assert "You wrote “gradients fight”" in section(told(recommend(FACTS, BOOK), TEXT), "Mitigations")


@pytest.mark.parametrize("width", [40, 120])
def test_it_is_readable_at_any_width(width: int) -> None:
    """No line is wider than the terminal, no line has blanks at its end, and every word of the Markdown's headings is there."""
    explanation = told(recommend(FACTS, BOOK), TEXT)
    shown = terminal(explanation, width)
    assert all(len(line) <= width for line in shown.splitlines())
    for title in titles(explanation):
        assert title in " ".join(shown.split())
        assert f"\n## {plain(title)}\n" in to_markdown(explanation)
    assert shown.endswith(f"rules {BOOK.version}\n") and to_markdown(explanation).endswith(f"rules {BOOK.version}\n")


def test_markup_and_control_characters_are_shown_and_not_obeyed() -> None:
    """Escape sequences, rich markup and Markdown in a description, in its marks too, have no effect."""
    text = "[bold red]x[/] \x1b[31m meets *new* `shapes` <b> | # \x07 \u202e"
    start = text.index("*new* `shapes` <b>")
    facts = {"test_tasks": Known("shifted", 0.9, "text", (Span(start, start + 18, "*new* `shapes` <b>"),))}
    explanation = told(recommend(facts, BOOK), text)
    shown, markdown = terminal(explanation, 100), to_markdown(explanation)
    for out in (shown, markdown):
        assert "\x1b" not in out and "\x07" not in out and "\u202e" not in out
    assert "[bold red]x[/]" in shown and "[*new* `shapes` <b>][1]" in shown
    assert r"**\*new\* \`shapes\` \<b\>** \[1\]" in markdown and r"\[bold red\]" in markdown


def test_marked_words_over_a_line_end_stay_bold_in_markdown() -> None:
    """Bold does not reach over a line end, where Markdown would show its stars."""
    text = "It meets new\nshapes daily."
    facts = {"test_tasks": Known("shifted", 0.9, "text", (Span(9, 20, "new\nshapes "),))}
    markdown = to_markdown(told(recommend(facts, BOOK), text))
    assert "> It meets **new**\n> **shapes**" in markdown
