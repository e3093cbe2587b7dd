"""RunReport -> one self-contained HTML page: the verdict first, then curves and figures. No script, nothing loaded from elsewhere.

matplotlib draws the curves as SVG, in black and white: lines are told apart by dashes and markers. Drawn for
the width of a phone and never shrunk below it, so that the words in a drawing can be read there.
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .judge import Interval
from .report import WORDS, FitReport

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "x")
_WIDTH, _HEIGHT = 4.0, 2.8  # inches; 390 pixels of a phone are a little more than 4


@dataclass(frozen=True)
class Curve:
    """One candidate's curves: the score at each stage of adaptation, and the mean return of each seed as training went on."""

    adaptation: tuple[Interval, ...]
    learning: tuple[tuple[float, ...], ...] = ()  # (seed, iteration); empty where nothing is trained or told


@dataclass(frozen=True)
class RunReport(FitReport):
    """A FitReport with its curves; `unfinished` names the trainings that Ctrl-C kept from ending."""

    curves: Mapping[str, Curve] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()

    def as_json(self) -> bytes:
        """The report as one JSON document; the same report gives the same bytes."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=2).encode() + b"\n"


def page(report: FitReport) -> str:
    """The report as HTML."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("advisor.fit"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    curves = report.curves if isinstance(report, RunReport) else {}
    shown = [c for c in report.candidates if c.admitted]
    drawings = {
        "adaptation": _adaptation(report, {c.name: curves[c.name] for c in shown if c.name in curves}),
        "learning": _learning({c.name: curves[c.name] for c in shown if c.name in curves}),
        "shift": _shift(getattr(report, "shift", None)),
    }
    return environment.get_template("report.html.jinja").render(
        report=report,
        words=WORDS[report.verdict],
        unfinished=report.unfinished if isinstance(report, RunReport) else (),
        shown=shown,
        refused=[c for c in report.candidates if not c.admitted],
        drawings={name: Markup(svg) for name, svg in drawings.items() if svg},
        settings=[(name, _words(value)) for name, value in report.settings.items() if value not in ({}, None)],
        steps=max((c.environment_steps for c in shown), default=0),
    )


def _words(value: Any) -> str:
    """A setting as text: nested settings in one line."""
    if isinstance(value, Mapping):
        parts = (f"{k} ({_words(v)})" if isinstance(v, Mapping) else f"{k} = {_words(v)}" for k, v in value.items())
        return "; ".join(parts) or "as they come"
    if isinstance(value, list | tuple):
        return ", ".join(_words(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _adaptation(report: FitReport, curves: Mapping[str, Curve]) -> str:
    """Score by stage with an interval at each point, side by side; a candidate that does not adapt is a level line."""
    if not curves:
        return ""
    stages = max(len(c.adaptation) for c in curves.values())
    first = 0 if report.stage == "gradient step" else 1  # before any step, but in the first episode
    figure, axes = _canvas(report.stage, "score", len(curves))
    references = {c.name for c in report.candidates if c.role == "reference"}
    for i, (name, curve) in enumerate(curves.items()):
        points = curve.adaptation if len(curve.adaptation) > 1 else curve.adaptation * stages
        figures = [p.figure for p in points]
        if name in references and len(set(figures)) == 1:  # random and oracle: 0 and 1 by definition
            axes.axhline(figures[0], color="grey", linewidth=1.0, linestyle=_DASHES[i % len(_DASHES)], label=name)
            continue
        aside = (i - (len(curves) - len(references) - 1) / 2) * 0.05  # else bars would lie on one another
        axes.errorbar(
            [first + k + aside for k in range(len(points))],
            figures,
            [[p.figure - p.low for p in points], [p.high - p.figure for p in points]],
            color="black",
            linewidth=2.0 if i == 0 else 1.0,
            elinewidth=0.8,
            capsize=2,
            linestyle=_DASHES[i % len(_DASHES)],
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=5,
            markerfacecolor="white",
            label=name,
        )
    levels = [p.figure for c in curves.values() for p in c.adaptation]
    low, high = min([0.0, *levels]), max([1.0, *levels])
    axes.set_ylim(
        low - 0.2 * (high - low), high + 0.2 * (high - low)
    )  # few seeds can give an interval that would dwarf all else
    axes.xaxis.get_major_locator().set_params(integer=True)
    return _svg(figure)


def _learning(curves: Mapping[str, Curve]) -> str:
    """Return by share of the training that has passed, a thin line a seed; candidates behind one training are drawn once."""
    drawn: dict[tuple[tuple[float, ...], ...], str] = {}
    for name, curve in curves.items():
        if any(len(seed) > 1 for seed in curve.learning):
            drawn.setdefault(curve.learning, name)
    if not drawn:
        return ""
    figure, axes = _canvas("share of the training", "return in training", len(drawn))
    for i, (seeds, name) in enumerate(drawn.items()):
        for k, seed in enumerate(seeds):
            x = [(n + 1) / len(seed) for n in range(len(seed))]
            axes.plot(x, _smooth(seed), color="black", linewidth=1.0, linestyle=_DASHES[i % len(_DASHES)],
                      label=name if k == 0 else None)  # fmt: skip
    return _svg(figure)


def _smooth(values: Sequence[float], window: int = 20) -> list[float]:
    """Mean over a stretch of one in `window` of the whole, so that 1000 noisy iterations can be told from one another."""
    width = max(1, len(values) // window)
    return [sum(values[max(0, i - width + 1) : i + 1]) / (i + 1 - max(0, i - width + 1)) for i in range(len(values))]


def _shift(shift: Any) -> str:
    """Score by distance from the training distribution: the recommended, the best control, and what was trained on wider tasks."""
    points = [p for p in getattr(shift, "points", ()) or () if getattr(p, "score", None) is not None]
    if len(points) < 2:
        return ""
    controlled = all(p.control is not None for p in points)
    figure, axes = _canvas("distance from the training distribution", "score", 1 + controlled + len(shift.widths))
    x = [float(p.distance) for p in points]
    axes.plot(x, [p.score.figure for p in points], color="black", marker="o", markersize=4, label="recommended")
    axes.fill_between(
        x, [p.score.low for p in points], [p.score.high for p in points], color="black", alpha=0.12, linewidth=0
    )
    if controlled:
        others = [p.control.figure for p in points]
        axes.plot(
            x,
            others,
            color="black",
            linestyle="--",
            marker="s",
            markersize=4,
            markerfacecolor="white",
            label=shift.control,
        )
    for i, wide in enumerate(shift.widths):
        ends, label = [wide.inside.figure, wide.shifted.figure], f"trained up to distance {wide.width:g}"
        axes.plot([0, 1], ends, color="black", linestyle=_DASHES[(2 + i) % len(_DASHES)], marker=_MARKERS[(2 + i) % len(_MARKERS)],
                  markersize=4, markerfacecolor="white", label=label)  # fmt: skip
    levels = [p.score.figure for p in points] + ([p.control.figure for p in points] if controlled else [])
    low, high = min([0.0, *levels]), max([1.0, *levels])
    axes.set_ylim(low - 0.2 * (high - low), high + 0.2 * (high - low))  # as for the adaptation curves
    return _svg(figure)


def _canvas(x: str, y: str, lines: int) -> tuple[Any, Any]:
    """A figure with room for a legend of so many lines below, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT + 0.2 * lines), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    """The drawing as an SVG element without header, outer references and date: the same report gives the same bytes."""
    import matplotlib

    figure.legend(loc="outside lower center", frameon=False, fontsize=9, handlelength=3.5)
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "advisor", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )
