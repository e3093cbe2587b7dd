"""The careful half of the reader: a pretrained transformer, fine-tuned on the corpus, run in NumPy.

The encoder is the lower part of MPNet (Song et al. 2020, "MPNet: Masked and Permuted Pre-training for Language
Understanding"; the sentence encoder all-mpnet-base-v2, Apache License 2.0): 6 of its 12 layers, of width 768, stored as int8 with one
scale for each row. `weights/base.safetensors` holds the word pieces as they were published, `weights/training/published.safetensors` the
layers, from which the fine-tuning starts and which reading never opens. `finetune.py` made two encoders of them, layers and heads:
`weights/voices.safetensors` was taught short texts that voice a concern or a belief as well, which `weights/careful.safetensors` was not, for
they cost it some of its facts. Of facts the reader believes both alike. Reading needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .beliefs.weighing import LABELS
from .model import OUTPUTS, WEIGHTS, ReaderWeightsError
from .wordpiece import encode

LAYERS, WIDTH, ATTENTION_HEADS = 6, 768, 12
LONGEST_TEXT = 256  # word pieces read of one text; longer texts are cut, as the encoder was trained on no longer ones
NORM_EPSILON = 1e-5
EXACT, FARTHEST = 8, 128  # distances between pieces that have a bias of their own, and from which on all share one
MATRICES = ("query", "key", "value", "attended", "wide", "narrow")
NORMS = ("attended_norm", "narrow_norm")
BATCH = 16  # texts run through the layers at once
HEAD_OUTPUTS = OUTPUTS + len(LABELS)  # the facts' values, the verdicts, the concerns and beliefs
# Of the two encoders; the second was taught to hear concerns and beliefs in short texts, too.
NAMES = ("careful", "voices")


def quantise(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(row, column) floats -> int8 of the same shape and a scale for each row (row,)."""
    scale = (np.abs(matrix).max(axis=1) / 127.0 + 1e-12).astype(np.float32)
    return np.round(matrix / scale[:, None]).astype(np.int8), scale


def restore(arrays: dict[str, Any], name: str) -> NDArray[Any]:
    """The float32 matrix that `quantise` stored under `name` and `name.scale`."""
    matrix: NDArray[Any] = arrays[name].astype("float32") * arrays[f"{name}.scale"][:, None]
    return matrix


def layer_arrays(arrays: dict[str, Any], layer: int) -> dict[str, NDArray[Any]]:
    """One layer's float32 arrays by their short names: matrices (out, in), their biases, and the two norms."""
    found = {name: restore(arrays, f"{layer}.{name}") for name in MATRICES}
    found |= {f"{name}.bias": arrays[f"{layer}.{name}.bias"] for name in (*MATRICES, *NORMS)}
    return found | {name: arrays[f"{layer}.{name}"] for name in NORMS}


def _norm(x: NDArray[Any], scale: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    out: NDArray[Any] = centred / np.sqrt(variance + NORM_EPSILON) * scale + bias
    return out


def gelu(x: NDArray[Any]) -> NDArray[Any]:
    """Gaussian error linear unit, with erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = np.abs(x) * np.float32(0.7071067811865476)
    t = 1.0 / (1.0 + 0.3275911 * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(x) * (1.0 - poly * np.exp(-z * z))
    out: NDArray[Any] = (0.5 * x * (1.0 + erf)).astype(np.float32)
    return out


def buckets(length: int) -> NDArray[np.int64]:
    """Which bias of attention belongs to each pair of pieces, (from piece, to piece): Raffel et al. 2020, "T5", section 2.1.

    Half of the buckets are for pieces that come before, half for those after; near distances have one each, farther ones share them on
    a logarithmic scale.
    """
    back = np.arange(length)[:, None] - np.arange(length)[None, :]
    distance = np.abs(back)
    steps = np.log(np.maximum(distance, 1) / EXACT) / np.log(FARTHEST / EXACT) * EXACT
    shared = np.minimum(EXACT + steps.astype(np.int64), 2 * EXACT - 1)
    found: NDArray[np.int64] = np.where(distance < EXACT, distance, shared) + np.where(back < 0, 2 * EXACT, 0)
    return found


def bias_of(table: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """What is added to the scores of attention: (bucket, head) biases and mask (text, piece) -> (text, head, from piece, to piece)."""
    by_distance = table[buckets(mask.shape[1])].transpose(2, 0, 1)[None]
    out: NDArray[Any] = np.where(mask[:, None, None, :], by_distance, np.float32(-1e9))
    return out


def run_layer(layer: dict[str, NDArray[Any]], x: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    """One transformer layer: x (text, piece, width), bias as `bias_of` gives it -> (text, piece, width)."""
    texts, length, _ = x.shape

    def heads(name: str) -> NDArray[Any]:
        y = x @ layer[name].T + layer[f"{name}.bias"]
        split: NDArray[Any] = y.reshape(texts, length, ATTENTION_HEADS, -1).transpose(0, 2, 1, 3)
        return split  # (text, head, piece, width of a head)

    q, k, v = heads("query"), heads("key"), heads("value")
    scores = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(q.shape[-1])) + bias  # (text, head, piece, piece)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(texts, length, WIDTH)
    x = _norm(
        x + mixed @ layer["attended"].T + layer["attended.bias"], layer["attended_norm"], layer["attended_norm.bias"]
    )
    wide = gelu(x @ layer["wide"].T + layer["wide.bias"])
    return _norm(x + wide @ layer["narrow"].T + layer["narrow.bias"], layer["narrow_norm"], layer["narrow_norm.bias"])


def vocabulary_of(base: dict[str, Any]) -> dict[str, int]:
    """The word pieces of the encoder with their ids."""
    return {piece: i for i, piece in enumerate(bytes(base["vocabulary"]).decode("utf-8").split("\n"))}


def embed(base: dict[str, Any], ids: Sequence[Sequence[int]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Word pieces -> what enters the first layer (text, piece, width), and the mask (text, piece) true where a piece is."""
    length = max(map(len, ids))
    padded = np.zeros((len(ids), length), dtype=np.int64)
    mask = np.zeros((len(ids), length), dtype=bool)
    for i, row in enumerate(ids):
        padded[i, : len(row)] = row
        mask[i, : len(row)] = True
    table, scale = base["words"], base["words.scale"]
    x = table[padded].astype(np.float32) * scale[padded][..., None] + base["positions"][:length]
    return _norm(x, base["words_norm"], base["words_norm.bias"]), mask


@dataclass(frozen=True)
class Encoder:
    """All weights in memory."""

    vocabulary: dict[str, int]
    base: dict[str, NDArray[Any]]
    layers: tuple[dict[str, NDArray[Any]], ...]
    head: NDArray[Any]  # (head output, width)
    head_bias: NDArray[Any]  # (head output,)

    def pooled(self, texts: Sequence[str]) -> NDArray[Any]:
        """The mean over a text's pieces after the last layer, (text, width)."""
        ids = [encode(text, self.vocabulary, LONGEST_TEXT) for text in texts]
        out = np.zeros((len(texts), WIDTH), dtype=np.float32)
        by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(ids), BATCH):
            chosen = by_length[start : start + BATCH]
            x, mask = embed(self.base, [ids[i] for i in chosen])
            bias = bias_of(self.base["distances"], mask)
            with threadpool_limits(1):  # matrices this small lose more by waiting for a second thread than it brings
                for layer in self.layers:
                    x = run_layer(layer, x, bias)
            out[chosen] = (x * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return out

    def scores(self, texts: Sequence[str]) -> NDArray[Any]:
        """What the heads say of each text, before any softmax: (text, head output)."""
        out: NDArray[Any] = self.pooled(texts) @ self.head.T + self.head_bias
        return out


def load_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file. Raises `ReaderWeightsError` when it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, Any] = load_file(str(path))
        return arrays
    except (OSError, SafetensorError) as error:
        raise ReaderWeightsError(f"the reader's weights {path} cannot be used ({error}); rebuild them") from error


