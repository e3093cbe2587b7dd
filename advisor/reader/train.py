"""Corpus -> weights. The only module of the reader, with `finetune`, that needs scikit-learn or torch; deterministic.

Everything that is calibrated or chosen is so on texts of origins (one author each) that the heads, the encoder and the
stack did not see: stack, temperatures, the correction of the verdict's probability, and thresholds by risk.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from .. import engine
from ..rulebook import load as load_rules
from . import encoder
from .decide import UNDECIDED, Outcomes, combinations, joint, mass, with_assumptions
from .features import BLOCKS, Vocabulary, clauses, learn, words
from .model import (
    CLASSES,
    COLUMNS,
    CORPUS,
    FACTS,
    NOT_MENTIONED,
    WEIGHTS,
    Heads,
    corpus_files,
    corpus_hash,
    softmax_by_fact,
)
from .recipe import FinetuneConfig

Array = NDArray[Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training; thresholds are probabilities."""

    least: dict[str, int] = field(
        default_factory=lambda: {"word": 2, "pair": 2, "run": 3}
    )  # texts a feature must occur in
    inverse_penalty: float = 1.0  # scikit-learn's C, clause and whole-text heads
    stack_inverse_penalty: float = 0.05
    accepted_risk: float = 0.04  # wrong single verdicts as a share of held-out descriptions
    asking_risk: float = 0.02  # the same where questions can follow
    framing_risk: float = 0.06  # wrong framings as a share of those stated
    fact_threshold: float = 0.6
    folds: int = 3  # origins are dealt out to so many folds in name order
    recipe: FinetuneConfig | None = field(default_factory=FinetuneConfig)  # None: without the encoder


def read_corpus(folder: Path) -> list[dict[str, Any]]:
    """All rows of the corpus files in name order, `origin` added. Raises ValueError for an unknown fact, value or kind."""
    rows = []
    for path in corpus_files(folder):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line)
            for fact, value in row["facts"].items():
                if value not in FACTS.get(fact, ()):
                    raise ValueError(f"{path.name}, line {number}: {fact} = {value} is not in the vocabulary")
            if row["kind"] not in ("clause", "description"):
                raise ValueError(f"{path.name}, line {number}: kind {row['kind']} is neither clause nor description")
            rows.append({**row, "origin": path.parent.name})
    return rows


