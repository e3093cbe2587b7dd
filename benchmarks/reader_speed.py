"""Texts of about 60 words per CPU second: the quick reader, decisions and evidence included, against scikit-learn's TF-IDF with
one linear head a fact over whole texts, in turns in one process. Also one text with the reader's start, and the careful reader.
"""

import resource
import subprocess
import sys
import time
from typing import Any

import sklearn
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from advisor.reader import read_many
from advisor.reader.model import CLASSES, CORPUS, NOT_MENTIONED
from advisor.reader.rows import read_corpus

CASE = "reader-speed"
UNIT = "texts per CPU second, quick reader"
WORDS = 60  # a text is made of whole descriptions, joined until it has as many
TEXTS = 2000
ROUNDS = 3
START = (
    "import time; t = time.process_time(); from advisor.reader import read; "
    "read({text!r}, careful={careful}); print(time.process_time() - t)"
)


def texts(rows: list[dict[str, Any]]) -> list[str]:
    """Descriptions of the corpus, joined to about 60 words; no text twice."""
    found, current = [], ""
    for row in rows:
        current = f"{current} {row['text']}".strip()
        if len(current.split()) >= WORDS:
            found.append(current)
            current = ""
    return found


def floor(rows: list[dict[str, Any]]) -> Any:
    """A function that does what the issue calls the floor: TF-IDF of words 1-2 and characters 3-5, one linear head a fact."""
    told = [row["text"] for row in rows]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(told)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=3, sublinear_tf=True).fit(told)

    def encode(batch: list[str]) -> Any:
        return sparse.hstack([words.transform(batch), characters.transform(batch)]).tocsr()

    x = encode(told)
    heads = [
        LogisticRegression(max_iter=50).fit(x, [values.index(row["facts"].get(fact, NOT_MENTIONED)) for row in rows])
        for fact, values in CLASSES.items()
    ]
    return lambda batch: [head.predict_proba(encoded) for encoded in [encode(batch)] for head in heads]


def seconds(work: Any) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def alone(text: str, careful: bool) -> float:
    """CPU milliseconds of importing the reader and reading one text, in a fresh process, over those of the bare interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", START.format(text=text, careful=careful)], capture_output=True, text=True, check=True
    )
    return 1000 * float(done.stdout)


def run(seed: int) -> dict[str, Any]:
    """`seed` changes nothing but the order of the texts."""
    rows = [row for row in read_corpus(CORPUS) if row["kind"] == "description"]
    told = texts(rows)
    told = told[seed:] + told[:seed]
    batch = (told * (TEXTS // len(told) + 1))[:TEXTS]
    numbered = [f"{text} {i}" for i, text in enumerate(batch)]
    theirs = floor(rows)
    theirs(batch[:50]), read_many(batch[:50])
    pairs = [(seconds(lambda: read_many(numbered)), seconds(lambda: theirs(numbered))) for _ in range(ROUNDS)]
    ours, other = (min(pair[k] for pair in pairs) for k in (0, 1))
    careful = told[:60]
    return {
        "figure": TEXTS / ours,
        "cpu_seconds": sum(map(sum, pairs)),
        "settings": {
            "texts": TEXTS,
            "words a text": sum(len(t.split()) for t in batch) / TEXTS,
            "rounds, the best counts": ROUNDS,
        },
        "reference": {
            "floor: TF-IDF with linear heads, texts per CPU second": TEXTS / other,
            "careful reader with evidence, texts per CPU second": len(careful)
            / seconds(lambda: read_many(careful, careful=True)),
            "one text and the quick reader's start, CPU ms": alone(told[0], False),
            "one text and the careful reader's start, CPU ms": alone(told[0], True),
            "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
        "peer": {"name": "scikit-learn", "version": sklearn.__version__, "figure": TEXTS / other, "cpu_seconds": other},
        "ratio": other / ours,
    }