def as_stored(tuned: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The arrays of each encoder by its name as files hold them: the second's int8 as differences from the first's, modulo 256.

    Both began as the same layers, so differences are small, and a wheel compresses them to three fifths.
    """
    first, second = (tuned[name] for name in NAMES)
    apart = {key: a - first[key] if a.dtype == np.int8 else a for key, a in second.items()}
    return dict(zip(NAMES, (first, apart), strict=True))


def tuned_arrays(folder: Path) -> dict[str, dict[str, Any]]:
    """The arrays of each encoder by its name, from its file. Raises `ReaderWeightsError` when they cannot be read."""
    first, second = (load_arrays(folder / f"{name}.safetensors") for name in NAMES)
    try:
        second = {key: a + first[key] if a.dtype == np.int8 else a for key, a in second.items()}
    except (KeyError, ValueError) as error:
        raise ReaderWeightsError(f"the reader's weights in {folder} do not fit together ({error})") from error
    return dict(zip(NAMES, (first, second), strict=True))


def load(folder: Path = WEIGHTS) -> tuple[Encoder, ...]:
    """Read both encoders. Raises `ReaderWeightsError` when their files cannot be used."""
    base = load_arrays(folder / "base.safetensors")
    try:
        return tuple(_encoder(base, tuned) for tuned in tuned_arrays(folder).values())
    except (KeyError, ValueError, AttributeError) as error:
        raise ReaderWeightsError(f"the reader's weights in {folder} do not fit together ({error})") from error


def _encoder(base: dict[str, Any], tuned: dict[str, Any]) -> Encoder:
    layers = tuple(layer_arrays(tuned, i) for i in range(LAYERS))
    if tuned["head"].shape != (HEAD_OUTPUTS, WIDTH):
        raise ReaderWeightsError("the careful reader's weights were trained for other facts: train it again")
    return Encoder(vocabulary_of(base), base, layers, tuned["head"], tuned["head.bias"])


@lru_cache(maxsize=1)
def shipped_encoders() -> tuple[Encoder, ...]:
    """The encoders that travel with the package, loaded once."""
    return load()


def together(scores: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """What both encoders say, each (text, head output): the mean of facts and verdicts; of concerns and beliefs what the second says."""
    out: NDArray[Any] = np.concatenate(
        [np.mean([s[:, :OUTPUTS] for s in scores], axis=0), scores[1][:, OUTPUTS:]], axis=1
    )
    return out


def read(texts: Sequence[str]) -> NDArray[Any]:
    """What the shipped encoders say together of each text, before any softmax: (text, head output)."""
    return together([encoder.scores(texts) for encoder in shipped_encoders()])


def hear(texts: Sequence[str]) -> list[list[float]]:
    """What the second encoder says of the concerns and beliefs in each text, as log-odds (text, label)."""
    found: list[list[float]] = shipped_encoders()[1].scores(texts)[:, OUTPUTS:].tolist()
    return found
