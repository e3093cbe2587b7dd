"""Fine-tuning of the encoder's layers on the corpus; word pieces and distances keep what they were published with. Needs torch.

Matrices are multiplied in bfloat16 (weights, norms and losses stay in float32), which halves the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from . import encoder
from .beliefs.weighing import LABELS
from .encoder import ATTENTION_HEADS, HEAD_OUTPUTS, LAYERS, MATRICES, NORM_EPSILON, NORMS, WIDTH
from .model import CLASSES, COLUMNS, NOT_MENTIONED, OUTPUTS, PLACES, VERDICTS
from .recipe import FinetuneConfig
from .rows import labelled


class Layer(nn.Module):
    """One transformer layer with trainable weights; `encoder.run_layer` is the same in NumPy."""

    def __init__(self, arrays: dict[str, NDArray[Any]], dropout: float) -> None:
        super().__init__()
        for name in MATRICES:
            linear = nn.Linear(arrays[name].shape[1], arrays[name].shape[0])
            linear.weight.data = torch.tensor(arrays[name])
            linear.bias.data = torch.tensor(arrays[f"{name}.bias"])
            self.add_module(name, linear)
        for name in NORMS:
            norm = nn.LayerNorm(WIDTH, eps=NORM_EPSILON)
            norm.weight.data = torch.tensor(arrays[name])
            norm.bias.data = torch.tensor(arrays[f"{name}.bias"])
            self.add_module(name, norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (text, piece, width), bias (text, head, piece, piece) -> (text, piece, width)."""
        part = dict(self.named_children())
        texts, length, _ = x.shape

        def heads(name: str) -> Tensor:
            y: Tensor = part[name](x)
            return y.view(texts, length, ATTENTION_HEADS, -1).transpose(1, 2)

        query = heads("query")
        mixed = F.scaled_dot_product_attention(query, heads("key"), heads("value"), attn_mask=bias.to(query.dtype))
        mixed = mixed.transpose(1, 2).reshape(texts, length, WIDTH)
        x = part["attended_norm"](x + self.dropout(part["attended"](mixed)))
        out: Tensor = part["narrow_norm"](x + self.dropout(part["narrow"](F.gelu(part["wide"](x)))))
        return out


class Tuned(nn.Module):
    """The layers and the heads of the facts, verdicts and beliefs."""

    def __init__(self, base: dict[str, Any], published: dict[str, Any], config: FinetuneConfig) -> None:
        super().__init__()
        self.base = base
        self.layers = nn.ModuleList(Layer(encoder.layer_arrays(published, i), config.dropout) for i in range(LAYERS))
        self.head = nn.Linear(WIDTH, HEAD_OUTPUTS)
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[OUTPUTS:], -3.0)  # concerns and beliefs are rare
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """The word pieces of some texts -> scores (text, head output)."""
        embedded, told = encoder.embed(self.base, ids)
        x, mask = torch.from_numpy(embedded), torch.from_numpy(told)
        bias = torch.from_numpy(encoder.bias_of(self.base["distances"], told))
        for layer in self.layers:
            x = layer(x, bias)
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        scores: Tensor = self.head(self.dropout(mean))
        return scores


