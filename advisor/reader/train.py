"""Corpus -> weights, deterministic. Only this, `linear`, `settle` and `finetune` need SciPy, scikit-learn or torch.

Everything that is calibrated or chosen is so on texts of origins (one author each) that the heads, the encoders and the
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
from .beliefs import sentences_of
from .beliefs import settle as beliefs
from .decide import UNDECIDED, Outcomes, combinations, place_of, with_assumptions
from .features import clauses, words
from .linear import fit, learn, matrix
from .model import (
    CLASSES,
    CORPUS,
    NOT_MENTIONED,
    OUTPUTS,
    VERDICTS,
    WEIGHTS,
    Heads,
    corpus_hash,
    log_odds,
)
from .propose import split
from .recipe import FinetuneConfig
from .rows import Row, marked_clauses, marked_voices, read_corpus, with_silence
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
    careful_risks: Risks = field(default_factory=lambda: Risks(accepted=0.025, framing=0.04))
    folds: int = 3  # origins are dealt out to so many folds in name order
    held: int = 2  # so many of the folds are held out in turn; each one costs a fine-tuning
    # Of the encoders in the order of `encoder.NAMES`; None: without them.
    recipes: tuple[FinetuneConfig, FinetuneConfig] | None = (FinetuneConfig(), FinetuneConfig(belief_weight=1.0))


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


def encoded(rows: Sequence[Row], config: TrainingConfig) -> Material:
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
    """The content of every file; without encoders the careful reader's part is empty."""

    about: dict[str, Any]  # model.json
    quick: dict[str, Array]  # quick.safetensors
    encoders: dict[str, dict[str, Array]]  # by the name of the file
    held_out: dict[str, dict[str, Array]]  # training/NAME.safetensors: what each says of the descriptions held out


def build(
    folder: Path = CORPUS,
    config: TrainingConfig | None = None,
    say: Say = lambda line: None,
    workers: int = 1,
    earlier: Path | None = WEIGHTS,
) -> Weights:
    """Train everything from a corpus folder.

    The encoders' fine-tuning is nearly all of the cost. It is taken over from the weights in `earlier` where those were made from the
    same rows with the same settings, which changes no byte, nor do the `workers` processes that share it otherwise.
    """
    config = config or TrainingConfig()
    table = outcomes()
    corpus = read_corpus(folder)
    written = [row for row in corpus if row["kind"] != "voice"]
    marked = marked_clauses(written)
    rows = _knowing(written + marked, table)
    heard = _knowing(
        [*with_silence(written), *marked_voices(written), *(r for r in corpus if r["kind"] == "voice")], table
    )
    material = encoded(rows, config)
    origins = sorted({row["origin"] for row in rows})
    # A row written as a voice is in no fold: it is not judged, and every fine-tuning of the second encoder sees it.
    fold = np.array([origins.index(row["origin"]) % config.folds if row["origin"] in origins else -1 for row in heard])
    encoders: dict[str, dict[str, Array]] = {}
    held_out: dict[str, dict[str, Array]] = {}
    for name, recipe, chosen in zip(encoder.NAMES, config.recipes or (), (rows, heard), strict=False):
        made_from = _digest(chosen, fold, recipe, config)
        done = _earlier(earlier, name, made_from)
        if done is None:
            say(f"{name}: fine-tuning an encoder")
            done = _finetuned(chosen, fold[: len(chosen)], len(written), recipe, config, say, workers)
        encoders[name], held_out[name] = done
        held_out[name]["made_from"] = made_from
    fold = fold[: len(rows)]
    scores = None
    if encoders:
        scores = np.zeros((len(written), encoder.HEAD_OUTPUTS))
        said = [held_out[name]["scores"].astype(np.float32) for name in encoder.NAMES]
        scores[_held_out(written, fold, config)] = encoder.together(said)
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
        "voices": len(heard) - len(rows),
        "descriptions": sum(row["kind"] == "description" for row in written),
        "held_out": len(seen),
        "classes": {fact: list(values) for fact, values in CLASSES.items()},
        "outcomes": {"verdicts": list(table.verdicts), "framings": list(table.framings)},
        "bias": bias.tolist(),
        "quick": settle(seen, table, config.risks, careful=False),
    }
    if scores is not None:
        about["careful"] = settle(seen, table, config.careful_risks, careful=True)
        voices, judged = held_out[encoder.NAMES[1]], _held_out(written, fold, config)
        about["beliefs"] = beliefs.settle(
            [written[i] for i in judged.tolist()], scores[judged, OUTPUTS:], voices["sentences"].astype(np.float32)
        )
    return Weights(about, {"keys": material.keys, "weights": weights}, encoders, held_out)


