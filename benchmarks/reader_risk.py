"""`python -m benchmarks.reader_risk`: risk against coverage of both readers and of three baselines, on the texts kept aside; writes
docs/reader.md and docs/reader-risk.svg.

Coverage: the share of all texts that get a single verdict as the confidence asked for falls. Generalised risk: wrong verdicts as a
share of all texts. AUGRC is the area under the latter over the former (Traub et al. 2024); smaller is better. Texts that should stay open
count as wrong once they are decided.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from advisor.reader.decide import mass, place_of
from advisor.reader.evaluate import evaluate
from advisor.reader.model import CORPUS
from advisor.reader.propose import believe
from advisor.reader.rows import read_corpus
from advisor.reader.train import outcomes

ROOT = Path(__file__).parent.parent
ASIDE = CORPUS.parent / "aside"
SETS = {
    "texts in our own voices": sorted(set(ASIDE.glob("*.jsonl")) - {ASIDE / "retold.jsonl"}),
    "public texts retold": [ASIDE / "retold.jsonl"],
}
KEYWORDS = {  # the tables' own words, which is what a keyword search would look for
    (
        "test_tasks",
        "shifted",
    ): r"shift|out of distribution|outside the (training )?distribution|different from training",
    ("test_tasks", "same_as_training"): r"same (tasks|set)|known (set|tasks)|fixed set|training tasks themselves",
    ("test_tasks", "new_same_distribution"): r"new tasks?|unseen|never seen|held[- ]out tasks?|test tasks?",
    ("adaptation_gradients", "allowed"): r"gradient (steps?|updates?)|fine-?tun",
    (
        "adaptation_gradients",
        "not_allowed",
    ): r"no gradient|without (gradient|retraining)|frozen|in[- ]context|cannot be retrained",
    ("task_belief", "required"): r"posterior|belief|uncertainty (over|about) (the|which) task|probability over",
    ("training_tasks", "single"): r"single task|one task|supervised",
}
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def labelled(rows: list[dict[str, Any]]) -> list[str]:
    """The verdict of each row; open where an expert could not settle it."""
    return ["undecided" if row.get("decidable") is False else row["verdict"] for row in rows]


def curve(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Curve:
    """(coverage, generalised risk) as more and more texts are decided, the surest first."""
    order = np.argsort(-confidence, kind="stable")
    n = len(order)
    return np.arange(n + 1) / n, np.concatenate([[0.0], np.cumsum(~right[order]) / n])


def augrc(points: Curve) -> float:
    """Area under generalised risk over coverage."""
    return float(np.trapezoid(points[1], points[0]))


def of_reader(texts: list[str], truth: NDArray[np.str_], careful: bool) -> Curve:
    """A reader's surest verdict for each text."""
    table = outcomes()
    by_verdict = [mass(belief.together, table.by_verdict) for belief in believe(texts, careful)]
    best = [max(m, key=m.__getitem__) for m in by_verdict]
    sure = np.array([m[name] for m, name in zip(by_verdict, best, strict=True)])
    return curve(sure, np.array(best) == truth)


def of_whole_texts(corpus: list[dict[str, Any]], texts: list[str], truth: NDArray[np.str_]) -> Curve:
    """TF-IDF of whole texts with one logistic regression over the verdicts, undecided among them."""
    told, table = [row["text"] for row in corpus], outcomes()
    verdicts = [table.verdicts[place_of(row["facts"])] for row in corpus]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(told)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=3, sublinear_tf=True).fit(told)
    x, y = (sparse.hstack([words.transform(t), characters.transform(t)]).tocsr() for t in (told, texts))
    model = LogisticRegression(C=10.0, max_iter=200).fit(x, verdicts)
    p = model.predict_proba(y)
    p[:, list(model.classes_).index("undecided")] = 0.0
    return curve(p.max(axis=1), model.classes_[p.argmax(axis=1)] == truth)


def of_keywords(texts: list[str], truth: NDArray[np.str_]) -> Curve:
    """The first keyword found for each fact; sure where every needed fact was found, else guessing MAML for new tasks."""
    table, verdicts, sure = outcomes(), [], []
    for text in texts:
        found: dict[str, str] = {}
        for (fact, value), pattern in KEYWORDS.items():
            if fact not in found and re.search(pattern, text, re.IGNORECASE):
                found[fact] = value
        verdict = table.verdicts[place_of(found)]
        verdicts.append("maml" if verdict == "undecided" else verdict)
        sure.append(0.0 if verdict == "undecided" else 0.5 + 0.1 * len(found))
    return curve(np.array(sure), np.array(verdicts) == truth)


