"""What a training leaves on disk: its state, and the scalars of each iteration.

The state is tensors and plain JSON data in one safetensors file, with nothing in it that can run: safetensors keeps only the tensors'
names, types, shapes and bytes, and a header of strings; the JSON data stand there.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn


def save_state(path: str | os.PathLike[str], tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `tensors` and `meta`, JSON data, to the file `path`: either the whole new file is there afterwards, or what was there before.

    Raises TypeError where `meta` is not JSON data, OSError where the folder cannot be written.
    """
    path = Path(path)
    # A copy of each: safetensors refuses tensors that share their memory or have gaps in it.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = save(whole, {"meta": json.dumps(meta)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the name must not move to content that is not there yet
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the JSON data that `save_state` wrote to `path`.

    Raises OSError where the file cannot be read, ValueError where it is not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["meta"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta
    except OSError:
        raise
    except Exception as error:  # safetensors has an exception type of its own, which does not say so by its base
        raise ValueError(f"{path} is not a state written by save_state: {error}") from error


def save_training(
    path: str | os.PathLike[str],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    iteration: int,
    settings: dict[str, Any],
) -> None:
    """Write all that a training needs to go on as if it had never stopped; `settings` say which training it is."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():  # parameter -> its tensors
        tensors |= {f"optimizer.{i}.{name}": tensor for name, tensor in state.items()}
    tensors["generator"] = generator.get_state()
    save_state(path, tensors, {"iteration": iteration, "settings": settings})


def resume_training(
    path: str | os.PathLike[str],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    settings: dict[str, Any],
) -> int:
    """Put the three back as `save_training` found them and give the iterations done; without a file 0, and nothing is touched.

    Raises ValueError where the file is of a training with other settings, or none of these at all.
    """
    if not Path(path).exists():
        return 0
    tensors, meta = load_state(path)
    if meta.get("settings") != settings or "generator" not in tensors:
        raise ValueError(f"{path} is no checkpoint of a training with these settings; give another name, or remove it")
    module.load_state_dict(under("module.", tensors))
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in under("optimizer.", tensors).items():
        i, kind = name.split(".")
        states.setdefault(int(i), {})[kind] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    generator.set_state(tensors["generator"])
    return int(meta["iteration"])


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors whose name begins with `prefix`, by the rest of their name."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Scalars:
    """Writes named numbers of each iteration: as lines of JSON at the end of the file `log`, as TensorBoard events in the folder
    `tensorboard`, or as neither. To be used in a `with` block. OSError where the file cannot be written, ValueError without TensorBoard.
    """

    def __init__(self, log: str | os.PathLike[str] | None = None, tensorboard: str | os.PathLike[str] | None = None) -> None:
        self._open, self._log, self._events = ExitStack(), None, None
        if tensorboard is not None:
            try:  # it loads only where the package tensorboard is installed
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError("events for TensorBoard need its package: pip install tensorboard, or the extra of that name") from error
            self._events = self._open.enter_context(SummaryWriter(str(tensorboard)))
        if log is not None:
            self._log = self._open.enter_context(open(log, "a", encoding="utf-8"))

    def write(self, iteration: int, **scalars: float) -> None:
        """Add the numbers of one iteration."""
        if self._log is not None:
            self._log.write(json.dumps({"iteration": iteration, **scalars}) + "\n")
            self._log.flush()  # to be read while the training goes on, and whole if it is killed
        if self._events is not None:
            for name, value in scalars.items():
                self._events.add_scalar(name, value, iteration)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()
