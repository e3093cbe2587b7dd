"""The floor under a meta-gradient: the time of its bare matrix products."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

Shape = tuple[int, int, int, int]  # product of (task, rows, inner) and (task, inner, columns)


def seconds_of(function: Callable[[], object], repeats: int) -> float:
    """CPU seconds of one call: the mean of so many, after one that does not count."""
    function()
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats


def backward(shapes: list[Shape]) -> list[Shape]:
    """The two products in the derivative of each product."""
    return [shape for b, m, k, n in shapes for shape in ((b, m, n, k), (b, k, m, n))]


def meta_gradient(tasks: int, rows: int, sizes: tuple[int, ...]) -> list[Shape]:
    """The products of a second-order meta-gradient of one inner step, of a network of these layer sizes on so many rows a task.

    Inner loss forward and backward, both of these differentiated, outer loss forward and backward.
    """
    forward = [(tasks, rows, i, o) for i, o in zip(sizes[:-1], sizes[1:], strict=True)]
    inner = forward + backward(forward)[1:]  # no derivative in the inputs of the first layer
    return inner + backward(inner) + forward + backward(forward)[1:]


def products(shapes: list[Shape]) -> Callable[[], None]:
    """A call that does these products and nothing else."""
    pairs: list[tuple[Tensor, Tensor]] = [(torch.ones(b, m, k), torch.ones(b, k, n)) for b, m, k, n in shapes]

    def multiply() -> None:
        for one, other in pairs:
            torch.bmm(one, other)

    return multiply
