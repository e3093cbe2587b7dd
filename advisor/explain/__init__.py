"""Stage 4: Recommendation -> what a person reads. Terminal and Markdown are made from the same sections."""

from ..engine import Recommendation
from ..rulebook import Rulebook
from .model import Explanation, Line, Section, percent, printable
from .render import hanging, to_markdown, to_terminal
from .sections import marks, sections

__all__ = ["Explanation", "Line", "Section", "explain", "hanging", "percent", "printable", "to_markdown", "to_terminal"]


def explain(text: str, recommendation: Recommendation, book: Rulebook) -> Explanation:
    """The explanation of a recommendation for a description (which may be empty)."""
    verdict = book.entries["verdicts"][recommendation.verdict]
    sure = recommendation.confidence
    doubt = f" ({percent(sure)} sure)" if recommendation.verdict != "undecided" and sure < 1 else ""
    return Explanation(
        title=f"{verdict['label']}{doubt}",
        headline=str(verdict["headline"]),
        text=text,
        marks=marks(recommendation),
        sections=sections(recommendation, book),
        version=recommendation.rules_version,
    )
