"""The parts of the reader: features, heads, word pieces, encoder and decision, each against a plain form."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from advisor.engine import possible_verdicts
from advisor.reader import encoder, finetune, linear
from advisor.reader.decide import (
    Outcomes,
    Thresholds,
    agreed,
    combinations,
    decide,
    joint,
    marginal,
    mass,
    place_of,
    with_assumptions,
)
from advisor.reader.features import clauses, key, runs, words
from advisor.reader.many import read_many
from advisor.reader.model import (
    COLUMNS,
    CORPUS,
    OUTPUTS,
    PLACES,
    VERDICTS,
    WEIGHTS,
    Heads,
    ReaderWeightsError,
    load,
    shipped_model,
    softmax,
    softmax_by_fact,
)
from advisor.reader.propose import believe, split
from advisor.reader.recipe import FinetuneConfig
from advisor.reader.rows import read_corpus
from advisor.reader.train import outcomes
from advisor.reader.wordpiece import encode
from advisor.reader.wordpiece import words as pieces_of
from advisor.rulebook import load as load_rules

TEXTS = [row["text"] for row in read_corpus(CORPUS) if row["kind"] == "description"][:40]


def test_words_and_runs() -> None:
    """Words are lower case with inner apostrophes; runs are the 3 to 5 characters inside a word's padded form."""
    assert words("Don\u2019t RE-train, 3.5 naïve!") == ["don't", "re", "train", "3", "5", "naïve"]
    assert runs("a") == [" a "]
    assert runs("ab") == [" ab", "ab ", " ab "]


def plain_heads(vocabulary: linear.Vocabulary, weights: np.ndarray, bias: np.ndarray) -> Heads:
    """Heads over a vocabulary, as reading uses them."""
    rows = (weights * vocabulary.value[:, None]).astype(np.float16)
    return Heads(memoryview(vocabulary.keys().tobytes()).cast("I"), memoryview(rows.tobytes()), bias.tolist())


def test_heads_equal_a_plain_sum_over_features() -> None:
    """Looking words up whole gives what encoding each clause and multiplying by the weights gives, indexed or not."""
    cut = [[words(span.text) for span in clauses(text)] for text in TEXTS]
    vocabulary = linear.learn(cut, {"word": 1, "pair": 1, "run": 2})
    generator = np.random.default_rng(0)
    half = len(COLUMNS)
    weights, bias = (
        generator.normal(size=(len(vocabulary.value), half + OUTPUTS)),
        generator.normal(size=half + OUTPUTS),
    )
    heads = plain_heads(vocabulary, weights, bias)
    readings = [heads.read(text) for text in TEXTS]
    heads.index()
    for text, pieces, reading in zip(TEXTS, cut, readings, strict=True):
        assert reading == heads.read(text)
        for piece, got in zip(pieces, reading.by_clause, strict=True):
            columns, values = vocabulary.encode([piece])
            plain = np.array(values) @ weights[columns, :half] + bias[:half]
            np.testing.assert_allclose(got, softmax_by_fact(plain.tolist()), atol=3e-3)
        columns, values = vocabulary.encode(pieces)
        whole = np.array(values) @ weights[columns, 2 * half :] + bias[2 * half :]
        np.testing.assert_allclose(reading.verdict, softmax(whole.tolist()), atol=3e-3)


def test_keys_are_sorted_and_of_one_feature_each() -> None:
    """The table can be searched by halving, and no two features share a row."""
    vocabulary = linear.learn([[words(text)] for text in TEXTS], {"word": 1, "pair": 1, "run": 1})
    keys = vocabulary.keys()
    assert (np.diff(keys.astype(np.int64)) > 0).all()
    assert [key(feature) for feature in vocabulary.columns] == keys.tolist()
    assert {linear.kind(f) for f in vocabulary.columns} == {"word", "pair", "run"}


