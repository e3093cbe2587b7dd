"""An explanation as data: a headline, the user's text with its marks, and sections of lines. All of it is plain text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One point of a section, with the details that stand below it. `mark` stands before it instead of a dash."""

    text: str
    details: tuple[str, ...] = ()
    mark: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and its lines."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Explanation:
    """Everything about one scenario. `marks` are (start, end, numbers) of the words that facts were read from, in order and apart."""

    title: str
    headline: str
    text: str
    marks: tuple[tuple[int, int, str], ...]
    sections: tuple[Section, ...]
    version: str

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """The description cut into (words, the numbers of the facts read from them, or empty)."""
        found = []
        at = 0
        for start, end, numbers in self.marks:
            found += [(self.text[at:start], ""), (self.text[start:end], numbers)]
            at = end
        return [(words, numbers) for words, numbers in [*found, (self.text[at:], "")] if words]


def printable(text: str) -> str:
    """Untrusted text with its control characters made visible; line ends and tabs stay."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def percent(probability: float) -> str:
    """Never "100%" for what is not certain."""
    return f"{min(probability, 0.99):.0%}"
