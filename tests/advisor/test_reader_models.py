"""The parts of the reader: features, heads, word pieces, encoder, decision and training, each against a plain form."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from advisor.engine import possible_verdicts
from advisor.reader import encoder, finetune
from advisor.reader.decide import Outcomes, Thresholds, combinations, decide, joint, marginal, mass, with_assumptions
from advisor.reader.features import clauses, learn, runs, words
from advisor.reader.model import (
    CLASSES,
    COLUMNS,
    CORPUS,
    WEIGHTS,
    Heads,
    ReaderWeightsError,
    load,
    shipped_model,
    softmax_by_fact,
)
from advisor.reader.recipe import FinetuneConfig
from advisor.reader.train import TrainingConfig, build, outcomes, read_corpus, save
from advisor.reader.wordpiece import encode
from advisor.reader.wordpiece import words as pieces_of
from advisor.rulebook import load as load_rules

TEXTS = [row["text"] for row in read_corpus(CORPUS) if row["kind"] == "description"][:40]


def test_words_and_runs() -> None:
    """Words are lower case with inner apostrophes; runs are the 3 to 5 characters inside a word's padded form."""
    assert words("Don\u2019t RE-train, 3.5 naïve!") == ["don't", "re", "train", "3", "5", "naïve"]
    assert runs("a") == [" a "]
    assert runs("ab") == [" ab", "ab ", " ab "]


def test_heads_equal_a_plain_sum_over_features() -> None:
    """The quick look-up gives what encoding each clause and multiplying by the weights gives."""
    cut = [[words(span.text) for span in clauses(text)] for text in TEXTS]
    vocabulary = learn(cut, {"word": 1, "pair": 1, "run": 2})
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(len(vocabulary.value), 2 * len(COLUMNS)))
    bias = generator.normal(size=2 * len(COLUMNS))
    heads = Heads(vocabulary, weights, bias)
    reading = heads.read(TEXTS)
    half = len(COLUMNS)
    for text, by_clause in zip(TEXTS, reading.by_clause, strict=True):
        for span, got in zip(clauses(text), by_clause, strict=True):
            columns, values = vocabulary.encode([words(span.text)])
            plain = np.array(values) @ weights[columns, :half] + bias[:half]
            np.testing.assert_allclose(got, softmax_by_fact(plain), atol=1e-4)
    one_by_one = np.concatenate([heads.read([text]).pooled for text in TEXTS])
    np.testing.assert_allclose(reading.pooled, one_by_one, atol=1e-4)


def test_quick_reading_forgets_words_but_not_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded memory of words changes nothing in what is read."""
    model = shipped_model()
    free = model.heads.read(TEXTS).pooled
    monkeypatch.setattr("advisor.reader.model.REMEMBERED_WORDS", 50)
    np.testing.assert_allclose(np.concatenate([model.heads.read([t]).pooled for t in TEXTS]), free, atol=1e-4)


def test_word_pieces() -> None:
    """Known pieces: longest first, accents gone, punctuation alone, an impossible word unknown, long texts cut."""
    base = encoder.load_arrays(WEIGHTS / "base.safetensors")
    vocabulary = finetune.vocabulary_of(base)
    names = {i: piece for piece, i in vocabulary.items()}
    assert [names[i] for i in encode("Unaffable Café, 3x!", vocabulary, 50)] == [
        "[CLS]", "una", "##ffa", "##ble", "cafe", ",", "3", "##x", "!", "[SEP]",
    ]  # fmt: skip
    assert pieces_of("a\u200bb\tc") == ["ab", "c"]
    assert encode("\U0001f916", vocabulary, 50)[1:-1] == [vocabulary["[UNK]"]]
    assert len(encode("word " * 900, vocabulary, encoder.LONGEST_TEXT)) == encoder.LONGEST_TEXT


def test_gelu_is_exact_enough() -> None:
    """The error function's approximation stays within 1e-6 of the exact one."""
    x = np.linspace(-6, 6, 301).astype(np.float32)
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    np.testing.assert_allclose(encoder.gelu(x), exact, atol=1e-6)


def test_numpy_layer_equals_the_torch_layer() -> None:
    """What is trained in torch is what is run in NumPy, padding included."""
    base = encoder.load_arrays(WEIGHTS / "base.safetensors")
    arrays = encoder.layer_arrays(base, 5)
    x = np.random.default_rng(0).normal(size=(3, 7, encoder.WIDTH)).astype(np.float32)
    mask = np.arange(7)[None, :] < np.array([7, 4, 1])[:, None]
    with torch.no_grad():
        theirs = finetune.Layer(arrays, 0.0)(torch.from_numpy(x), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(encoder.run_layer(arrays, x, mask)[mask], theirs[mask], atol=2e-5)


def test_quantised_rows_are_near() -> None:
    """No weight moves by more than half a step of its row."""
    matrix = np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)
    small, scale = encoder.quantise(matrix)
    assert small.dtype == np.int8
    assert (np.abs(small * scale[:, None] - matrix) <= scale[:, None] / 2 + 1e-6).all()


