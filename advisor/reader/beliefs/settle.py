"""What the encoder says of texts that it was not trained on -> how it is weighed, and the thresholds. Needs scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..rows import Row, labelled
from . import label_of, take_apart
from .weighing import LABELS

INVERSE_PENALTY = 1.0  # scikit-learn's C, of the weights
# Of labels proposed, on the texts that decide; some of their labels are missing, so it is higher in truth.
PRECISION = 0.86
# Origins whose rows the lexicon was written beside: too kind to it.
KNOWN_TO_CUES = ("contrast", "further", "published", "written")


def settle(rows: Sequence[Row], text: Any, sentence: Any) -> dict[str, Any]:
    """The fields of `Weighing`, from rows held out and what the encoder says of each as a whole and of its sentences at most (row, label)."""
    import numpy as np

    judged = np.array([labelled(row) and row["origin"] not in KNOWN_TO_CUES for row in rows])
    judged = judged if judged.any() else np.array([labelled(row) for row in rows])
    chosen = [row for row, kept in zip(rows, judged, strict=True) if kept]
    voiced = [[*row.get("concerns", ()), *row.get("pitfalls", ())] for row in chosen]
    labels = np.array([[name in found for name in LABELS] for found in voiced])
    cues = [{label_of(cue.fact) for cue, _ in take_apart(row["text"]).cues} for row in chosen]
    cued = np.array([[label in found for label in LABELS] for found in cues])
    weights, likely = _weighed(np.stack([text[judged], sentence[judged]], axis=-1), labels)
    return {**weights, **_thresholds(likely, cued, labels)}


def _weighed(seen: Any, labels: Any) -> tuple[dict[str, Any], Any]:
    """The weights, and the probabilities that follow (row, label); `seen` is (row, label, 2).

    One model over all labels, since each alone has few texts that voice it.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    rows, count, parts = seen.shape
    which = np.broadcast_to(np.eye(count), (rows, count, count))
    x = np.concatenate([seen, which], axis=-1).reshape(rows * count, -1)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(x, labels.ravel())
    found = np.round(model.coef_[0], 4).tolist()
    bias = np.round(model.intercept_[0] + model.coef_[0][parts:], 4).tolist()
    weights = {"text": found[0], "sentence": found[1], "bias": bias}
    return weights, model.predict_proba(x)[:, 1].reshape(rows, count)


def _thresholds(likely: Any, cued: Any, labels: Any) -> dict[str, float]:
    """The pair of thresholds that finds most labels at the precision asked for; with a cue less is asked than without."""
    grid = [k / 50 for k in range(2, 48)]
    best, found = -1.0, {"alone": 0.9, "cued": 0.5}
    for alone in grid:
        for with_cue in (t for t in grid if t <= alone):
            said = (likely >= alone) | (cued & (likely >= with_cue))
            right = float((said & labels).sum())
            if said.any() and right / float(said.sum()) >= PRECISION and right > best:
                best, found = right, {"alone": alone, "cued": with_cue}
    return found
