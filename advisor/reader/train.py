"""Corpus -> weights, deterministic. Only this, `linear`, `settle` and `finetune` need SciPy, scikit-learn or torch.

Everything that is calibrated or chosen is so on texts of origins (one author each) that the heads, the encoder and the
stack did not see: stacks, temperatures, the correction of the verdict's probability, and thresholds by risk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import engine
from ..executors import open_place
from ..rulebook import load as load_rules
from . import encoder
from .beliefs import train as beliefs
from .decide import UNDECIDED, Outcomes, combinations, place_of, with_assumptions
from .features import clauses, words
from .linear import fit, learn, matrix
from .model import (
    CLASSES,
    CORPUS,
    FACTS,
    NOT_MENTIONED,
    OUTPUTS,
    VERDICTS,
    WEIGHTS,
    Heads,
    corpus_files,
    corpus_hash,
    log_odds,
)
from .propose import split
from .recipe import FinetuneConfig
from .settle import Risks, Seen, settle
from .wordpiece import encode

Array = NDArray[Any]
Say = Callable[[str], None]
TRAINING = "training"  # the folder beside the weights that only training opens


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training."""

    least: dict[str, int] = field(
        default_factory=lambda: {"word": 2, "pair": 2, "run": 3}
    )  # texts a feature must occur in
    clause_inverse_penalty: float = 1.0  # scikit-learn's C
    whole_inverse_penalty: float = 12.0
    steps: int = 60  # of L-BFGS
    risks: Risks = field(default_factory=Risks)  # of the quick reader
    # Strangers' texts are harder than those held out, and the careful reader can afford to ask for more certainty.
    careful_risks: Risks = field(default_factory=lambda: Risks(accepted=0.03, framing=0.05))
    folds: int = 3  # origins are dealt out to so many folds in name order
    held: int = 2  # so many of the folds are held out in turn; each one costs a fine-tuning
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
            if fact in row["facts"] and len(marked) < len(row["text"]) / 2:  # longer ones carry the rest as well
                by_words.setdefault(marked, {})[fact] = row["facts"][fact]
        found += [{"text": t, "facts": f, "kind": "clause", "origin": row["origin"]} for t, f in by_words.items()]
    return found


def outcomes() -> Outcomes:
    """Where every combination of stated facts leads by the shipped rules."""
    book = load_rules()
    verdicts, framings = [], []
    for facts in combinations():
        possible = engine.possible_verdicts(with_assumptions(facts), book)
        shared = {str(book.entries["verdicts"][v]["framing"]) for v in possible}
        verdicts.append(possible[0] if len(possible) == 1 else UNDECIDED)
        framings.append(shared.pop() if len(shared) == 1 else UNDECIDED)
    return Outcomes(tuple(verdicts), tuple(framings))


def cut(row: dict[str, Any]) -> list[list[str]]:
    """The words of a row by clause; a clause row is one piece."""
    return [words(row["text"])] if row["kind"] == "clause" else [words(s.text) for s in clauses(row["text"])]


@dataclass(frozen=True)
class Material:
    """The rows, encoded: what every fit of the linear heads needs."""

    x: Any  # sparse (row, feature)
    value: Array  # (feature,)
    keys: Array  # (feature,)
    facts: list[Array]  # for each fact the class of every row (row,)
    verdict: Array  # (row,)
    clause: Array  # (row,) bool
    silent: Array  # (row,) bool: it states no fact

    def heads(self, keep: Array, config: TrainingConfig) -> tuple[Array, Array]:
        """Clause heads on the clauses, whole-text and verdict heads on the descriptions, of the rows where `keep` is true: what
        one occurrence of a feature adds (feature, head output), float16, and bias (head output,).

        Clauses that say nothing count as texts as well: else short talk of something else would be taken for a description.
        """
        sizes = [len(values) for values in CLASSES.values()]
        clause, told = np.flatnonzero(keep & self.clause), np.flatnonzero(keep & (~self.clause | self.silent))
        by_clause = fit(
            self.x[clause], [y[clause] for y in self.facts], sizes, config.clause_inverse_penalty, config.steps
        )
        whole = fit(
            self.x[told],
            [y[told] for y in (*self.facts, self.verdict)],
            [*sizes, len(VERDICTS)],
            config.whole_inverse_penalty,
            config.steps,
        )
        weights = np.concatenate([by_clause[0], whole[0]], axis=1) * self.value[:, None]
        return weights.astype(np.float16), np.concatenate([by_clause[1], whole[1]]).astype(np.float32)

    def reader(self, weights: Array, bias: Array) -> Heads:
        """Fitted heads as reading uses them."""
        return Heads(memoryview(self.keys.tobytes()).cast("I"), memoryview(weights.tobytes()), bias.tolist())