def test_heads_fitted_together_equal_scikit_learn() -> None:
    """All facts in one minimisation give the probabilities that one `LogisticRegression` a fact gives."""
    generator = np.random.default_rng(7)
    x = generator.normal(size=(120, 6)).astype(np.float32)
    targets = [generator.integers(0, 3, 120), (x[:, 0] + generator.normal(size=120) > 0).astype(int)]
    weights, bias = linear.fit(linear.sparse.csr_matrix(x), targets, [3, 2], 2.0, 200)
    for start, size, y in ((0, 3, targets[0]), (3, 2, targets[1])):
        scores = x @ weights[:, start : start + size] + bias[start : start + size]
        theirs = LogisticRegression(C=2.0 if size == 3 else 4.0, max_iter=1000, tol=1e-8).fit(x, y).predict_proba(x)
        ours = np.array([softmax(row) for row in scores.tolist()])
        np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_quick_reading_forgets_words_but_not_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded memory of words changes nothing in what is read."""
    model = load()
    free = [model.heads.read(text) for text in TEXTS]
    monkeypatch.setattr("advisor.reader.model.REMEMBERED_WORDS", 50)
    assert [model.heads.read(text) for text in TEXTS] == free


def test_many_texts_are_read_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch's sums in NumPy are those of a single text, empty texts and a forgetful memory included."""
    heads = load().heads
    texts = [*TEXTS, "", "... --- !!!", "one"]
    single = [heads.read(text) for text in texts]
    for remembered in (100_000, 50):
        monkeypatch.setattr("advisor.reader.many.REMEMBERED", remembered)
        together = [
            reading for start in range(0, len(texts), 10) for reading in read_many(heads, texts[start : start + 10])
        ]
        for one, other in zip(single, together, strict=True):
            assert one.clauses == other.clauses
            np.testing.assert_allclose(one.pooled, other.pooled, atol=1e-3)
            np.testing.assert_allclose(one.verdict, other.verdict, atol=1e-4)
            np.testing.assert_allclose(one.by_clause, other.by_clause, atol=1e-4)


def test_word_pieces() -> None:
    """Known pieces: longest first, accents gone, punctuation alone, an impossible word unknown, long texts cut."""
    base = encoder.load_arrays(WEIGHTS / "base.safetensors")
    vocabulary = encoder.vocabulary_of(base)
    names = {i: piece for piece, i in vocabulary.items()}
    assert [names[i] for i in encode("Unaffable Café, 3x!", vocabulary, 50)] == [
        "<s>", "una", "##ffa", "##ble", "cafe", ",", "3", "##x", "!", "</s>",
    ]  # fmt: skip
    assert pieces_of("a\u200bb\tc") == ["ab", "c"]
    assert encode("\U0001f916", vocabulary, 50)[1:-1] == [vocabulary["[UNK]"]]
    assert len(encode("word " * 900, vocabulary, encoder.LONGEST_TEXT)) == encoder.LONGEST_TEXT


def test_gelu_is_exact_enough() -> None:
    """The error function's approximation stays within 1e-6 of the exact one."""
    x = np.linspace(-6, 6, 301).astype(np.float32)
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    np.testing.assert_allclose(encoder.gelu(x), exact, atol=1e-6)


def test_numpy_layers_equal_the_torch_layers() -> None:
    """What is trained in torch is what is run in NumPy, padding included."""
    base, published = (encoder.load_arrays(WEIGHTS / f"{name}.safetensors") for name in ("base", "training/published"))
    ids = [encode(text, encoder.vocabulary_of(base), encoder.LONGEST_TEXT) for text in TEXTS[:3]]
    x, mask = encoder.embed(base, ids)
    theirs = finetune.Tuned(base, published, FinetuneConfig()).eval()
    bias = encoder.bias_of(base["distances"], mask)
    y = torch.from_numpy(x)
    for i in (0, 5):
        x = encoder.run_layer(encoder.layer_arrays(published, i), x, bias)
        with torch.no_grad():
            y = theirs.layers[i](y, torch.from_numpy(bias))
    np.testing.assert_allclose(x[mask], y.numpy()[mask], atol=2e-5)