def test_encoder_reads_a_text_alike_alone_and_in_a_batch() -> None:
    """Padding changes nothing."""
    model = encoder.shipped_encoder()
    together = model.probabilities(TEXTS[:9])
    np.testing.assert_allclose(together[3], model.probabilities([TEXTS[3]])[0], atol=1e-4)
    for start, values in zip(np.cumsum([0, *map(len, CLASSES.values())]), CLASSES.values(), strict=False):
        np.testing.assert_allclose(together[:, start : start + len(values)].sum(axis=1), 1.0, atol=1e-6)


def test_outcomes_are_those_of_the_rules() -> None:
    """The table that the reader decides by is the rules' own, with what goes without saying filled in."""
    shipped = shipped_model().about["outcomes"]
    assert Outcomes(tuple(shipped["verdicts"]), tuple(shipped["framings"])) == outcomes()


def test_decisions_follow_the_rules() -> None:
    """Accepted values lead to the verdict that was decided, or leave it open; never to another one."""
    generator = np.random.default_rng(2)
    table, book = outcomes(), load_rules()
    scores = generator.normal(scale=3.0, size=(300, len(COLUMNS)))
    p = softmax_by_fact(scores)
    thresholds = Thresholds(verdict=0.6, framing=0.7, fact=0.6)
    mass_of = mass(joint(p), table.verdicts)
    for i, values in enumerate(decide(joint(p), table, thresholds, (1.0, 0.0))):
        best = max(mass_of, key=lambda v: mass_of[v][i])
        possible = possible_verdicts({fact: v.value for fact, v in values.items()}, book)
        assert (possible == (best,)) == (mass_of[best][i] >= 0.6)
        assert not {f for f, v in values.items() if v.assumed} & {"test_tasks", "adaptation_gradients"}
        assert all(0.0 <= v.confidence <= 1.0 for v in values.values())


def test_joint_probabilities_are_products() -> None:
    """Every combination's probability is the product over its facts, and they sum to one."""
    p = softmax_by_fact(np.random.default_rng(3).normal(size=(2, len(COLUMNS))))
    together = joint(p)
    np.testing.assert_allclose(together.sum(axis=1), 1.0)
    stated = combinations()[0].index({"test_tasks": "shifted"})
    columns = [COLUMNS.index(c) for c in [("training_tasks", "not_mentioned"), ("test_tasks", "shifted"),
                                          ("adaptation_gradients", "not_mentioned"), ("task_belief", "not_mentioned")]]  # fmt: skip
    np.testing.assert_allclose(together[:, stated], p[:, columns].prod(axis=1))


def test_marginals_undo_the_joint() -> None:
    """Summing a product's combinations gives each fact's own probabilities back, and a mixture's the mean of both."""
    p, q = (softmax_by_fact(np.random.default_rng(seed).normal(size=(4, len(COLUMNS)))) for seed in (4, 5))
    np.testing.assert_allclose(marginal(joint(p)), p)
    np.testing.assert_allclose(marginal((joint(p) + joint(q)) / 2), (p + q) / 2)


def test_assumptions_follow_from_the_test_tasks_alone() -> None:
    """Nothing is assumed where the test tasks are open or shifted."""
    assert with_assumptions({"training_tasks": "known_set"}) == {"training_tasks": "known_set"}
    assert with_assumptions({"test_tasks": "shifted"}) == {"test_tasks": "shifted"}
    assert with_assumptions({"test_tasks": "same_as_training"})["training_tasks"] == "known_set"


def small_corpus(folder: Path, every: int) -> Path:
    """A part of the corpus, its origins kept."""
    for i, row in enumerate(read_corpus(CORPUS)):
        if i % every == 0:
            path = folder / "corpus" / row["origin"] / "rows.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return folder / "corpus"


def test_training_is_reproducible(tmp_path: Path) -> None:
    """The same corpus gives the same bytes twice, encoder included."""
    small = small_corpus(tmp_path, 100)
    config = TrainingConfig(recipe=FinetuneConfig(tuned_layers=1, epochs=1))
    for name in ("first", "second"):
        save(*build(small, config), tmp_path / name)
    for file in ("model.json", "model.npz", "careful.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    assert load(tmp_path / "first").heads.read(TEXTS).pooled.shape[0] == len(TEXTS)


def test_damaged_weights_are_reported(tmp_path: Path) -> None:
    """Missing or damaged weights raise the reader's own error."""
    with pytest.raises(ReaderWeightsError):
        load(tmp_path)
    with pytest.raises(ReaderWeightsError):
        encoder.load(tmp_path)
    (tmp_path / "model.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.npz").write_bytes(b"nothing")
    with pytest.raises(ReaderWeightsError):
        load(tmp_path)
    (tmp_path / "base.safetensors").write_bytes(b"nothing")
    with pytest.raises(ReaderWeightsError):
        encoder.load(tmp_path)