def encoded(rows: Sequence[dict[str, Any]], config: TrainingConfig) -> Material:
    """The material of rows that know where their facts lead."""
    pieces = [cut(row) for row in rows]
    vocabulary = learn(pieces, config.least)
    return Material(
        matrix(vocabulary, pieces),
        vocabulary.value,
        vocabulary.keys(),
        [np.array([v.index(r["facts"].get(f, NOT_MENTIONED)) for r in rows]) for f, v in CLASSES.items()],
        np.array([VERDICTS.index(row["leads_to"]) for row in rows]),
        np.array([row["kind"] == "clause" for row in rows]),
        np.array([not row["facts"] for row in rows]),
    )


@dataclass(frozen=True)
class Weights:
    """The content of every file; without the encoder the careful reader's part is empty."""

    about: dict[str, Any]  # model.json
    quick: dict[str, Array]  # quick.safetensors
    careful: dict[str, Array]  # careful.safetensors
    held_out: dict[str, Array]  # training/held_out.safetensors: what the encoder says of the descriptions held out
    beliefs: tuple[dict[str, Any], dict[str, Any]] | None  # beliefs.json, beliefs.npz


def build(
    folder: Path = CORPUS,
    config: TrainingConfig | None = None,
    say: Say = lambda line: None,
    workers: int = 1,
    earlier: Path | None = WEIGHTS,
) -> Weights:
    """Train everything from a corpus folder.

    The encoder's fine-tuning is nearly all of the cost. It is taken over from the weights in `earlier` where those were made from the
    same corpus with the same settings, which changes no byte, nor do the `workers` processes that share it otherwise.
    """
    config = config or TrainingConfig()
    table = outcomes()
    written = [{**row, "leads_to": table.verdicts[place_of(row["facts"])]} for row in read_corpus(folder)]
    marked = [{**row, "leads_to": table.verdicts[place_of(row["facts"])]} for row in marked_clauses(written)]
    rows = written + marked
    material = encoded(rows, config)
    origins = sorted({row["origin"] for row in rows})
    fold = np.array([origins.index(row["origin"]) % config.folds for row in rows])
    careful: dict[str, Array] = {}
    held_out: dict[str, Array] = {}
    scores = None
    if config.recipe:
        made_from = _digest(folder, config)
        careful, held_out = _earlier(earlier, made_from) or _careful(rows, fold, len(written), config, say, workers)
        held_out["made_from"] = made_from
        scores = np.zeros((len(written), encoder.HEAD_OUTPUTS))
        scores[_held_out(written, fold, config)] = held_out["scores"]
    seen: list[Seen] = []  # the descriptions held out, as readers of the others saw them
    for k in range(config.held):
        heads = material.reader(*material.heads(fold != k, config))
        for i in np.flatnonzero((fold == k) & ~material.clause).tolist():
            reading = heads.read(rows[i]["text"])
            facts, verdict = split(scores[i].tolist()) if scores is not None else ([], [])
            seen.append(Seen(rows[i], k, reading.pooled, log_odds(facts) if facts else [], [reading.verdict, verdict]))
        say(f"heads without fold {k}")
    weights, bias = material.heads(np.ones(len(rows), dtype=bool), config)
    about: dict[str, Any] = {
        "format": 3,
        "corpus_sha256": corpus_hash(folder),
        "clauses": sum(row["kind"] == "clause" for row in written),
        "marked_clauses": len(marked),
        "descriptions": sum(row["kind"] == "description" for row in written),
        "held_out": len(seen),
        "classes": {fact: list(values) for fact, values in CLASSES.items()},
        "outcomes": {"verdicts": list(table.verdicts), "framings": list(table.framings)},
        "bias": bias.tolist(),
        "quick": settle(seen, table, config.risks, careful=False),
    }
    voiced = None
    if scores is not None:
        about["careful"] = settle(seen, table, config.careful_risks, careful=True)
        voiced = beliefs.train(written, scores[:, OUTPUTS:], fold[: len(written)], config.held, about["corpus_sha256"])
        say("concerns and beliefs")
    return Weights(about, {"keys": material.keys, "weights": weights}, careful, held_out, voiced)