def marked_clauses(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The words marked in descriptions as the carriers of a fact, as clause rows; the same words may carry several."""
    found = []
    for row in rows:
        by_words: dict[str, dict[str, str]] = {}
        for fact, marked in row.get("spans", {}).items():
            if len(marked) < len(row["text"]) / 2:  # longer ones carry the rest of the text as well
                by_words.setdefault(marked, {})[fact] = row["facts"][fact]
        found += [{"text": t, "facts": f, "kind": "clause", "origin": row["origin"]} for t, f in by_words.items()]
    return found


def outcomes() -> Outcomes:
    """Where every combination of stated facts leads by the shipped rules."""
    book = load_rules()
    verdicts, framings = [], []
    for facts in combinations()[0]:
        possible = engine.possible_verdicts(with_assumptions(facts), book)
        shared = {str(book.entries["verdicts"][v]["framing"]) for v in possible}
        verdicts.append(possible[0] if len(possible) == 1 else UNDECIDED)
        framings.append(shared.pop() if len(shared) == 1 else UNDECIDED)
    return Outcomes(tuple(verdicts), tuple(framings))


def cut(row: dict[str, Any]) -> list[list[str]]:
    """The words of a row by clause; a clause row is one piece."""
    return [words(row["text"])] if row["kind"] == "clause" else [words(s.text) for s in clauses(row["text"])]


def matrix(vocabulary: Vocabulary, pieces: Sequence[list[list[str]]]) -> Any:
    """Encoded texts as a sparse (text, feature) matrix."""
    encoded = [vocabulary.encode(p) for p in pieces]
    ends = np.cumsum([0, *(len(columns) for columns, _ in encoded)])
    columns = [c for found, _ in encoded for c in found]
    values = [v for _, found in encoded for v in found]
    return sparse.csr_matrix((values, columns, ends), shape=(len(pieces), len(vocabulary.value)))


def fit_facts(x: Any, labels: Sequence[dict[str, str]], inverse_penalty: float) -> tuple[Array, Array]:
    """One multinomial logistic model for each fact -> weights (feature, column) and bias (column,)."""
    weights, bias = np.zeros((x.shape[1], len(COLUMNS))), np.zeros(len(COLUMNS))
    for fact, values in CLASSES.items():
        y = np.array([values.index(row.get(fact, NOT_MENTIONED)) for row in labels])
        place = COLUMNS.index((fact, values[0]))
        if len(set(y.tolist())) == 1:
            bias[place + y[0]] = 10.0  # a small corpus may never mention a fact
            continue
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # the iteration limit is part of the recipe
            model = LogisticRegression(C=inverse_penalty, max_iter=300).fit(x, y)
        if len(model.classes_) == 2:
            coefficients, intercepts = np.vstack([-model.coef_, model.coef_]) / 2, np.repeat(model.intercept_, 2) / 2
            intercepts[0] *= -1
        else:
            coefficients, intercepts = model.coef_, model.intercept_
        weights[:, place + model.classes_] = coefficients.T
        bias[place + model.classes_] = intercepts
    return weights, bias


def fit_heads(rows: Sequence[dict[str, Any]], x: Any, vocabulary: Vocabulary, keep: Array, penalty: float) -> Heads:
    """Clause head on the clauses, whole-text head on everything, of the rows where `keep` is true; (row,) bool."""
    clause = np.array([row["kind"] == "clause" for row in rows])
    pairs = [
        fit_facts(x[m], [rows[i]["facts"] for i in m.tolist()], penalty)
        for m in (np.flatnonzero(keep & clause), np.flatnonzero(keep))
    ]
    weights, bias = (np.concatenate([pair[k] for pair in pairs], axis=-1) for k in (0, 1))
    return Heads(vocabulary, weights.astype(np.float16).astype(np.float32), bias)


def temperature(scores: Array, labels: Sequence[dict[str, str]]) -> Array:
    """The temperature of each fact, spread over its columns (column,), that fits held-out labels best."""
    found = np.ones(len(COLUMNS))
    for fact, values in CLASSES.items():
        place = COLUMNS.index((fact, values[0]))
        part = scores[:, place : place + len(values)]
        y = np.array([values.index(row.get(fact, NOT_MENTIONED)) for row in labels])

        def loss(log_t: float, part: Array = part, y: Array = y) -> float:
            z = part / np.exp(log_t)
            z = z - z.max(axis=1, keepdims=True)
            return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean())

        found[place : place + len(values)] = np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x)
    return found


def fit_stack(
    pooled: Array, labels: Sequence[dict[str, str]], fold: Array, penalty: float
) -> tuple[Array, Array, Array]:
    """The stack with its temperature folded in, and its held-out probabilities by fold -> weights, bias, (text, column)."""
    scores = np.zeros((len(pooled), len(COLUMNS)))
    for k in sorted(set(fold.tolist())):
        held = fold == k
        w, b = fit_facts(pooled[~held], [labels[i] for i in np.flatnonzero(~held).tolist()], penalty)
        scores[held] = pooled[held] @ w + b
    t = temperature(scores, labels)
    w, b = fit_facts(pooled, labels, penalty)
    return w / t, b / t, softmax_by_fact(scores / t)


def settle(together: Array, rows: Sequence[dict[str, Any]], table: Outcomes, config: TrainingConfig) -> dict[str, Any]:
    """Correction and thresholds from held-out probabilities (text, combination), with the curve of risk against coverage."""
    verdicts, framings = mass(together, table.verdicts), mass(together, table.framings)
    places = [combinations()[0].index(row["facts"]) for row in rows]
    true_verdict, true_framing = [table.verdicts[p] for p in places], [table.framings[p] for p in places]

    def ranked(of: dict[str, Array], true: list[str]) -> tuple[Array, Array]:
        names = list(of)
        best = np.stack([of[name] for name in names], axis=1)
        hit = np.array([names[k] == t for k, t in zip(best.argmax(axis=1), true, strict=True)])
        return best.max(axis=1), hit

    p, hit = ranked(verdicts, true_verdict)
    odds = np.log(np.clip(p, 1e-6, 1 - 1e-6) / np.clip(1 - p, 1e-6, 1))
    platt = LogisticRegression(C=1e6).fit(odds[:, None], hit)
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    sure = 1.0 / (1.0 + np.exp(-(slope * odds + offset)))
    order = np.argsort(-sure, kind="stable")
    wrong = np.cumsum(~hit[order]) / len(hit)

    def threshold(risk: float) -> float:
        last = int(np.searchsorted(wrong > risk, True)) - 1
        return float(sure[order[max(last, 0)]])

    q, right = ranked(framings, true_framing)
    by_framing = np.argsort(-q, kind="stable")
    risk = np.cumsum(~right[by_framing]) / np.arange(1, len(right) + 1)
    allowed = np.flatnonzero(risk <= config.framing_risk)
    settled = np.array([t != UNDECIDED for t in true_verdict])
    curve = [
        {
            "verdict_threshold": round(float(t), 3),
            "decided": round(float((sure >= t)[settled].mean()), 4),
            "right": round(float(hit[(sure >= t) & settled].mean()), 4),
            "wrong": round(float((~hit & (sure >= t)).mean()), 4),
        }
        for t in np.arange(0.4, 0.96, 0.05)
        if ((sure >= t) & settled).any()
    ]
    return {
        "thresholds": {
            "verdict": threshold(config.accepted_risk),
            "framing": float(q[by_framing[allowed[-1]]]) if len(allowed) else 0.99,
            "fact": config.fact_threshold,
        },
        "asking": threshold(config.asking_risk),
        "scale": [slope, offset],
        "held_out": curve,
    }


def build(
    folder: Path = CORPUS, config: TrainingConfig | None = None, say: Say = lambda line: None
) -> tuple[dict[str, Any], dict[str, Array], dict[str, Array]]:
    """Train everything from a corpus folder -> (model.json, model.npz, careful.safetensors; the last is empty without it)."""
    config = config or TrainingConfig()
    written = read_corpus(folder)
    rows = written + marked_clauses(written)
    pieces = [cut(row) for row in rows]
    vocabulary = learn(pieces, config.least)
    x = matrix(vocabulary, pieces)
    origins = sorted({row["origin"] for row in rows})
    fold = np.array([origins.index(row["origin"]) % config.folds for row in rows])
    described = np.array([row["kind"] == "description" for row in rows])
    pooled = np.zeros((len(rows), 2 * sum(map(len, FACTS.values()))))
    for k in range(config.folds):
        heads = fit_heads(rows, x, vocabulary, fold != k, config.inverse_penalty)
        held = np.flatnonzero((fold == k) & described)
        if len(held):
            pooled[held] = heads.read([rows[i]["text"] for i in held]).pooled
        say(f"heads without fold {k}: {len(held)} descriptions held out")
    careful, seen = _careful(written, fold[: len(written)], config.recipe, say) if config.recipe else ({}, pooled)
    chosen = np.flatnonzero(described)
    told = [rows[i] for i in chosen]
    labels = [row["facts"] for row in told]
    table = outcomes()
    about: dict[str, Any] = {
        "format": 2,
        "corpus_sha256": corpus_hash(folder),
        "clauses": len(written) - len(chosen),
        "marked_clauses": len(rows) - len(written),
        "descriptions": len(chosen),
        "classes": {fact: list(values) for fact, values in CLASSES.items()},
        "outcomes": {"verdicts": list(table.verdicts), "framings": list(table.framings)},
    }
    w, b, held_out = fit_stack(pooled[chosen], labels, fold[chosen], config.stack_inverse_penalty)
    arrays: dict[str, Array] = {"stack_weights": w.astype(np.float32), "stack_bias": b.astype(np.float32)}
    quick = joint(held_out)
    about["quick"] = settle(quick, told, table, config)
    if config.recipe:
        about["careful"] = settle((quick + joint(seen[chosen])) / 2, told, table, config)
    heads = fit_heads(rows, x, vocabulary, np.ones(len(rows), dtype=bool), config.inverse_penalty)
    arrays |= {
        "weights": heads.weights.astype(np.float16),
        "bias": heads.bias.astype(np.float32),
        "value": vocabulary.value,
    }
    for block in BLOCKS:
        arrays[block] = np.frombuffer("\n".join(vocabulary.columns[block]).encode(), dtype=np.uint8)
    return about, arrays, careful


def _careful(
    rows: Sequence[dict[str, Any]], fold: Array, recipe: FinetuneConfig, say: Say
) -> tuple[dict[str, Array], Array]:
    """The fine-tuned layers, and what the encoder says of each row when its fold was held out (row, column)."""
    from . import finetune as tuning

    base = encoder.load_arrays(WEIGHTS / "base.safetensors")
    hidden = tuning.below([row["text"] for row in rows], base, recipe.tuned_layers)
    say("encoder: lower layers done")
    out = np.zeros((len(rows), len(COLUMNS)))

    def without(k: int) -> Any:
        kept = np.flatnonzero(fold != k).tolist()
        return tuning.finetune([rows[i] for i in kept], [hidden[i] for i in kept], base, recipe)

    for k in sorted(set(fold.tolist())):
        held = np.flatnonzero(fold == k)
        out[held] = tuning.predict(without(k), [hidden[i] for i in held])
        say(f"encoder fine-tuned without fold {k}")
    tuned = tuning.arrays_of(without(-1))
    say("encoder fine-tuned on everything")
    return tuned, out


def save(about: dict[str, Any], arrays: dict[str, Array], careful: dict[str, Array], folder: Path = WEIGHTS) -> None:
    """Write `model.json`, `model.npz` and, if it was trained, `careful.safetensors`."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "model.npz", allow_pickle=False, **arrays)
    if careful:
        save_file(
            {name: np.ascontiguousarray(array) for name, array in careful.items()}, folder / "careful.safetensors"
        )
    (folder / "model.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