def test_buckets_of_distances() -> None:
    """Near distances have a bucket each, far ones share them as T5's formula has it, and pieces before and after are told apart."""
    found = encoder.buckets(200)
    before, after = found[:, 0], found[0]  # how far back or ahead the other piece stands: 0 to 199
    assert before.tolist()[:9] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert before[8:].tolist() == [min(8 + int(math.log(d / 8) / math.log(16) * 8), 15) for d in range(8, 200)]
    assert after[1:].tolist() == (before[1:] + 16).tolist()


def test_quantised_rows_are_near() -> None:
    """No weight moves by more than half a step of its row."""
    matrix = np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)
    small, scale = encoder.quantise(matrix)
    assert small.dtype == np.int8
    assert (np.abs(small * scale[:, None] - matrix) <= scale[:, None] / 2 + 1e-6).all()


def test_encoder_reads_a_text_alike_alone_and_in_a_batch() -> None:
    """Padding changes nothing, and the heads' scores become probabilities."""
    together = encoder.read(TEXTS[:9])
    np.testing.assert_allclose(together[3], encoder.read([TEXTS[3]])[0], atol=1e-3)
    facts, verdict = split(together[3].tolist())
    assert [round(sum(facts[place.start : place.stop]), 6) for place in PLACES] == [1.0] * 4
    assert round(sum(verdict), 6) == 1.0


def test_two_encoders_speak_as_one() -> None:
    """Facts and verdicts are the mean of both; concerns and beliefs are the second's."""
    first, second = np.zeros((1, encoder.HEAD_OUTPUTS)), np.full((1, encoder.HEAD_OUTPUTS), 2.0)
    assert set(encoder.together([first, second])[0, :OUTPUTS]) == {1.0}
    assert set(encoder.together([first, second])[0, OUTPUTS:]) == {2.0}


def test_the_second_encoder_is_stored_beside_the_first(tmp_path: Path) -> None:
    """Differences wrap around, and come back to the byte."""
    first = {"m": np.array([[-128, 127, 3]], np.int8), "m.bias": np.ones(1, np.float32)}
    second = {"m": np.array([[127, -128, 5]], np.int8), "m.bias": np.zeros(1, np.float32)}
    stored = encoder.as_stored({"careful": first, "voices": second})
    assert stored["voices"]["m"].tolist() == [[-1, 1, 2]]
    for name, arrays in stored.items():
        save_file(arrays, tmp_path / f"{name}.safetensors")
    found = encoder.tuned_arrays(tmp_path)
    assert (
        found["voices"]["m"].tolist() == second["m"].tolist() and found["careful"]["m"].tolist() == first["m"].tolist()
    )


def test_outcomes_are_those_of_the_rules() -> None:
    """The table that the reader decides by is the rules' own, with what goes without saying filled in."""
    shipped = shipped_model().about["outcomes"]
    assert Outcomes(tuple(shipped["verdicts"]), tuple(shipped["framings"])) == outcomes()


def test_decisions_follow_the_rules() -> None:
    """Accepted values lead to the verdict that was decided, or leave it open; never to another one."""
    generator = np.random.default_rng(2)
    table, book = outcomes(), load_rules()
    thresholds = Thresholds(verdict=0.6, framing=0.7, fact=0.6, assumed=0.9)
    for scores in generator.normal(scale=3.0, size=(300, len(COLUMNS))).tolist():
        together = joint(softmax_by_fact(scores))
        masses = mass(together, table.by_verdict)
        best = max(masses, key=masses.__getitem__)
        values = decide(together, table, thresholds, (1.0, 0.0))
        possible = possible_verdicts({fact: v.value for fact, v in values.items()}, book)
        assert (possible == (best,)) == (masses[best] >= 0.6)
        assert not {f for f, v in values.items() if v.assumed} & {"test_tasks", "adaptation_gradients"}
        assert all(0.0 <= v.confidence <= 1.0 for v in values.values())
        assert all(v.confidence >= 0.9 for v in values.values() if v.assumed) or len(possible) == 1


