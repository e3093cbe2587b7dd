"""Corpus -> beliefs.json and beliefs.npz, the same to the byte for the same corpus and the pinned versions; `advisor.reader.train` calls it."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import label_of, take_apart
from .heads import ARRAYS, CONCEPT_SCALE, LABELS, TABLE

FEWEST_TEXTS = 3  # in which a word must stand
NEVER = -5.0  # log-odds of a label that no training text voices
STRENGTH = 10.0  # inverse of the L2 penalty
MIX_STRENGTH = 1.0  # the same, of the weights that mix heads, encoder and cues
PRECISION = 0.83  # of labels proposed, on the texts that decide about thresholds; some of their labels are missing, so it is higher in truth
KNOWN_TO_CUES = (
    "contrast",
    "further",
    "published",
    "written",
)  # origins whose rows the lexicon was written beside: too kind to it


def labelled(row: dict[str, Any]) -> bool:
    """Whether concerns and pitfalls of a row were labelled (none, where the keys are missing): those are the rows with a verdict.

    The others, taken as voicing none, made the heads shyer and no better.
    """
    return "verdict" in row and row["kind"] == "description"


class Design:
    """The matrix of a set of texts: a column for each feature of the training texts."""

    def __init__(self, features: list[tuple[set[str], set[str]]], training: list[int]) -> None:
        texts = Counter(f for i in training for part in features[i] for f in part)
        self.columns = {f: c for c, f in enumerate(sorted(f for f, n in texts.items() if n >= FEWEST_TEXTS))}
        self.features = features
        self.rarity = {f: math.log((1 + len(training)) / (1 + texts[f])) + 1 for f in self.columns}

    def matrix(self, rows: list[int], counts: bool = False) -> Any:
        """(row, feature), sparse; with `counts` a word counts 1 and not its rarity, which `fit` has put into the weights."""
        from scipy.sparse import csr_matrix

        values, at, columns = [], [], []
        for r, i in enumerate(rows):
            words, others = self.features[i]
            size = math.sqrt(len(words)) or 1.0
            for found, scale in ((words, None), (others, CONCEPT_SCALE)):
                for feature in sorted(f for f in found if f in self.columns):
                    weight = 1.0 if counts else self.rarity[feature]
                    values.append(weight / size if scale is None else scale)
                    at.append(r)
                    columns.append(self.columns[feature])
        return csr_matrix((values, (at, columns)), shape=(len(rows), len(self.columns)))


def fit(design: Design, rows: list[int], labels: Any) -> tuple[Any, Any]:
    """Weights (feature, label), for features that count 1 each, and biases."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    x = design.matrix(rows)
    weights, bias = np.zeros((len(design.columns), len(LABELS))), np.full(len(LABELS), NEVER)
    for j in range(len(LABELS)):
        if labels[rows, j].any():  # a small corpus may never voice one
            head = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=400).fit(x, labels[rows, j])
            weights[:, j], bias[j] = head.coef_[0], head.intercept_[0]
    scale = np.array([1.0 if f[0] in "=#" else design.rarity[f] for f in design.columns])
    return weights * scale[:, None], bias


def train(
    rows: Sequence[dict[str, Any]], encoded: Any, fold: Any, held: int, corpus: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of beliefs.json and the arrays of beliefs.npz.

    `encoded` (row, label) is what the encoder's heads say of the rows of the folds below `held`, trained without them; `corpus` its hash.
    """
    import numpy as np

    chosen = [i for i, row in enumerate(rows) if labelled(row)]
    voiced = [[*rows[i].get("concerns", ()), *rows[i].get("pitfalls", ())] for i in chosen]
    labels = np.array([[name in found for name in LABELS] for found in voiced])
    readings = [take_apart(rows[i]["text"]) for i in chosen]
    features = [reading.features() for reading in readings]
    folds = np.array([fold[i] for i in chosen])
    scores = np.zeros(labels.shape)
    for k in range(held):
        kept, out = np.flatnonzero(folds != k).tolist(), np.flatnonzero(folds == k).tolist()
        design = Design(features, kept)
        weights, bias = fit(design, kept, labels)
        scores[out] = design.matrix(out, counts=True) @ weights + bias
    cued = np.array([[label in {label_of(c.fact) for c, _ in r.cues} for label in LABELS] for r in readings])
    judged = np.array([folds[j] < held and rows[i]["origin"] not in KNOWN_TO_CUES for j, i in enumerate(chosen)])
    judged = judged if judged.any() else folds < held
    seen = np.stack([scores, np.array([encoded[i] for i in chosen]), cued], axis=-1)[judged]
    mix, likely = mixed(seen, labels[judged])
    design = Design(features, list(range(len(chosen))))
    weights, bias = fit(design, list(range(len(chosen))), labels)
    table = {
        "labels": list(LABELS),
        "mix": mix,
        "thresholds": thresholds(likely, cued[judged], labels[judged]),
        "trained_on": {"rows": len(chosen), "corpus_sha256": corpus},
        "features": list(design.columns),
    }
    return table, {"weights": weights.astype(np.float16), "bias": bias.astype(np.float32)}


def mixed(seen: Any, labels: Any) -> tuple[dict[str, list[float]], Any]:
    """How heads, encoder and cues are weighed, alike for all labels but for a bias, and the probabilities that follow (row, label).

    `seen` (row, label, 3). One model over all labels, since each alone has few texts that voice it.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    rows, count, _ = seen.shape
    which = np.broadcast_to(np.eye(count), (rows, count, count))
    x = np.concatenate([seen, which], axis=-1).reshape(rows * count, -1)
    model = LogisticRegression(C=MIX_STRENGTH, max_iter=1000).fit(x, labels.ravel())
    found = np.round(model.coef_[0], 4).tolist()
    names = ("heads", "encoder", "cue")
    mix = {name: [found[k]] * count for k, name in enumerate(names)}
    mix["bias"] = np.round(model.intercept_[0] + model.coef_[0][3:], 4).tolist()
    return mix, model.predict_proba(x)[:, 1].reshape(rows, count)


def thresholds(likely: Any, cued: Any, labels: Any) -> dict[str, float]:
    """The pair of thresholds that finds most labels at the precision asked for; with a cue less is asked than without."""
    grid = [k / 50 for k in range(2, 46)]
    best, found = -1.0, {"head": 0.9, "cue": 0.5}
    for head in grid:
        for cue in (t for t in grid if t <= head):
            said = (likely >= head) | (cued & (likely >= cue))
            right = float((said & labels).sum())
            if said.any() and right / float(said.sum()) >= PRECISION and right > best:
                best, found = right, {"head": head, "cue": cue}
    return found


def write(table: dict[str, Any], arrays: dict[str, Any], folder: Path) -> None:
    """Writes both files whole or not at all; the archive carries no time of day, so that the same heads are the same bytes."""
    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            raw = io.BytesIO()
            np.lib.format.write_array(raw, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), raw.getvalue(), zipfile.ZIP_DEFLATED)
    written = json.dumps(table, ensure_ascii=False, indent=0).encode()
    for path, content in ((folder / ARRAYS, buffer.getvalue()), (folder / TABLE, written)):
        part = path.with_suffix(path.suffix + ".part")
        part.write_bytes(content)
        part.replace(path)
