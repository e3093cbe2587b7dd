"""The map from settings to verdicts, as Mermaid and as SVG. Readable without colour."""

from html import escape

from ..rulebook import Rulebook, Setting

_BOX, _VERDICT_X, _VERDICT, _WIDTH = (
    560,
    720,
    180,
    920,
)  # pixels: width of a setting, left edge and width of a verdict, of the whole
_LINE, _PAD, _GAP = 18, 10, 12  # pixels: a line of text, the space around it, the space between boxes
_LETTERS = 78  # of a line in a setting's box


def mermaid(book: Rulebook) -> str:
    """The map from settings to verdicts, in the order of priority."""
    lines = ["flowchart LR"]
    for setting in book.settings:
        label = f"{setting.priority}. {book.entries['settings'][setting.id]['label']}"
        verdict = book.entries["verdicts"][setting.recommend]["label"]
        # prefixes, since an id may be a word of the language (`end`) and a setting may be called like a verdict
        lines.append(f'  s_{setting.id}["{_quoted(label)}"] --> v_{setting.recommend}(["{_quoted(verdict)}"])')
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "".join(c if c.isalnum() or c in " .,:;²-_/()'" else f"#{ord(c)};" for c in " ".join(text.split()))


def svg(book: Rulebook) -> str:
    """The map as a drawing: each setting with its conditions on the left, in the order of priority, an arrow to its verdict on the right."""
    shapes, middles, y = [], {}, _GAP
    for setting in book.settings:
        title = f"{setting.priority}. {setting.id}"
        lines = [line for text in _conditions(setting) for line in _wrapped(text)]
        height = 2 * _PAD + _LINE * (1 + len(lines))
        shapes.append(f'<rect x="{_GAP}" y="{y}" width="{_BOX}" height="{height}"/>')
        shapes.append(_text(_GAP + _PAD, y + _PAD + 13, title, "setting"))
        shapes += [_text(_GAP + _PAD, y + _PAD + 13 + _LINE * (n + 1), line) for n, line in enumerate(lines)]
        middles[setting.id] = y + height / 2
        y += height + _GAP
    verdicts = sorted({s.recommend for s in book.settings}, key=lambda v: _mean(v, book, middles))
    space = y / len(verdicts)
    for n, verdict in enumerate(verdicts):
        centre = space * (n + 0.5)
        label = str(book.entries["verdicts"][verdict]["label"])
        shapes.append(
            f'<rect x="{_VERDICT_X}" y="{centre - 20:.0f}" width="{_VERDICT}" height="40" rx="20" class="verdict"/>'
        )
        shapes.append(_text(_VERDICT_X + _VERDICT // 2, round(centre + 5), label, "label"))
        for setting in (s for s in book.settings if s.recommend == verdict):
            shapes.append(_arrow(_GAP + _BOX, middles[setting.id], _VERDICT_X - 8, centre))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" role="img">',
            "<title>From settings to verdicts</title>",
            "<desc>Each box on the left is a setting with its conditions, in the order of priority; its arrow leads to the verdict.</desc>",
            "<style>rect{fill:#fff;stroke:#000}.verdict{stroke-width:2.5}path{fill:none;stroke:#000}"
            "text{font:13px sans-serif;fill:#000}.setting,.label{font-weight:bold}.label{text-anchor:middle}</style>",
            '<defs><marker id="tip" markerWidth="8" markerHeight="8" refY="4" orient="auto">'
            '<path d="M0 0L8 4L0 8z" style="fill:#000"/></marker></defs>',
            f'<rect width="{_WIDTH}" height="{y}" style="stroke:none"/>',
            *shapes,
            "</svg>",
        ]
    )


def _conditions(setting: Setting) -> list[str]:
    return [f"{name} = {' or '.join(cell)}" for name, cell in setting.when.items()] or ["always"]


def _mean(verdict: str, book: Rulebook, middles: dict[str, float]) -> float:
    own = [middles[s.id] for s in book.settings if s.recommend == verdict]
    return sum(own) / len(own)


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _text(x: int, y: int, words: str, kind: str = "") -> str:
    chosen = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{chosen}>{escape(words)}</text>'


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (x + to_x) / 2
    return f'<path d="M{x:.0f} {y:.0f}C{half:.0f} {y:.0f} {half:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}" marker-end="url(#tip)"/>'