def test_joint_probabilities_are_products() -> None:
    """Every combination's probability is the product over its facts, and they sum to one."""
    p = softmax_by_fact(np.random.default_rng(3).normal(size=len(COLUMNS)).tolist())
    together = joint(p)
    assert sum(together) == pytest.approx(1.0)
    columns = [COLUMNS.index(c) for c in [("training_tasks", "not_mentioned"), ("test_tasks", "shifted"),
                                          ("adaptation_gradients", "not_mentioned"), ("task_belief", "not_mentioned")]]  # fmt: skip
    assert together[place_of({"test_tasks": "shifted"})] == pytest.approx(math.prod(p[c] for c in columns))
    assert [place_of(facts) for facts in combinations()] == list(range(len(together)))
    np.testing.assert_allclose(marginal(together), p)


def test_a_head_over_verdicts_moves_verdicts_and_nothing_within_them() -> None:
    """At full weight the verdicts have the head's probabilities, at none their own, and within a verdict proportions stay."""
    table = outcomes()
    generator = np.random.default_rng(4)
    together = joint(softmax_by_fact(generator.normal(size=len(COLUMNS)).tolist()))
    direct = softmax(generator.normal(size=len(VERDICTS)).tolist())
    np.testing.assert_allclose(agreed(together, direct, table, 0.0), together)
    full = agreed(together, direct, table, 1.0)
    for label, p in zip(VERDICTS, direct, strict=True):
        of = table.by_verdict[label]
        assert sum(full[i] for i in of) == pytest.approx(p)
        assert full[of[0]] / full[of[-1]] == pytest.approx(together[of[0]] / together[of[-1]])


def test_every_verdict_of_the_rules_has_an_output() -> None:
    """The heads over verdicts know what the rules can decide."""
    assert set(VERDICTS) == set(outcomes().verdicts)


def test_assumptions_follow_from_the_test_tasks_alone() -> None:
    """Nothing is assumed where the test tasks are open or shifted."""
    assert with_assumptions({"training_tasks": "known_set"}) == {"training_tasks": "known_set"}
    assert with_assumptions({"test_tasks": "shifted"}) == {"test_tasks": "shifted"}
    assert with_assumptions({"test_tasks": "same_as_training"})["training_tasks"] == "known_set"


def test_both_readers_believe_in_probabilities() -> None:
    """What either reader believes of a text sums to one over all combinations."""
    for careful in (False, True):
        for belief in believe(TEXTS[:5], careful):
            assert sum(belief.together) == pytest.approx(1.0)


def test_damaged_weights_are_reported(tmp_path: Path) -> None:
    """Missing or damaged weights raise the reader's own error."""
    with pytest.raises(ReaderWeightsError):
        load(tmp_path)
    with pytest.raises(ReaderWeightsError):
        encoder.load(tmp_path)
    about = (WEIGHTS / "model.json").read_text(encoding="utf-8")
    for told, arrays in (
        ("{}", b"nothing"),
        (about, b"nothing"),
        (about, b""),
        (about, (8).to_bytes(8, "little") + b"{}      "),
    ):
        (tmp_path / "model.json").write_text(told, encoding="utf-8")
        (tmp_path / "quick.safetensors").write_bytes(arrays)
        with pytest.raises(ReaderWeightsError):
            load(tmp_path)
    (tmp_path / "base.safetensors").write_bytes(b"nothing")
    with pytest.raises(ReaderWeightsError):
        encoder.load(tmp_path)


def test_the_table_of_arrays_is_that_of_safetensors() -> None:
    """What is cut out of the file by hand is what the format's own library reads."""
    arrays = encoder.load_arrays(WEIGHTS / "quick.safetensors")
    model = shipped_model()
    assert arrays["keys"].tolist() == list(model.heads.keys)
    assert arrays["weights"].tobytes() == bytes(model.heads.rows)
