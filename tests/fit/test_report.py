import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from advisor.fit.judge import Interval
from advisor.fit.report import CandidateReport, FitReport, render, sparkline

LINE = CandidateReport("MAML", "recommended", "meta-trained start", True, "", (-12.0, -14.0), (-40.0, -13.0),
                       Interval(0.8, 0.7, 0.9), None, 1000, 5.0)  # fmt: skip
CONTROL = replace(LINE, name="from scratch", role="control", difference=Interval(0.3, 0.2, 0.4))
REFUSED = CandidateReport("fine-tuned", "control", "", False, "needs gradient steps", (), (), None, None, 0, 0.0)
RANDOM = replace(LINE, name="random", role="reference", stages=(-60.0,), score=None)
REPORT = FitReport("w6", "maml", "A stand-in, not your environment: a point.", "fits", "it beats everything", Interval(0.8, 0.7, 0.9), None,
                   (LINE, CONTROL, REFUSED, RANDOM), "gradient step", 3, "smoke", {}, {}, "advisor fit w6", 10.0)  # fmt: skip


def printed(report, width=100):
    out = io.StringIO()
    render(report, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize(
    ("verdict", "words"), [("fits", "FITS"), ("does_not_fit", "DOES NOT FIT"), ("not_enough_evidence", "NOT ENOUGH")]
)
def test_verdict_comes_first(verdict, words):
    """The first line is the verdict, and reason and stand-in follow before any figure."""
    text = printed(replace(REPORT, verdict=verdict))
    assert text.startswith(words)
    assert text.index("It beats everything") < text.index("A stand-in, not your environment") < text.index("0.80")


def test_everything_is_shown():
    """Each candidate, the reason for a refusal, the lag with its interval, and the command that repeats it are all printed."""
    text = printed(REPORT)
    for piece in ("MAML", "from scratch", "random", "not admitted: fine-tuned, needs gradient steps", "+0.30 (+0.20 to +0.40)",
                  "advisor fit w6", "▄█"):  # fmt: skip
        assert piece in text, piece


def test_json_round_trip():
    """The report as a dict survives JSON unchanged, no number is infinite, and nothing of a candidate is lost."""
    data = REPORT.as_dict()
    assert json.loads(json.dumps(data, allow_nan=False))["candidates"][0]["score"] == {
        "figure": 0.8,
        "low": 0.7,
        "high": 0.9,
    }


def test_sparkline():
    """The lowest value gets the lowest bar, the highest the highest, and a flat curve does not divide by zero."""
    assert sparkline((0.0, 0.5, 1.0), 0.0, 1.0) == "▁▅█"
    assert sparkline((1.0, 1.0), 1.0, 1.0) == "▁▁"
