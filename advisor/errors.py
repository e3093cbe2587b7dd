"""Every error a user can meet, as one tree: each has a stable code, the place it concerns, and the next step."""

import difflib
from collections.abc import Iterable


class AdvisorError(Exception):
    """A slip of the user's or a fault in the user's input; the command line prints it and exits with `exit_code`.

    Attributes: `code` (stable, for programs), `message` (what was found), `where` (file, line, entry), `hint` (what to do next).
    """

    code = "error"
    exit_code = 2

    def __init__(self, message: str, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.where, self.hint = message, where, hint

    def at(self, where: str) -> "AdvisorError":
        """The same error with a place: the outer call knows the file, the inner one only the fact."""
        self.where = f"{where}, {self.where}" if self.where else where
        return self

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"error[{self.code}]: {place}{self.message}{hint}"


class RulesError(AdvisorError):
    """A rules file that does not check."""

    code = "bad-rules"
    exit_code = 1

    def __init__(self, message: str, where: str = "", hint: str = "") -> None:
        super().__init__(message, where, hint or "compare it with a shipped entry: advisor rules show ID")


class UnknownFact(AdvisorError):
    code = "unknown-fact"


class UnknownValue(AdvisorError):
    code = "unknown-value"


class UnknownEntry(AdvisorError):
    code = "unknown-entry"


class BadScenario(AdvisorError):
    """A scenario file that can't be read or is no scenario."""

    code = "bad-scenario"


class EmptyScenario(BadScenario):
    code = "empty-scenario"


class TooLarge(BadScenario):
    code = "too-large"


class ContradictingFacts(BadScenario):
    """One file says two things that can't both hold."""

    code = "contradicting-facts"


class MissingFile(AdvisorError):
    code = "missing-file"


class MissingAnswer(AdvisorError):
    """`ask` without a terminal needs an answer that the file of answers does not hold."""

    code = "missing-answer"


class EndOfInput(AdvisorError):
    """The input ended before the questions did."""

    code = "end-of-input"


class Stopped(AdvisorError):
    """Ctrl-C."""

    code = "stopped"
    exit_code = 130


class FolderNotEmpty(AdvisorError):
    code = "folder-not-empty"


class NoProject(AdvisorError):
    """There is no implementation to write or to fit for this verdict."""

    code = "no-project"


class CannotWrite(AdvisorError):
    code = "cannot-write"


class ReaderUnavailable(AdvisorError):
    """A language model was asked to read and can't be reached, or gave no usable answer."""

    code = "reader-unavailable"


class NotRead(ReaderUnavailable):
    """It was there, but gave no usable answer to this text."""


def quoted(name: str, longest: int = 80) -> str:
    """A name out of untrusted input as it may stand in a message: one line, shortened, control characters escaped."""
    shown = name if len(name) <= longest else f"{name[:longest]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in shown)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A hint that offers the known name closest to `name`, or an empty string where none is as similar as `cutoff` (0 to 1)."""
    close = difflib.get_close_matches(name[:200], list(known), n=1, cutoff=cutoff)
    return f"did you mean `{close[0]}`?" if close else ""
