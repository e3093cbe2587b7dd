"""FitReport: what was trained, what came of it, and how it reads on a terminal or as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .concerns import Concern, Diagnosis
from .judge import Interval
from .shift import Shift

WORDS = {"fits": "FITS", "does_not_fit": "DOES NOT FIT", "not_enough_evidence": "NOT ENOUGH EVIDENCE"}
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class CandidateReport:
    """One line. A candidate that was not admitted has a reason and no figures; scores run from 0 (random) to 1 (oracle or optimum)."""

    name: str
    role: str  # recommended, control or reference
    says: str
    admitted: bool
    reason: str  # why it was not admitted
    returns: tuple[float, ...]  # of each seed, mean over tasks, undiscounted
    stages: tuple[float, ...]  # the adaptation curve: mean return at each stage
    score: Interval | None
    difference: Interval | None  # recommended minus this one, in score
    environment_steps: int  # of training, one seed
    cpu_seconds: float  # of the training behind it, all seeds; lines that share a training share the figure


@dataclass(frozen=True)
class FitReport:
    """The result of a fit. `verdict`: fits, does_not_fit or not_enough_evidence."""

    scenario: str
    recommendation: str
    stand_in: str
    verdict: str
    reason: str
    score: Interval
    more_seeds: int | None
    candidates: tuple[CandidateReport, ...]
    stage: str  # what a stage of adaptation is
    seeds: int
    budget: str
    settings: dict[str, Any]
    versions: dict[str, str]
    command: str
    cpu_seconds: float  # all trainings and tests
    means: str = ""  # what a better control says about the recommendation
    left_out: tuple[str, ...] = ()  # of the scenario, by the stand-in
    shift: Shift | None = None  # performance off the training distribution
    concerns: Diagnosis | None = None  # of multi-task training, found or not
    to_shift: str = ""  # how the user's own environment would draw tasks off the training distribution, where it can't

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON."""
        return asdict(self)


def sparkline(values: tuple[float, ...], low: float, high: float) -> str:
    """One bar a value, from `low` to `high`; what lies outside is cut to the nearest bar."""
    span = max(high - low, 1e-9)
    return "".join(_BARS[round(min(max((v - low) / span, 0.0), 1.0) * (len(_BARS) - 1))] for v in values)


def render(report: FitReport, console: Console) -> None:
    """Prints verdict, reason, the table of candidates, what was refused, and the command that repeats it."""
    head = Text(
        WORDS[report.verdict],
        style={"fits": "bold green", "does_not_fit": "bold red"}.get(report.verdict, "bold yellow"),
    )
    console.print(head + Text(f"  {report.recommendation} for {report.scenario}", style="default"))
    console.print(Text(report.reason[:1].upper() + report.reason[1:] + "."))
    console.print(Text(f"\n{report.stand_in}\n", style="italic"))
    table = Table(box=None, pad_edge=False)
    for name in ("", "return", "score", "95 %", "behind"):
        table.add_column(name, justify="right" if name else "left", no_wrap=name != "")
    table.add_column("")
    table.add_column("CPU s", justify="right")
    shown = [c for c in report.candidates if c.admitted]
    low = min((v for c in shown for v in c.stages), default=0.0)
    high = max((v for c in shown for v in c.stages), default=0.0)
    for c in shown:
        mean = sum(c.returns) / len(c.returns)
        row = [c.name, f"{mean:.2f}", *_figures(c), sparkline(c.stages, low, high) if len(c.stages) > 1 else ""]
        row.append("" if c.role == "reference" else f"{c.cpu_seconds:.1f}")
        table.add_row(
            *(Text(cell) for cell in row),
            style="bold" if c.role == "recommended" else "dim" if c.role == "reference" else "",
        )
    console.print(table)
    note = "score: 0 random, 1 oracle or optimum; behind: its lag in score behind the recommended"
    bars = f"; bars: return by {report.stage}" if any(len(c.stages) > 1 for c in shown) else ""
    console.print(Text(note + bars))
    if report.more_seeds is not None:
        minutes = report.more_seeds * report.cpu_seconds / report.seeds / 60
        more = f"--seeds {report.seeds + report.more_seeds}, about {minutes:.1f} CPU minutes more than this run"
        console.print(Text(f"to settle it: {more}"))
    for c in report.candidates:
        if not c.admitted:
            console.print(Text(f"not admitted: {c.name}, {c.reason}"))
    if report.shift is not None:
        points = report.shift.points
        bars = sparkline(tuple(p.score.figure for p in points), 0.0, 1.0)
        ends = f" {bars} score at distance {points[0].distance:g} to {points[-1].distance:g}" if len(points) > 1 else ""
        console.print(Text(f"off the training distribution:{ends}"))
        for sentence in report.shift.says.removesuffix(".").split(". "):
            console.print(Text(f"  {sentence}."))
    for line in report.to_shift.splitlines():
        console.print(Text(f"  {line}"))
    if report.concerns is not None:
        console.print(Text(f"concerns of multi-task training, {report.concerns.note}:"))
        for concern in report.concerns.concerns:
            console.print(Text(f"  {says(concern)}"))
    steps = max((c.environment_steps for c in shown), default=0)
    console.print(Text(
        f"{report.seeds} seeds, budget {report.budget}, {steps:,} training steps granted to each, {report.cpu_seconds:.0f} CPU s in all"
    ))  # fmt: skip
    console.print(Text(f"again: {report.command}"))


def says(concern: Concern) -> str:
    """One line: whether it was found, what to try first, and what was measured against which threshold."""
    ways = ", then ".join(step.label for step in concern.advice)
    verdict = f"found; try first: {ways}" if ways else "found" if concern.present else "not found"
    ends = f"{min(concern.values):.2f} to {max(concern.values):.2f} over the seeds"
    return f"{concern.id}: {verdict} ({concern.meaning}: {concern.value:.2f}, {ends}; threshold {concern.threshold:g})"


def _figures(candidate: CandidateReport) -> tuple[str, str, str]:
    """Score, its interval, and the lag behind the recommended."""
    score, lag = candidate.score, candidate.difference
    return (
        "" if score is None else f"{score.figure:.2f}",
        "" if score is None else f"{score.low:.2f} to {score.high:.2f}",
        "" if lag is None else f"{lag.figure:+.2f} ({lag.low:+.2f} to {lag.high:+.2f})",
    )
