"""`ask`: its conversation by itself, with a file of answers, and in a real pseudo-terminal."""

import json
import os
import re
import signal
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from advisor import rulebook
from advisor.ask import FOLLOW_UPS, Question, converse, from_file, review_in_terminal
from advisor.engine import possible_verdicts, recommend
from advisor.errors import MissingAnswer, UnknownFact, UnknownValue
from advisor.facts import Known, establish
from advisor.reader import Span, read
from advisor.scenario import Scenario, from_mapping
from tests.advisor.terminal import Terminal, plain
from tests.conftest import Run

BOOK = rulebook.load()
MAML = {
    "training_tasks": "distribution",
    "test_tasks": "new_same_distribution",
    "task_belief": "not_required",
    "adaptation_gradients": "allowed",
}


class Scripted:
    """An answerer that takes the answers one after another and keeps the questions; then it says that it does not know."""

    def __init__(self, *answers: str) -> None:
        self.left: Iterator[str] = iter(answers)
        self.questions: list[Question] = []

    def __call__(self, question: Question) -> str:
        self.questions.append(question)
        return next(self.left, "unknown")

    @property
    def asked(self) -> list[str]:
        return [question.fact.id for question in self.questions]


def truthful(question: Question) -> str:
    return MAML.get(question.fact.id, "unknown")


def test_back_returns_to_the_question_before() -> None:
    """`back` takes the last answer away and asks it again; at the first question it asks that one again."""
    first = BOOK.facts["test_tasks"]
    answer = Scripted("back", first.values[0], "back")
    converse(Scenario("s"), BOOK, answer, follow_ups=False)
    assert answer.asked[0] == answer.asked[1] == answer.asked[3]


def test_dont_know_everywhere_ends_undecided() -> None:
    """With nothing known the conversation ends undecided, each decisive fact asked once and no follow-up at all."""
    answer = Scripted()
    _, recommendation = converse(Scenario("s"), BOOK, answer)
    assert recommendation.verdict == "undecided" and sorted(answer.asked) == sorted(f.id for f in BOOK.decisive)


def test_only_what_is_open_is_asked() -> None:
    """Facts that the file states are not asked for, and the verdict is that of the answers."""
    told = Scenario("s", "", {"test_tasks": "new_same_distribution", "training_tasks": "distribution"})
    answer = Scripted("not_required", "allowed")
    said, recommendation = converse(told, BOOK, answer, follow_ups=False)
    assert set(answer.asked) == {"task_belief", "adaptation_gradients"} and recommendation.verdict == "maml"
    assert said.facts == MAML


def test_every_question_says_where_each_answer_leads() -> None:
    """The verdicts shown for an answer are those still possible after it."""
    answer = Scripted("new_same_distribution")
    converse(Scenario("s"), BOOK, answer, follow_ups=False)
    for question in answer.questions[:1]:
        for value, verdicts in question.leads.items():
            assert verdicts == possible_verdicts({question.fact.id: value}, BOOK)
    assert all(len(set(q.leads.values())) > 1 for q in answer.questions)


def test_an_assumption_can_be_overruled() -> None:
    """The review names a fact, it is asked again, and the new answer counts."""
    told = Scenario("s", "", {**MAML, "adaptation_gradients": "unknown"})
    reviews = iter(["task_belief", None])
    answer = Scripted("allowed", "required")
    _, recommendation = converse(told, BOOK, answer, follow_ups=False, review=lambda known: next(reviews))
    assert answer.asked == ["adaptation_gradients", "task_belief"] and recommendation.verdict == "pearl"


