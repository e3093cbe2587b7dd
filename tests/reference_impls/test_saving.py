"""The state of a training on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from reference_impls.saving import load_state, resume_training, save_state, save_training


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
