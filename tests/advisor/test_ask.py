"""`ask` in a real pseudo-terminal, and its conversation by itself."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advisor import rulebook
from advisor.ask import converse
from advisor.rulebook import Fact
from advisor.scenario import Scenario

BOOK = rulebook.load()


def scripted(answers: list[str]) -> tuple[list[str], object]:
    """An answerer that takes the answers one after another and keeps what it was asked."""
    asked: list[str] = []
    left = iter(answers)

    def answer(fact: Fact) -> str:
        asked.append(fact.id)
        return next(left, "unknown")

    return asked, answer


def test_back_returns_to_the_question_before() -> None:
    """`back` takes the last answer away and asks it again."""
    first = BOOK.facts["test_tasks"]
    asked, answer = scripted([first.values[0], "back"])
    converse(Scenario("s"), BOOK, answer, follow_ups=False)  # type: ignore[arg-type]
    assert asked[0] == asked[2]


def test_dont_know_everywhere_ends_undecided() -> None:
    """With nothing known the conversation ends, undecided, each decisive fact asked once."""
    asked, answer = scripted([])
    _, recommendation = converse(Scenario("s"), BOOK, answer)  # type: ignore[arg-type]
    assert recommendation.verdict == "undecided" and sorted(asked) == sorted(f.id for f in BOOK.decisive)


def test_only_what_is_open_is_asked() -> None:
    """Facts that the file states are not asked for."""
    told = Scenario("s", "", {"test_tasks": "new_same_distribution", "training_tasks": "distribution"})
    asked, answer = scripted(["not_required", "allowed"])
    said, recommendation = converse(told, BOOK, answer, follow_ups=False)  # type: ignore[arg-type]
    assert set(asked) == {"task_belief", "adaptation_gradients"} and recommendation.verdict in (
        "maml",
        "pearl",
        "undecided",
        "rl2",
    )
    assert set(said.facts) >= set(told.facts)


def test_an_assumption_can_be_overruled() -> None:
    """The review names a fact, it is asked again, and the new answer counts."""
    told = Scenario(
        "s",
        "",
        {"test_tasks": "new_same_distribution", "training_tasks": "distribution", "task_belief": "not_required"},
    )
    asked, answer = scripted(["allowed", "required"])
    reviews = iter(["task_belief", None])
    _, recommendation = converse(told, BOOK, answer, follow_ups=False, review=lambda known: next(reviews))  # type: ignore[arg-type]
    assert asked == ["adaptation_gradients", "task_belief"] and recommendation.verdict == "pearl"


class Terminal:
    """`advisor ask` in a pseudo-terminal."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "advisor", "ask", *arguments],
            stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=env, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self.master, False)
        self.seen = ""

    def until(self, words: str, seconds: float = 60) -> str:
        """Reads until the words appear after what was read before; the limit only ends a test that hangs."""
        start, end = len(self.seen), time.monotonic() + seconds
        while words not in self.seen[start:]:
            try:
                self.seen += os.read(self.master, 65536).decode()
            except BlockingIOError:
                assert time.monotonic() < end and self.process.poll() is None, f"waited for {words!r}: {self.seen}"
                time.sleep(0.02)
            except OSError:  # the other side is closed
                break
        assert words in self.seen[start:], self.seen
        return self.seen[start:]

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())


@pytest.mark.parametrize("columns", [40, 120])
def test_a_whole_conversation(tmp_path: Path, columns: int) -> None:
    """In a terminal: why, a slip, back, don't know and numbers work, and the scenario is saved with the answers."""
    terminal = Terminal(tmp_path, "--save", "s.json", columns=columns)
    terminal.until("> ")
    terminal.type("\n")
    terminal.until("> ")
    terminal.type("?\n")
    terminal.until("> ")
    terminal.type("9\n")
    assert "none of" in terminal.until("> ")
    terminal.type("1\n")
    terminal.until("> ")
    terminal.type("b\n")
    for _ in range(12):
        asked = terminal.until("> ")
        if "Folder for a" in asked:
            break
        if "Enter goes on" in asked.replace("\r\n", " "):
            terminal.type("\n")
        else:
            terminal.type("s\n" if "skip the rest" in asked.replace("\r\n", " ") else "2\n")
    terminal.type("\n")
    terminal.until("> ")
    terminal.type("n\n")
    assert terminal.process.wait(60) == 0
    saved = json.loads((tmp_path / "s.json").read_text())
    assert saved["facts"] and "\x1b[3" not in terminal.seen


@pytest.mark.parametrize(("keys", "code", "words"), [("\x04", 2, "error[end-of-input]"), (None, 130, "error[stopped]")])
def test_ends_with_one_clear_line(tmp_path: Path, keys: str | None, code: int, words: str) -> None:
    """Ctrl-D and Ctrl-C end it with one line and no traceback."""
    terminal = Terminal(tmp_path)
    terminal.until("> ")
    if keys is None:
        os.killpg(terminal.process.pid, signal.SIGINT)
    else:
        terminal.type(keys)
    terminal.until(words)
    assert terminal.process.wait(60) == code and "Traceback" not in terminal.seen
