"""The loss whose gradient is taken: what `backward` is called on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class BackwardRoots:
    """The losses on which `backward` was called; `None` among them is one that is no single number."""

    def __init__(self) -> None:
        self.roots: list[float | None] = []

    @property
    def loss(self) -> float | None:
        """Their sum, which is what was added to the gradient; None if any was not seen."""
        known = [root for root in self.roots if root is not None]
        return sum(known) if known and len(known) == len(self.roots) else None


def _number(root: Any) -> float | None:
    if not isinstance(root, torch.Tensor) or root.numel() != 1 or root.is_complex():
        return None
    return float(root.detach())


@contextmanager
def watching_backward() -> Iterator[BackwardRoots]:
    """Note what `backward` is called on within the block, and call on.

    `Tensor.backward` looks `torch.autograd.backward` up when it is called, so that one place sees every way of
    calling it. Calls within a backward, as of gradient checkpointing, are parts of it.
    """
    watch, original, depth = BackwardRoots(), torch.autograd.backward, 0

    def noted(tensors: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal depth
        if depth == 0:
            weight = args[0] if args else kwargs.get("grad_tensors")
            # A gradient that is handed in weighs the loss.
            watch.roots.append(_number(tensors) if weight is None else None)
        depth += 1
        try:
            original(tensors, *args, **kwargs)
        finally:
            depth -= 1

    torch.autograd.backward = noted
    try:
        yield watch
    finally:
        torch.autograd.backward = original