def curves_of(rows: list[dict[str, Any]], corpus: list[dict[str, Any]]) -> dict[str, Curve]:
    """Both readers and the baselines on labelled texts."""
    texts, truth = [row["text"] for row in rows], np.array(labelled(rows))
    names, counts = np.unique(labelled_corpus(corpus), return_counts=True)
    return {
        "careful reader": of_reader(texts, truth, True),
        "quick reader": of_reader(texts, truth, False),
        "TF-IDF and logistic regression on whole texts": of_whole_texts(corpus, texts, truth),
        "keywords alone": of_keywords(texts, truth),
        "majority": curve(np.zeros(len(texts)), truth == names[counts.argmax()]),
    }


def main() -> None:
    """Reads, scores, draws and writes."""
    corpus = [row for row in read_corpus(CORPUS) if row["kind"] == "description"]
    curves, figures = {}, {}
    for name, files in SETS.items():
        rows = [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]
        curves[f"{len(rows)} {name}"] = curves_of(rows, corpus)
        figures |= {f"{reader}, {name}": evaluate(rows, reader) for reader in ("careful", "quick")}
    draw(curves, ROOT / "docs" / "reader-risk.svg")
    (ROOT / "docs" / "reader.md").write_text(page(curves, figures, len(corpus)), encoding="utf-8")


def labelled_corpus(corpus: list[dict[str, Any]]) -> list[str]:
    """The verdict of each corpus row by the rules, those left open not counted."""
    table = outcomes()
    found = [table.verdicts[place_of(row["facts"])] for row in corpus]
    return [v for v in found if v != "undecided"]


def draw(curves: dict[str, dict[str, Curve]], path: Path) -> None:
    """The figure, readable in black and white: a panel for each set of texts."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "reader-risk"
    figure, panels = plt.subplots(1, len(curves), figsize=(11, 4.2), sharey=True)
    for axes, (title, found) in zip(panels, curves.items(), strict=True):
        for (name, (coverage, risk)), style in zip(found.items(), ("-", "--", "-.", ":", (0, (1, 4))), strict=True):
            label = f"{name} ({100 * augrc((coverage, risk)):.1f})"
            axes.plot(100 * coverage, 100 * risk, linestyle=style, color="black", label=label)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("texts decided, %")
        axes.set_ylim(0, 80)
        axes.legend(frameon=False, fontsize=7, title="AUGRC x 100 in brackets", title_fontsize=7)
    panels[0].set_ylabel("texts decided wrongly, % of all")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def page(curves: dict[str, dict[str, Curve]], figures: dict[str, dict[str, Any]], corpus: int) -> str:
    """The Markdown page."""
    first, second = curves
    lines = [
        "# How well the reader reads",
        "",
        "Made by `python -m benchmarks.reader_risk` on the texts kept aside in `advisor/reader/aside/`, which no part of the training",
        f"saw ({corpus} descriptions were trained on): {first}, by authors of the corpus in other voices and domains,",
        f"and {second}, by an author of none of it: the situations of public texts (abstracts, issues, questions, model",
        "cards) in few plain words, of which an expert could not settle 40 %. These are much harder, and nearer to what a stranger writes.",
        "",
        "![Risk against coverage](reader-risk.svg)",
        "",
    ]
    for title, found in curves.items():
        lines += [f"| {title} | AUGRC x 100 | wrong at 60 % decided, % of all |", "|---|---|---|"]
        for name, (coverage, risk) in found.items():
            at = 100 * float(np.interp(0.6, coverage, risk))
            lines.append(f"| {name} | {100 * augrc((coverage, risk)):.2f} | {at:.1f} |")
        lines.append("")
    keys = [
        "decided", "right_among_decided", "wrong_over_all", "open_left_open", "framing_right_among_decided", "shifted_found", "ece",
    ]  # fmt: skip
    lines += ["| at the shipped thresholds | " + " | ".join(figures) + " |", "|---|" + "---|" * len(figures)]
    lines += [f"| `{key}` | " + " | ".join(str(f[key]) for f in figures.values()) + " |" for key in keys]
    for group, held in next(iter(figures.values())).items():
        if group in ("verdicts", "after_questions", "stated_facts", "evidence", "concerns", "pitfalls"):
            for key in held:
                lines.append(f"| `{group}.{key}` | " + " | ".join(str(f[group][key]) for f in figures.values()) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