def test_dont_know_survives_saving() -> None:
    """An assumption and a reading that "don't know" took back stay away when the saved scenario is read again."""
    text = "The arm is trained on thousands of generated objects and in the field meets new objects it has never seen. Its weights are frozen."
    told = Scenario("s", text)
    before = establish(told, BOOK, read(text, asking=True))
    assert before["task_belief"].source == "assumed" and before["adaptation_gradients"].source == "text"
    reviews = iter(["task_belief", "adaptation_gradients", None])
    said, recommendation = converse(told, BOOK, Scripted(), follow_ups=False, review=lambda known: next(reviews))
    assert said.facts == {"task_belief": "unknown", "adaptation_gradients": "unknown"}
    again = from_mapping({"id": said.id, "description": said.text, "facts": said.facts}, "x", "s.json")
    assert again.facts == said.facts
    known = establish(again, BOOK, read(again.text, asking=True))
    assert recommendation.verdict == recommend(known, BOOK).verdict == "undecided"
    assert {"task_belief", "adaptation_gradients"}.isdisjoint(known) and known == recommendation.facts


def test_dont_know_takes_a_stated_fact_back() -> None:
    """A fact of the file that "don't know" took back is not saved again."""
    reviews = iter(["task_belief", None])
    said, _ = converse(Scenario("s", "", MAML), BOOK, Scripted(), follow_ups=False, review=lambda known: next(reviews))
    assert said.facts == {name: value for name, value in MAML.items() if name != "task_belief"}


def test_a_changed_answer_opens_what_it_makes_open() -> None:
    """A change in the review that leaves the verdict open brings the questions that settle it, and another review."""
    told = Scenario("s", "", {"test_tasks": "shifted"})
    reviews = iter(["test_tasks", None])
    seen: list[set[str]] = []

    def review(known: object) -> str | None:
        seen.append(set(known))  # type: ignore[call-overload]
        return next(reviews)

    def answer(question: Question) -> str:
        return truthful(question)

    _, recommendation = converse(told, BOOK, answer, follow_ups=False, review=review)
    assert recommendation.verdict == "maml" and seen == [{"test_tasks"}, set(MAML)]


def test_follow_ups_come_after_the_verdict_and_never_change_it() -> None:
    """Each follow-up is optional, asked once the verdict stands, and its answer brings its mitigations."""
    answer = Scripted("present")
    _, recommendation = converse(Scenario("s", "", MAML), BOOK, answer)
    assert answer.asked == [name for name in FOLLOW_UPS if name in answer.asked] and answer.asked
    assert all(question.optional and not question.leads for question in answer.questions)
    assert recommendation.verdict == "maml" and recommendation.concerns == (answer.asked[0],)


def test_no_follow_up_where_nothing_is_shared() -> None:
    """One task alone gets no questions on trouble between tasks."""
    answer = Scripted()
    converse(Scenario("s", "", {"training_tasks": "single", "test_tasks": "same_as_training"}), BOOK, answer)
    assert answer.asked == []


