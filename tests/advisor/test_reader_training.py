"""The training of the reader: its rows, its loss, and that the same corpus gives the same bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from advisor.reader import encoder, finetune
from advisor.reader.model import COLUMNS, CORPUS, OUTPUTS, VERDICTS, load
from advisor.reader.recipe import FinetuneConfig
from advisor.reader.rows import marked_clauses, marked_voices, read_corpus, with_silence
from advisor.reader.settle import Risks
from advisor.reader.train import TrainingConfig, build, save


def small_corpus(folder: Path, every: int) -> Path:
    """A part of the corpus, its origins kept."""
    for i, row in enumerate(read_corpus(CORPUS)):
        if i % every == 0:
            path = folder / "corpus" / row["origin"] / "rows.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return folder / "corpus"


def test_training_is_reproducible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same corpus gives the same bytes, in one process or in two or from an earlier fine-tuning, encoder and beliefs included."""
    small = small_corpus(tmp_path, 200)
    config = TrainingConfig(recipes=(FinetuneConfig(epochs=1), FinetuneConfig(epochs=1, belief_weight=1.0)))
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    save(build(small, config), first)
    save(build(small, config, workers=2), second)
    with monkeypatch.context() as patched:
        patched.setattr("advisor.reader.train._finetuned", None)
        save(build(small, config, earlier=first), third)
        with pytest.raises(TypeError):  # other settings: the earlier one is of no use
            build(small, TrainingConfig(recipes=(FinetuneConfig(epochs=2), FinetuneConfig())), earlier=first)
        another = {"text": "nothing is lost", "kind": "voice", "facts": {}, "concerns": [], "pitfalls": []}
        (small / "voices" / "another.jsonl").write_text(json.dumps(another) + "\n", encoding="utf-8")
        lines: list[str] = []
        with pytest.raises(TypeError):  # another voice row is news to the second encoder alone
            build(small, config, say=lines.append, earlier=first)
        assert lines == ["voices: fine-tuning an encoder"]
    files = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert files == [
        "careful.safetensors",
        "model.json",
        "quick.safetensors",
        "training/careful.safetensors",
        "training/voices.safetensors",
        "voices.safetensors",
    ]
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes() == (third / file).read_bytes()
    assert len(load(first).heads.read("Sixteen dances are given.").verdict) == len(VERDICTS)
    assert load(first).about["beliefs"]["bias"]


def test_what_is_stated_of_certainty_decides_nothing(tmp_path: Path) -> None:
    """Doubled odds of an error lower every verdict's certainty and its threshold alike."""
    small = small_corpus(tmp_path, 100)
    plain, doubled = (
        build(small, TrainingConfig(recipes=None, risks=Risks(odds_outside=odds))).about["quick"] for odds in (1.0, 2.0)
    )
    for wanted in ("thresholds", "asking"):
        before, after = plain[wanted].pop("verdict"), doubled[wanted].pop("verdict")
        assert (1 - after) / after == pytest.approx(2 * (1 - before) / before)
    assert doubled["scale"][0] == plain["scale"][0]
    assert doubled["scale"][1] == pytest.approx(plain["scale"][1] - math.log(2))
    assert all(doubled[part] == plain[part] for part in ("stack", "powers", "thresholds", "asking"))


ROW = {"text": "", "facts": {}, "leads_to": VERDICTS[0]}
VOICE = {**ROW, "kind": "voice", "concerns": ["capacity_limits"]}
CLAUSE = {**ROW, "kind": "clause", "facts": {"training_tasks": "single"}}
TOLD = {**ROW, "kind": "description", "verdict": VERDICTS[0]}


@pytest.mark.parametrize(
    ("row", "counted"),
    [
        (VOICE, {"beliefs"}),
        (CLAUSE, {"facts"}),
        ({**CLAUSE, "silent": False}, {"facts"}),
        ({**CLAUSE, "silent": True}, {"facts", "beliefs"}),
        ({**TOLD, "pitfalls": ["conflating"]}, {"facts", "verdict", "beliefs"}),
        ({**ROW, "kind": "description"}, {"facts", "verdict"}),  # its concerns were never labelled
    ],
)
def test_a_row_counts_only_where_it_has_a_label(row: dict[str, object], counted: set[str]) -> None:
    """The loss pulls at the outputs of the parts that were labelled, and at no other."""
    config = FinetuneConfig()
    labels = finetune.labels_of([TOLD, row], config)
    scores = torch.zeros(2, encoder.HEAD_OUTPUTS, requires_grad=True)
    finetune.loss_of(scores, labels, torch.tensor([0, 1]), config).backward()
    assert scores.grad is not None
    half, pulled = len(COLUMNS), scores.grad[1].abs()
    parts = {"facts": pulled[:half], "verdict": pulled[half:OUTPUTS], "beliefs": pulled[OUTPUTS:]}
    assert {name for name, part in parts.items() if part.max() > 0} == counted


def test_a_batch_of_marked_words_alone_has_a_loss() -> None:
    """Batches hold texts of like length, so one may hold no fact at all."""
    config = FinetuneConfig()
    loss = finetune.loss_of(
        torch.zeros(2, encoder.HEAD_OUTPUTS),
        finetune.labels_of([VOICE, VOICE], config),
        torch.tensor([0, 1]),
        config,
    )
    assert 0 < float(loss) < float("inf")


def test_marked_words_become_rows() -> None:
    """One row for the same words, whatever they carry; none where nothing is marked."""
    words = "the trunk is too small"
    row = {
        "text": f"{words}.",
        "origin": "x",
        "marks": {"capacity_limits": words, "conflating": words, "maml_by_default": "small"},
    }
    voices = marked_voices([row, {"text": "no", "origin": "x"}])
    assert voices == [
        {
            "text": words,
            "facts": {},
            "kind": "voice",
            "origin": "x",
            "concerns": ["capacity_limits"],
            "pitfalls": ["conflating"],
        },
        {"text": "small", "facts": {}, "kind": "voice", "origin": "x", "pitfalls": ["maml_by_default"]},
    ]


def test_clauses_that_voice_nothing_are_known() -> None:
    """Words marked for a fact voice nothing where concerns were labelled and none is marked in them; written ones where no cue holds."""
    text = "Sixteen dances are given, and the network is too small to hold them all."
    row = {
        "text": text,
        "kind": "description",
        "origin": "x",
        "facts": {"training_tasks": "known_set", "test_tasks": "same_as_training"},
        "spans": {"training_tasks": "Sixteen dances", "test_tasks": "to hold them all"},
        "marks": {"capacity_limits": "the network is too small to hold"},
    }
    assert [clause["silent"] for clause in with_silence([row])[1:]] == [False, False]  # its concerns were not labelled
    told = {**row, "verdict": "multi_task"}
    assert [clause["silent"] for clause in with_silence([told])[1:]] == [True, False]
    assert [{k: v for k, v in c.items() if k != "silent"} for c in with_silence([told])[1:]] == marked_clauses([told])
    written = [{**CLAUSE, "text": t} for t in ("sixteen dances", "the gradients of two dances conflict")]
    assert [clause["silent"] for clause in with_silence(written)] == [True, False]