def _batches(lengths: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Random batches of texts of like length: shuffled, sorted within ten batches, the batches shuffled again."""
    order = torch.randperm(len(lengths), generator=generator)
    found: list[Tensor] = []
    for start in range(0, len(order), size * 10):
        chunk = order[start : start + size * 10]
        alike = chunk[lengths[chunk].argsort(stable=True)]
        found.extend(alike[i : i + size] for i in range(0, len(alike), size))
    return [found[i] for i in torch.randperm(len(found), generator=generator)]


@dataclass(frozen=True)
class Labels:
    """What the rows say, as tensors, with the weight of each row in each part of the loss."""

    facts: Tensor  # (row, fact)
    verdict: Tensor  # (row,)
    beliefs: Tensor  # (row, label)
    weight: Tensor  # (row,): of its facts
    whole: Tensor  # (row,): 1 where the verdict of the whole text is known, which a clause has not
    labelled: Tensor  # (row,): 1 where concerns and beliefs were labelled


def labels_of(rows: Sequence[dict[str, Any]], config: FinetuneConfig) -> Labels:
    """Rows with `facts`, `kind` ("description", "clause" or "voice") and `leads_to`, the verdict that their facts lead to; a clause may be
    `silent`, which is known to voice nothing."""
    kinds = [row["kind"] for row in rows]
    facts = {"description": 1.0, "clause": config.clause_weight, "voice": 0.0}
    voiced = [[*row.get("concerns", ()), *row.get("pitfalls", ())] for row in rows]
    return Labels(
        torch.tensor([[v.index(row["facts"].get(f, NOT_MENTIONED)) for f, v in CLASSES.items()] for row in rows]),
        torch.tensor([VERDICTS.index(row["leads_to"]) for row in rows]),
        torch.tensor([[float(label in found) for label in LABELS] for found in voiced]),
        torch.tensor([facts[kind] for kind in kinds]),
        torch.tensor([float(kind == "description") for kind in kinds]),
        torch.tensor([float(row["kind"] == "voice" or labelled(row) or row.get("silent", False)) for row in rows]),
    )


def loss_of(scores: Tensor, labels: Labels, chosen: Tensor, config: FinetuneConfig) -> Tensor:
    """The loss of a batch: (row, head output) scores against the labels of the rows in `chosen`."""

    def cross_entropy(part: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(part, target, reduction="none", label_smoothing=config.label_smoothing)

    weight, half = labels.weight[chosen], len(COLUMNS)
    loss = torch.zeros(())
    for k, place in enumerate(PLACES):
        each = cross_entropy(scores[:, place.start : place.stop], labels.facts[chosen, k])
        loss = loss + (each * weight).sum() / weight.sum().clamp(min=1e-6)  # a batch may hold voices alone
    each = cross_entropy(scores[:, half:OUTPUTS], labels.verdict[chosen])
    loss = loss + config.verdict_weight * (each * labels.whole[chosen]).mean()
    each = F.binary_cross_entropy_with_logits(
        scores[:, OUTPUTS:],
        labels.beliefs[chosen],
        reduction="none",
        pos_weight=torch.full((len(LABELS),), config.belief_positive),
    ).sum(1)
    return loss + config.belief_weight * (each * labels.labelled[chosen]).mean()


def finetune(
    rows: Sequence[dict[str, Any]],
    ids: Sequence[Sequence[int]],
    base: dict[str, Any],
    published: dict[str, Any],
    config: FinetuneConfig,
) -> Tuned:
    """Train on rows as `labels_of` takes them, with the ids of their word pieces; the same seed gives the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    labels = labels_of(rows, config)
    lengths = torch.tensor([len(row) for row in ids])
    tuned = Tuned(base, published, config)
    groups = [
        {"params": tuned.layers.parameters(), "lr": config.step_size},
        {"params": tuned.head.parameters(), "lr": config.head_step_size},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    steps = config.epochs * len(_batches(lengths, config.batch, torch.Generator()))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / (config.warm_up * steps), max(0.0, 1 - s / steps))
    )
    tuned.train()
    for _ in range(config.epochs):
        for chosen in _batches(lengths, config.batch, generator):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = tuned([ids[i] for i in chosen.tolist()])
            loss = loss_of(scores.float(), labels, chosen, config)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(tuned.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return tuned.eval()


def predict(tuned: Tuned, ids: Sequence[Sequence[int]]) -> NDArray[Any]:
    """Scores (text, head output); texts of like length are run together."""
    found = np.zeros((len(ids), HEAD_OUTPUTS), dtype=np.float32)
    by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for start in range(0, len(ids), encoder.BATCH):
            chosen = by_length[start : start + encoder.BATCH]
            found[chosen] = tuned([ids[i] for i in chosen]).float().numpy()
    return found


def arrays_of(tuned: Tuned) -> dict[str, NDArray[Any]]:
    """What `weights/careful.safetensors` and `weights/voices.safetensors` hold: the layers as int8 with scales, and the heads as float32."""
    out: dict[str, NDArray[Any]] = {}
    for i, layer in enumerate(tuned.layers):
        state = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
        for name in MATRICES:
            out[f"{i}.{name}"], out[f"{i}.{name}.scale"] = encoder.quantise(state[f"{name}.weight"])
            out[f"{i}.{name}.bias"] = state[f"{name}.bias"]
        for name in NORMS:
            out[f"{i}.{name}"], out[f"{i}.{name}.bias"] = state[f"{name}.weight"], state[f"{name}.bias"]
    out["head"] = tuned.head.weight.detach().numpy()
    out["head.bias"] = tuned.head.bias.detach().numpy()
    return out