def test_the_summary_quotes_all_words_behind_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact that rests on two places of the text shows both, and no control character of them."""
    monkeypatch.setattr("advisor.ask.typed_line", lambda console: "")
    console = Console(record=True, width=200, file=StringIO())
    spans = tuple(Span(0, 1, text) for text in ("it never saw this field", "weights are\x1b frozen"))
    told = {"adaptation_gradients": Known("not_allowed", 0.9, "text", spans)}
    assert review_in_terminal(console, BOOK)(told) is None
    assert "(read from your text: “it never saw this field”, “weights are\ufffd frozen”)" in console.export_text()


def test_back_from_a_follow_up_reaches_the_answer_before_and_the_review() -> None:
    """After `back` the decisive answer is asked again, and the review comes again."""
    reviews: list[int] = []
    answer = Scripted("allowed", "back", "not_allowed")
    told = Scenario("s", "", {k: v for k, v in MAML.items() if k != "adaptation_gradients"})
    _, recommendation = converse(told, BOOK, answer, review=lambda known: reviews.append(len(known)))
    assert recommendation.verdict == "rl2" and reviews == [4, 4]
    assert answer.asked[0] == answer.asked[2] == "adaptation_gradients"


def test_answers_of_a_file_beat_what_was_assumed() -> None:
    """A stated answer counts even where its question would not have been asked."""
    text = "Our robot arm meets new objects each day that it has never seen, and its weights are frozen on delivery."
    stated = {**MAML, "task_belief": "required"}
    _, recommendation = converse(Scenario("s", text), BOOK, from_file(stated, BOOK), given=stated, follow_ups=False)
    assert recommendation.verdict == "pearl" and recommendation.facts["task_belief"].source == "answer"


def test_a_file_of_answers_is_checked() -> None:
    """Unknown facts and values are named with the nearest; an open question that the file does not answer is named too."""
    with pytest.raises(UnknownFact, match="test_taks"):
        from_file({"test_taks": "shifted"}, BOOK)
    with pytest.raises(UnknownFact, match="nonsense"):
        from_file({"nonsense": "unknown"}, BOOK)
    with pytest.raises(UnknownValue, match="shiftd"):
        from_file({"test_tasks": "shiftd"}, BOOK)
    with pytest.raises(MissingAnswer, match="is open"):
        converse(Scenario("s"), BOOK, from_file({}, BOOK))


# --- as a command ---------------------------------------------------------------------------------------------------------------


def test_with_answers_and_without_a_terminal(advisor: Run, tmp_path: Path) -> None:
    """`--answers FILE` prompts nothing, prints the recommendation and saves the scenario, which explains to the same verdict."""
    (tmp_path / "a.yaml").write_text("".join(f"{name}: {value}\n" for name, value in MAML.items()))
    done = advisor("ask", "--answers", "a.yaml", "--save", "s.yaml", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["recommendation"] == "maml"
    assert json.loads(advisor("explain", "s.yaml", "--json").stdout)["recommendation"] == "maml"
    again = advisor("ask", "--answers", "a.yaml", "--save", "s.yaml")
    assert again.returncode == 2 and "error[cannot-write]: s.yaml: exists already" in again.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("test_tasks: shiftd\n", [], ["error[unknown-value]", "a.yaml", "did you mean `shifted`?"]),
        ("test_tasks: unknown\n", [], ["error[missing-answer]", "a.yaml", "| unknown"]),
        ("test_tasks: shifted\n", ["--save", "s.txt"], ["error[cannot-write]: s.txt", ".yaml"]),
    ],
)
def test_a_slip_is_one_message(
    advisor: Run, tmp_path: Path, content: str, arguments: list[str], words: list[str]
) -> None:
    """What is wrong with the answers or the name is said once, with place and next step, and nothing is written."""
    (tmp_path / "a.yaml").write_text(content)
    done = advisor("ask", "--answers", "a.yaml", *arguments)
    assert done.returncode == 2 and all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr and [p.name for p in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize("columns", [40, 120])
def test_a_whole_conversation(tmp_path: Path, columns: int) -> None:
    """In a terminal: text, why, a slip, back, the summary with an assumption overruled, follow-ups, saving, and the offers."""
    terminal = Terminal(tmp_path, "ask", columns=columns)
    terminal.until("\n> ")
    terminal.type("Our arm is trained on thousands of generated objects.\n")
    terminal.until(". ")
    terminal.type("In the field it meets new objects of that kind that it has never seen before.\n")
    terminal.until("\n. ")
    seen = terminal.answer("")
    why = terminal.answer("?")
    assert "->" in why and "MAML" in why
    assert "none of" in terminal.answer("9")
    seen = why
    for _ in range(8):  # the questions that the text leaves open, then the summary
        seen = terminal.answer("1" if "weights change" in seen else "2")
        if "Enter goes on" in seen:
            break
    assert "your answer" in seen
    changed = terminal.answer("1")
    assert "u don't know" in changed
    for _ in range(8):
        seen = terminal.answer("2")
        if "Enter goes on" in seen:
            break
    first = terminal.answer("")
    assert "The verdict stands" in first
    assert "Enter skip" in terminal.answer("")
    ending = terminal.answer("s")
    assert "Recommended: " in ending and "Save the scenario" in ending
    assert "error[cannot-write]" in terminal.answer("s.txt")
    assert "saved: s.yaml" in terminal.answer("s.yaml")
    assert "Smoke-train" in terminal.answer("")
    terminal.type("n\n")
    terminal.rest()
    assert terminal.process.returncode == 0
    saved = json.loads((tmp_path / "s.yaml").read_text())
    assert saved["facts"] and saved["description"].count("\n") == 1
    assert "\x1b[3" not in terminal.seen and "\x1b[9" not in terminal.seen
    assert (
        max(len(line) for line in terminal.seen.replace("\r\n", "\n").split("\n") if "> " not in line[:2])
        <= columns + 60
    )


def test_colours_only_without_no_color(tmp_path: Path) -> None:
    """NO_COLOR takes the colours away, and without it a slip is coloured."""
    coloured = {}
    for colour in (True, False):
        terminal = Terminal(tmp_path, "ask", colour=colour)
        terminal.until("\n> ")
        terminal.answer("")
        terminal.answer("9")
        coloured[colour] = "\x1b[33m" in terminal.seen
        terminal.type("\x04")
        terminal.rest()
    assert coloured == {True: True, False: False}


def test_an_assumption_is_shown_as_one_and_can_be_overruled_at_the_keyboard(tmp_path: Path) -> None:
    """What the text leaves unsaid stands under its own heading, and typing its number and another answer changes the verdict."""
    (tmp_path / "s.md").write_text(
        "The arm is trained on thousands of generated objects. In the field it meets new objects that it has never seen before. "
        "The weights are frozen on deployment, no gradient updates are possible."
    )
    terminal = Terminal(tmp_path, "ask", "s.md", columns=100)
    summary = plain(terminal.until("\n> "))
    for _ in range(4):
        if "Enter goes on" in summary:
            break
        summary = terminal.answer("2")
    assumed = summary.partition("Assumed, for nothing was said")[2]
    number = re.search(r"(\d) Must it keep an explicit belief", assumed)
    assert number is not None, summary
    terminal.answer(number[1])
    terminal.answer("1")
    terminal.answer("")
    assert "Recommended: PEARL" in terminal.answer("s")
    terminal.type("\x04")
    assert "error[end-of-input]" in terminal.rest()


def test_dont_know_survives_the_file_that_ask_saves(advisor: Run, tmp_path: Path) -> None:
    """What `--answers` does not know is saved as such, and `explain` of the saved file reads it from the text no more."""
    text = "The arm is trained on thousands of generated objects and in the field meets new objects it has never seen. Its weights are frozen."
    (tmp_path / "s.md").write_text(text)
    (tmp_path / "a.yaml").write_text("adaptation_gradients: unknown\n")
    assert json.loads(advisor("explain", "s.md", "--json").stdout)["recommendation"] == "rl2"
    asked = advisor("ask", "s.md", "--answers", "a.yaml", "--save", "new.yaml", "--json")
    assert asked.returncode == 0, asked.stderr
    shown = json.loads(advisor("explain", "new.yaml", "--json").stdout)
    assert shown["possible"] == json.loads(asked.stdout)["possible"] == ["maml", "rl2"]


@pytest.mark.parametrize("after", ["description", "question"])
@pytest.mark.parametrize(("keys", "code", "words"), [("\x04", 2, "error[end-of-input]"), (None, 130, "error[stopped]")])
def test_ends_with_one_clear_line(tmp_path: Path, after: str, keys: str | None, code: int, words: str) -> None:
    """Ctrl-D and Ctrl-C end it at any prompt with one line, the right exit code and no traceback."""
    terminal = Terminal(tmp_path, "ask")
    terminal.until("\n> ")
    if after == "question":
        terminal.answer("")
    if keys is None:
        os.killpg(terminal.process.pid, signal.SIGINT)
    else:
        terminal.type(keys)
    rest = terminal.rest()
    assert terminal.process.returncode == code and words in rest and "Traceback" not in terminal.seen
    assert rest.count("error[") == 1


def test_bytes_that_are_no_text_are_asked_again(tmp_path: Path) -> None:
    """Unreadable bytes at a prompt are no crash."""
    terminal = Terminal(tmp_path, "ask")
    terminal.until("\n> ")
    os.write(terminal.master, b"\xff\xfe\n")
    terminal.type("\n")
    terminal.until("u don't know")
    terminal.type("\x04")
    terminal.rest()
    assert terminal.process.returncode == 2 and "Traceback" not in terminal.seen
