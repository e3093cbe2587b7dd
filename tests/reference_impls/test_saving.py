"""The state of a training on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reference_impls.saving import Scalars, load_state, resume_training, save_state, save_training


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    """Tensors, shared and transposed ones too, and JSON data are read back equal."""
    matrix = torch.arange(6.0).view(2, 3)
    tensors = {"matrix": matrix, "turned": matrix.T, "same": matrix, "bytes": torch.get_rng_state()}
    meta = {"iteration": 3, "name": "RL²", "list": [1, 2.5, None]}
    save_state(tmp_path / "state", tensors, meta)
    read, read_meta = load_state(tmp_path / "state")
    assert read_meta == meta
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last step fails the old file is whole and nothing else is left in the folder."""
    path = tmp_path / "state"
    save_state(path, {"x": torch.ones(2)}, {})

    def refuse(*names: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        save_state(path, {"x": torch.zeros(2)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    assert load_state(path)[0]["x"].tolist() == [1, 1]
    with pytest.raises(TypeError):
        save_state(path, {}, {"not JSON": {1, 2}})
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("content", [b"", b"junk", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 64])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file that save_state did not write ends with a ValueError that names it, a missing one with an OSError."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="other"):
        load_state(path)
    with pytest.raises(OSError):
        load_state(tmp_path / "missing")


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator, n: int) -> None:
    """Take n steps of regression on drawn data."""
    for _ in range(n):
        x = torch.randn(8, 3, generator=generator)
        optimizer.zero_grad()
        (module(x) - x.sum(-1, keepdim=True)).square().mean().backward()
        optimizer.step()


def fresh(seed: int) -> tuple[nn.Module, torch.optim.Optimizer, torch.Generator]:
    torch.manual_seed(seed)
    module = nn.Linear(3, 1)
    return module, torch.optim.Adam(module.parameters(), lr=0.1), torch.Generator().manual_seed(seed)


def test_a_resumed_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    """Ten steps, and five with five more after a restart, end with the same bits."""
    whole, first, second = fresh(0), fresh(0), fresh(1)
    steps(*whole, 10)
    steps(*first, 5)
    save_training(tmp_path / "training", *first, 5, {"lr": 0.1})
    assert resume_training(tmp_path / "training", *second, {"lr": 0.1}) == 5
    steps(*second, 5)
    assert all(torch.equal(a, b) for a, b in zip(whole[0].parameters(), second[0].parameters(), strict=True))


def test_only_its_own_training_is_resumed(tmp_path: Path) -> None:
    """Without a file nothing is done; a file of other settings and one that is no checkpoint end with a ValueError."""
    parts = fresh(0)
    before = parts[0].weight.clone()
    assert resume_training(tmp_path / "training", *parts, {}) == 0
    save_training(tmp_path / "training", *parts, 5, {"lr": 0.1})
    with pytest.raises(ValueError, match="another name"):
        resume_training(tmp_path / "training", *parts, {"lr": 0.2})
    save_state(tmp_path / "plain", {"x": torch.ones(1)}, {"settings": {}})
    with pytest.raises(ValueError, match="plain"):
        resume_training(tmp_path / "plain", *parts, {})
    assert torch.equal(parts[0].weight, before)


def test_scalars_are_lines_of_json(tmp_path: Path) -> None:
    """Each iteration is a line of its own at the end of the file, there to read at once; without a file nothing is written."""
    path = tmp_path / "log.jsonl"
    for first in (1, 3):
        with Scalars(path) as scalars:
            scalars.write(first, loss=0.5)
            assert len(path.read_text().splitlines()) == first
            scalars.write(first + 1, loss=0.25)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1:3] == [{"iteration": 2, "loss": 0.25}, {"iteration": 3, "loss": 0.5}]
    with Scalars() as scalars:
        scalars.write(1, loss=1.0)
    assert list(tmp_path.iterdir()) == [path]


def test_scalars_go_to_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number becomes an event of its name and iteration in the folder, and the writer is closed at the end."""
    events: list[object] = []

    class SummaryWriter:
        """Stands for TensorBoard's writer, whose package is an extra."""

        def __init__(self, folder: str) -> None:
            events.append(folder)

        def __enter__(self) -> SummaryWriter:
            return self

        def __exit__(self, *error: object) -> None:
            events.append("closed")

        def add_scalar(self, *event: object) -> None:
            events.append(event)

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    with Scalars(tensorboard=tmp_path) as scalars:
        scalars.write(7, loss=0.5, reward=2.0)
    assert events == [str(tmp_path), ("loss", 0.5, 7), ("reward", 2.0, 7), "closed"]


def test_without_tensorboard_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events asked for without the package end with a ValueError that says how to get it, and no file is begun."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        Scalars(tmp_path / "log.jsonl", tmp_path / "events")
    assert not list(tmp_path.iterdir())