def _held_out(written: Sequence[dict[str, Any]], fold: Array, config: TrainingConfig) -> Array:
    """The rows of the corpus on which everything is settled: the descriptions of the folds that are held out in turn."""
    told = np.array([row["kind"] == "description" for row in written])
    return np.flatnonzero(told & (fold[: len(written)] < config.held))


def _digest(folder: Path, config: TrainingConfig) -> Array:
    """What a fine-tuning is made from, as the bytes of a hash (32,): the corpus, the encoder's settings and the folds."""
    assert config.recipe is not None
    told = [corpus_hash(folder), asdict(config.recipe), config.folds, config.held]
    return np.frombuffer(hashlib.sha256(json.dumps(told).encode()).digest(), dtype=np.uint8)


def _earlier(folder: Path | None, made_from: Array) -> tuple[dict[str, Array], dict[str, Array]] | None:
    """A finished fine-tuning in a folder of weights, if it was made from the same."""
    files = [folder / "careful.safetensors", folder / TRAINING / "held_out.safetensors"] if folder else []
    if not files or not all(file.is_file() for file in files):
        return None
    careful, held_out = (encoder.load_arrays(file) for file in files)
    return (careful, held_out) if np.array_equal(held_out["made_from"], made_from) else None


def _careful(
    rows: Sequence[dict[str, Any]], fold: Array, told: int, config: TrainingConfig, say: Say, workers: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The fine-tuned layers, and what the encoder says of the descriptions held out, of the first `told` rows (row, head output)."""
    assert config.recipe is not None
    vocabulary = encoder.vocabulary_of(encoder.load_arrays(WEIGHTS / "base.safetensors"))
    ids = [encode(row["text"], vocabulary, encoder.LONGEST_TEXT) for row in rows]
    scores = np.zeros((told, encoder.HEAD_OUTPUTS))
    with open_place(workers) as place:
        whole = place.executor.submit(_tuned, rows, ids, config.recipe)
        parts = {}
        for k in range(config.held):
            kept, held = np.flatnonzero(fold != k).tolist(), np.flatnonzero(fold[:told] == k)
            if len(held):
                job = [rows[i] for i in kept], [ids[i] for i in kept], config.recipe, [ids[i] for i in held.tolist()]
                parts[k] = held, place.executor.submit(_tuned, *job)
        for k, (held, part) in parts.items():
            scores[held] = part.result()
            say(f"encoder fine-tuned without fold {k}")
        tuned = whole.result()
        say("encoder fine-tuned on everything")
    return tuned, {"scores": scores[_held_out(rows[:told], fold, config)].astype(np.float16)}


def _tuned(
    rows: Sequence[dict[str, Any]],
    ids: Sequence[Sequence[int]],
    recipe: FinetuneConfig,
    asked: Sequence[Sequence[int]] | None = None,
) -> Any:
    """One fine-tuning, a job for a process of its own: the arrays of the layers, or what they say of the texts that are asked for."""
    from . import finetune as tuning

    base, published = (
        encoder.load_arrays(WEIGHTS / f"{name}.safetensors") for name in ("base", f"{TRAINING}/published")
    )
    tuned = tuning.finetune(rows, ids, base, published, recipe)
    return tuning.arrays_of(tuned) if asked is None else tuning.predict(tuned, asked)


def save(made: Weights, folder: Path = WEIGHTS) -> None:
    """Write `model.json`, `quick.safetensors` and, if the encoder was trained, the files of the careful reader and of the beliefs."""
    from safetensors.numpy import save_file

    (folder / TRAINING).mkdir(parents=True, exist_ok=True)
    # Removed first and written last, since it vouches for the layers beside it.
    (folder / TRAINING / "held_out.safetensors").unlink(missing_ok=True)
    for name, content in (("quick", made.quick), ("careful", made.careful), (f"{TRAINING}/held_out", made.held_out)):
        if content:
            file = folder / f"{name}.safetensors"
            save_file({key: np.ascontiguousarray(array) for key, array in content.items()}, file)
    if made.beliefs is not None:
        beliefs.write(*made.beliefs, folder)
    (folder / "model.json").write_text(json.dumps(made.about, indent=1) + "\n", encoding="utf-8")
