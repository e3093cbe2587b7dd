"""Corpus -> weights. The only module of the reader that needs scikit-learn; deterministic.

Heads are trained out of fold by group, so the stack learns from probabilities as honest as those it will see; its own
out-of-fold probabilities set one temperature for each fact and, by the risk on whole descriptions, the joint threshold.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from .decide import decide
from .evaluate import possible_verdicts
from .features import CHARACTER_NGRAMS, TOKEN_PATTERN, WORD_NGRAMS, clauses
from .model import (
    CLASSES,
    COLUMNS,
    CORPUS,
    FACTS,
    NOT_MENTIONED,
    WEIGHTS,
    Posterior,
    corpus_hash,
    pool,
    softmax_by_fact,
)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training; thresholds are probabilities."""

    folds: int = 6
    minimum_documents_words: int = 2  # a word or pair must occur in this many corpus rows to become a feature
    minimum_documents_characters: int = 3
    clause_inverse_penalty: float = 12.0  # scikit-learn's C
    text_inverse_penalty: float = 12.0
    stack_inverse_penalty: float = 0.05
    clause_row_weight: float = 1.0  # weight of a clause among the training rows of the whole-text head
    fact_threshold: float = 0.5
    assumed_threshold: float = 0.6
    accepted_risk: float = 0.04  # wrong verdicts as a share of held-out descriptions
    least_joint_threshold: float = 0.4


def read_corpus(folder: Path) -> list[dict[str, Any]]:
    """All rows of the corpus files in name order. Raises ValueError for an unknown fact, value or kind."""
    rows = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line)
            for fact, value in row["facts"].items():
                if value not in FACTS.get(fact, ()):
                    raise ValueError(f"{path.name}, line {number}: {fact} = {value} is not in the vocabulary")
            if row["kind"] not in ("clause", "description"):
                raise ValueError(f"{path.name}, line {number}: kind {row['kind']} is neither clause nor description")
            rows.append(row)
    return rows


def vectorisers(texts: list[str], config: TrainingConfig) -> tuple[TfidfVectorizer, TfidfVectorizer]:
    """The word and the character vectoriser, fitted."""
    words = TfidfVectorizer(
        ngram_range=WORD_NGRAMS, token_pattern=TOKEN_PATTERN, sublinear_tf=True, min_df=config.minimum_documents_words
    )
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=CHARACTER_NGRAMS, sublinear_tf=True, min_df=config.minimum_documents_characters
    )
    return words.fit(texts), characters.fit(texts)


