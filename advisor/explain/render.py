"""Explanation -> terminal or Markdown. The user's text is shown and never obeyed."""

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from .model import Explanation, Line, printable

_SPECIAL = set("\\`*_[]<>#|!~&")


def to_terminal(explanation: Explanation, console: Console) -> None:
    """Prints an explanation, at any width from 40 columns on; markup and control characters of the user's text are neutralised."""
    console.print(Panel(Text(explanation.headline), title=escape(f" {explanation.title} "), title_align="left"))
    if explanation.text.strip():
        console.print(Text("\nYour words", style="bold"))
        told = Text()
        for words, numbers in explanation.pieces:
            told.append(f"[{printable(words)}]" if numbers else printable(words), "bold underline" if numbers else "")
            told.append(f"[{numbers}]" if numbers else "", "dim")
        console.print(told)
    for section in explanation.sections:
        console.print(Text(f"\n{section.title}", style="bold"))
        for line in section.lines:
            _print(line, console)
    console.print(Text(f"\nrules {explanation.version}", style="dim"))


def hanging(console: Console, mark: str, words: str, style: str = "") -> None:
    """Prints words after a mark, wrapped beside it."""
    width = max(console.width - len(mark) - 1, 10)
    for number, line in enumerate(Text(words, style).wrap(console, width)):
        line.rstrip()
        console.print(Text(mark if number == 0 else " " * len(mark)), line)


def _print(line: Line, console: Console) -> None:
    mark = line.mark or "*"
    hanging(console, mark, printable(line.text))
    for detail in line.details:
        hanging(console, " " * len(mark), printable(detail), "dim")


def to_markdown(explanation: Explanation) -> str:
    """An explanation as Markdown; the user's text stands in a quote with its special characters escaped."""
    lines = [f"# {plain(explanation.title)}", "", plain(explanation.headline), ""]
    if explanation.text.strip():
        told = "".join(
            f"{_bold(words)} \\[{numbers}\\]" if numbers else plain(words) for words, numbers in explanation.pieces
        )
        lines += ["## Your words", "", *(f"> {line}".rstrip() for line in told.splitlines()), ""]
    for section in explanation.sections:
        lines += [f"## {plain(section.title)}", ""]
        for line in section.lines:
            mark = f"{plain(line.mark)} " if line.mark else ""
            lines.append(f"- {mark}{plain(line.text)}")
            lines += [f"    - {plain(detail)}" for detail in line.details]
        lines.append("")
    return "\n".join([*lines, f"rules {explanation.version}", ""])


def _bold(words: str) -> str:
    """Bold words of Markdown, line by line and without a space at the edge, where the stars would not count."""
    out = []
    for line in words.split("\n"):
        core = line.strip()
        left, right = line[: len(line) - len(line.lstrip())], line[len(line.rstrip()) :]
        out.append(f"{left}**{plain(core)}**{right}" if core else line)
    return "\n".join(out)


def plain(text: str) -> str:
    """Text in which nothing is Markdown."""
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in printable(text))