def _held_out(written: Sequence[Row], fold: Array, config: TrainingConfig) -> Array:
    """The rows of the corpus on which everything is settled: the descriptions of the folds that are held out in turn."""
    told = np.array([row["kind"] == "description" for row in written])
    return np.flatnonzero(told & (fold[: len(written)] < config.held))


def _knowing(rows: Sequence[Row], table: Outcomes) -> list[Row]:
    """The rows, knowing where their facts lead."""
    return [{**row, "leads_to": table.verdicts[place_of(row["facts"])]} for row in rows]


def _digest(rows: Sequence[Row], fold: Array, recipe: FinetuneConfig, config: TrainingConfig) -> Array:
    """What a fine-tuning is made from, as the bytes of a hash (32,): its rows, the encoder's settings and the folds."""
    used = [{key: value for key, value in row.items() if key not in ("spans", "marks")} for row in rows]
    told = [used, asdict(recipe), fold[: len(rows)].tolist(), config.held]
    return np.frombuffer(hashlib.sha256(json.dumps(told).encode()).digest(), dtype=np.uint8)


def _earlier(folder: Path | None, name: str, made_from: Array) -> tuple[dict[str, Array], dict[str, Array]] | None:
    """A finished fine-tuning in a folder of weights, if it was made from the same."""
    if folder is None or not (folder / TRAINING / f"{name}.safetensors").is_file():
        return None
    held_out = encoder.load_arrays(folder / TRAINING / f"{name}.safetensors")
    if not np.array_equal(held_out["made_from"], made_from):
        return None
    return encoder.tuned_arrays(folder)[name], held_out


def _finetuned(
    rows: Sequence[Row],
    fold: Array,
    told: int,
    recipe: FinetuneConfig,
    config: TrainingConfig,
    say: Say,
    workers: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The fine-tuned layers, and what the encoder says of the descriptions held out among the first `told` rows: `scores` of each as a whole
    (description, head output), and `sentences`, the most that it says of concerns and beliefs in one of its sentences (description, label).
    """
    vocabulary = encoder.vocabulary_of(encoder.load_arrays(WEIGHTS / "base.safetensors"))
    ids = [encode(row["text"], vocabulary, encoder.LONGEST_TEXT) for row in rows]
    judged = _held_out(rows[:told], fold, config)
    scores = np.zeros((len(judged), encoder.HEAD_OUTPUTS), dtype=np.float16)
    sentences = np.zeros((len(judged), encoder.HEAD_OUTPUTS - OUTPUTS), dtype=np.float16)
    with open_place(workers) as place:
        whole = place.executor.submit(_tuned, rows, ids, recipe)
        parts = {}
        for k in range(config.held):
            kept, held = np.flatnonzero(fold != k).tolist(), np.flatnonzero(fold[judged] == k).tolist()
            if held:
                texts = [rows[judged[j]]["text"] for j in held]
                pieces = [[text, *sentences_of(text)] for text in texts]
                asked = [encode(piece, vocabulary, encoder.LONGEST_TEXT) for each in pieces for piece in each]
                job = [rows[i] for i in kept], [ids[i] for i in kept], recipe, asked
                parts[k] = held, [len(each) for each in pieces], place.executor.submit(_tuned, *job)
        for k, (held, sizes, part) in parts.items():
            for j, said in zip(held, np.split(part.result(), np.cumsum(sizes)[:-1]), strict=True):
                scores[j], sentences[j] = said[0], said[1:, OUTPUTS:].max(axis=0)
            say(f"fine-tuned without fold {k}")
        tuned = whole.result()
        say("fine-tuned on everything")
    return tuned, {"scores": scores, "sentences": sentences}


def _tuned(
    rows: Sequence[Row],
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
    """Write `model.json`, `quick.safetensors` and, if encoders were trained, their files."""
    from safetensors.numpy import save_file

    (folder / TRAINING).mkdir(parents=True, exist_ok=True)
    # Removed first and written last, since they vouch for the layers beside them.
    for name in made.held_out:
        (folder / TRAINING / f"{name}.safetensors").unlink(missing_ok=True)
    held_out = {f"{TRAINING}/{name}": content for name, content in made.held_out.items()}
    stored = encoder.as_stored(made.encoders) if made.encoders else {}
    for name, content in {"quick": made.quick, **stored, **held_out}.items():
        file = folder / f"{name}.safetensors"
        save_file({key: np.ascontiguousarray(array) for key, array in content.items()}, file)
    (folder / "model.json").write_text(json.dumps(made.about, indent=1) + "\n", encoding="utf-8")