def fit_heads(
    x: Any, labels: list[dict[str, str]], inverse_penalty: float, weight: Array | None = None
) -> tuple[Array, Array]:
    """One multinomial logistic model for each fact -> weights (feature, column) and bias (column,)."""
    weights = np.zeros((x.shape[1], len(COLUMNS)))
    bias = np.zeros(len(COLUMNS))
    for fact, values in CLASSES.items():
        y = np.array([values.index(row.get(fact, NOT_MENTIONED)) for row in labels])
        offset = COLUMNS.index((fact, values[0]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the iteration limit is part of the recipe
            model = LogisticRegression(C=inverse_penalty, max_iter=60, tol=1e-3).fit(x, y, sample_weight=weight)
        bias[offset : offset + len(values)] = -30.0  # a class without a row
        if len(model.classes_) == 2 and model.coef_.shape[0] == 1:
            coefficients = np.vstack([np.zeros_like(model.coef_), model.coef_])
            intercepts = np.concatenate([[0.0], model.intercept_])
        else:
            coefficients, intercepts = model.coef_, model.intercept_
        for k, klass in enumerate(model.classes_):
            weights[:, offset + klass] = coefficients[k]
            bias[offset + klass] = intercepts[k]
    return weights, bias


def fold_of(group: str, folds: int) -> int:
    """A fixed fold for each group."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") % folds


@dataclass(frozen=True)
class Heads:
    """Clause heads and the whole-text head."""

    clause: tuple[Array, Array]
    text: tuple[Array, Array]


def train_heads(rows: list[dict[str, Any]], x: Any, keep: Array, config: TrainingConfig) -> Heads:
    """Train on the rows where `keep` is true; (row,) bool."""
    is_clause = np.array([row["kind"] == "clause" for row in rows])
    chosen = np.flatnonzero(keep & is_clause)
    clause = fit_heads(x[chosen], [rows[i]["facts"] for i in chosen], config.clause_inverse_penalty)
    chosen = np.flatnonzero(keep)
    weight = np.where(is_clause[chosen], config.clause_row_weight, 1.0)
    return Heads(clause, fit_heads(x[chosen], [rows[i]["facts"] for i in chosen], config.text_inverse_penalty, weight))


def nll_temperature(scores: Array, labels: list[dict[str, str]]) -> Array:
    """The temperature of each fact, spread over its columns (column,), that fits held-out labels best."""
    temperatures = np.ones(len(COLUMNS))
    for fact, values in CLASSES.items():
        offset = COLUMNS.index((fact, values[0]))
        part = scores[:, offset : offset + len(values)]
        y = np.array([values.index(row.get(fact, NOT_MENTIONED)) for row in labels])

        def loss(log_t: float, part: Array = part, y: Array = y) -> float:
            z = part / np.exp(log_t)
            z = z - z.max(axis=1, keepdims=True)
            return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean())

        best = minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded")
        temperatures[offset : offset + len(values)] = np.exp(best.x)
    return temperatures


def intended(facts: dict[str, str]) -> dict[str, str]:
    """The facts of a description with what goes without saying filled in, as an expert does."""
    full = dict(facts)
    test = full.get("test_tasks")
    if test is not None:
        full.setdefault("task_belief", "not_required")
        full.setdefault("training_tasks", "known_set" if test == "same_as_training" else "distribution")
    return full


def risk_curve(
    probability: Array, rows: list[dict[str, Any]], config: TrainingConfig
) -> list[tuple[float, float, float, float]]:
    """(joint threshold, decided, right, wrong) as shares of the held-out descriptions, (row, column) probabilities."""
    curve = []
    for joint in np.round(np.arange(config.least_joint_threshold, 0.91, 0.05), 2):
        thresholds = {"fact": config.fact_threshold, "assumed": config.assumed_threshold, "joint": float(joint)}
        decided = right = 0
        for row, p in zip(rows, probability, strict=True):
            table: dict[str, dict[str, float]] = {fact: {} for fact in FACTS}
            for i, (fact, value) in enumerate(COLUMNS):
                table[fact][value] = float(p[i])
            spans = clauses(row["text"])
            best = {column: spans[0] for column in COLUMNS}
            proposals = decide(Posterior(row["text"], spans, table, best, thresholds))
            got = possible_verdicts({p.fact: p.value for p in proposals})
            want = possible_verdicts(intended(row["facts"]))
            decided += len(got) == 1
            right += len(got) == 1 and got == want
        n = len(rows)
        curve.append((float(joint), decided / n, right / n, (decided - right) / n))
    return curve


def build(folder: Path = CORPUS, config: TrainingConfig | None = None) -> tuple[dict[str, Any], dict[str, Array]]:
    """Train everything from a corpus folder -> (what model.json holds, what model.npz holds)."""
    config = config or TrainingConfig()
    rows = read_corpus(folder)
    texts = [row["text"] for row in rows]
    words, characters = vectorisers(texts, config)

    def encode(pieces: list[str]) -> Any:
        return sparse.hstack([words.transform(pieces), characters.transform(pieces)]).tocsr()

    x = encode(texts)
    fold = np.array([fold_of(row["group"], config.folds) for row in rows])
    described = np.array([i for i, row in enumerate(rows) if row["kind"] == "description"])
    labels = [rows[i]["facts"] for i in described]
    pooled = np.zeros((len(rows), 2 * sum(len(v) for v in FACTS.values())))
    for k in range(config.folds):
        heads = train_heads(rows, x, fold != k, config)
        for i in described[fold[described] == k]:
            by_clause = encode([span.text for span in clauses(texts[i])]) @ heads.clause[0] + heads.clause[1]
            whole = (x[i] @ heads.text[0] + heads.text[1])[0]
            pooled[i] = pool(softmax_by_fact(by_clause), softmax_by_fact(whole))
    pooled = pooled[described]

    held_out = np.zeros((len(described), len(COLUMNS)))
    for k in range(config.folds):
        test = fold[described] == k
        inside = [labels[j] for j in np.flatnonzero(~test)]
        w, b = fit_heads(pooled[~test], inside, config.stack_inverse_penalty)
        held_out[test] = pooled[test] @ w + b
    temperature = nll_temperature(held_out, labels)
    curve = risk_curve(softmax_by_fact(held_out / temperature), [rows[i] for i in described], config)
    joint = next((t for t, _, _, wrong in curve if wrong <= config.accepted_risk), curve[-1][0])

    heads = train_heads(rows, x, np.ones(len(rows), dtype=bool), config)
    stack_weights, stack_bias = fit_heads(pooled, labels, config.stack_inverse_penalty)
    about = {
        "format": 1,
        "corpus_sha256": corpus_hash(folder),
        "clauses": len(rows) - len(described),
        "descriptions": len(described),
        "classes": {fact: list(values) for fact, values in CLASSES.items()},
        "thresholds": {"fact": config.fact_threshold, "assumed": config.assumed_threshold, "joint": joint},
        "held_out_risk_curve": [
            dict(zip(("joint_threshold", "decided", "right", "wrong"), (round(v, 4) for v in point), strict=True))
            for point in curve
        ],
    }
    arrays = {
        "words": vocabulary_bytes(words),
        "characters": vocabulary_bytes(characters),
        "idf": np.concatenate([words.idf_, characters.idf_]).astype(np.float32),
        "clause_weights": heads.clause[0].astype(np.float16),
        "clause_bias": heads.clause[1].astype(np.float32),
        "text_weights": heads.text[0].astype(np.float16),
        "text_bias": heads.text[1].astype(np.float32),
        "stack_weights": (stack_weights / temperature).astype(np.float32),
        "stack_bias": (stack_bias / temperature).astype(np.float32),
    }
    return about, arrays


def vocabulary_bytes(vectoriser: TfidfVectorizer) -> Array:
    """A fitted vocabulary in column order as UTF-8 bytes, one feature a line."""
    return np.frombuffer("\n".join(vectoriser.get_feature_names_out()).encode(), dtype=np.uint8)


def save(about: dict[str, Any], arrays: dict[str, Array], folder: Path = WEIGHTS) -> None:
    """Write `model.json` and `model.npz`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "model.npz", allow_pickle=False, **arrays)
    (folder / "model.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
