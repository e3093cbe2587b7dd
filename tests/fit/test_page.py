import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from advisor.fit import page
from tests.fit.small import report

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
VOID = {"meta", "br", "img", "hr", "link", "input"}


class Reader(HTMLParser):
    """Tags that are open and all text outside of style."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.tags, self.targets = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.targets += [v for k, v in attributes if k in ("src", "href", "xlink:href", "action") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def opened(html, tmp_path):
    """The page as a browser shows it where there is one, else as it is written: the same page either way."""
    if CHROMIUM is None:
        return html
    file = tmp_path / "report.html"
    file.write_text(html)
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def test_page_opens_with_the_verdict_first(tmp_path):
    """Opened, the page shows the verdict before anything else, then every candidate, the curves and how to repeat it."""
    reader = read(opened(page(report()), tmp_path))
    text = " ".join(" ".join(reader.words).split())
    body = text[text.index("FITS", text.index("FITS") + 1) :]  # the first is the title
    order = ["FITS", "maml for w6", "It beats everything", "A stand-in, not your environment", "MAML", "from <scratch>", "0.70 to 0.90",
             "+0.20 to +0.40", "not admitted", "needs gradient steps", "Left out: all else.", "advisor fit w6", "torch 2"]  # fmt: skip
    places = [body.index(piece) for piece in order]
    assert places[:4] == sorted(places[:4])
    assert reader.tags.count("svg") == 2  # adaptation and learning


def test_page_needs_nothing_else():
    """No script, no address to load from, and nothing from the scenario that could become markup."""
    nasty = "<script>alert(1)</script>&\"'"
    html = page(report(scenario=nasty, reason=nasty, command=nasty))
    reader = read(html)
    assert "script" not in reader.tags and "link" not in reader.tags
    assert all(target.startswith("#") for target in reader.targets)
    assert not re.search(r"url\((?!#)|@import|\son\w+=", html)
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_same_report_same_bytes():
    """The page of a report is the same every time, drawings included."""
    assert page(report()) == page(report())


def test_incomplete_run_is_marked():
    """A run that was stopped says so in its heading and names what did not run."""
    html = page(report(verdict="not_enough_evidence", unfinished=("maml seed 2", "references seed 2")))
    assert "(incomplete)" in html and "maml seed 2, references seed 2" in html


def test_what_was_not_measured_is_said():
    """Without learning curves and shift the page says that they were not measured, and draws no empty axes."""
    bare = report()
    bare = replace(bare, curves={n: replace(c, learning=()) for n, c in bare.curves.items()})
    html = page(bare)
    assert html.count("<svg") == 1 and "the trainings of this run told none" in html and "was not measured" in html


@pytest.mark.parametrize("stages", [1, 4])
def test_any_number_of_stages_can_be_drawn(stages):
    """One stage or many, the drawing has a name for every candidate."""
    whole = report()
    html = page(
        replace(whole, curves={n: replace(c, adaptation=c.adaptation[:1] * stages) for n, c in whole.curves.items()})
    )
    drawing = html[html.index("<svg") : html.index("</svg>")]
    assert all(name in drawing for name in ("MAML", "from &lt;scratch&gt;", "random"))
