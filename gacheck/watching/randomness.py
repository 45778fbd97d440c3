"""Random state, and forwards besides those of the training that leave no trace in it."""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class RandomState:
    """Where the generators stand that a forward may draw from: Python's, NumPy's if it is loaded, torch's."""

    of_python: Any
    of_numpy: Any
    of_torch: torch.Tensor
    of_devices: tuple[tuple[torch.device, torch.Tensor], ...]

    @classmethod
    def now(cls, model: torch.nn.Module) -> RandomState:
        """Read the generators, also of the devices that the model is on."""
        devices = {p.device for p in model.parameters() if p.device.type in ("cuda", "mps")}
        states = tuple((d, _accelerator(d).get_rng_state(*_index(d))) for d in devices)
        numpy = sys.modules.get("numpy")
        return cls(random.getstate(), numpy and numpy.random.get_state(), torch.get_rng_state(), states)

    def restore(self) -> None:
        """Put the generators back."""
        random.setstate(self.of_python)
        if self.of_numpy is not None:
            sys.modules["numpy"].random.set_state(self.of_numpy)
        torch.set_rng_state(self.of_torch)
        for device, state in self.of_devices:
            _accelerator(device).set_rng_state(state, *_index(device))


def _accelerator(device: torch.device) -> Any:
    return torch.cuda if device.type == "cuda" else torch.mps


def _index(device: torch.device) -> tuple[torch.device, ...]:
    return (device,) if device.type == "cuda" else ()


@contextmanager
def undisturbed(model: torch.nn.Module, start: RandomState | None = None) -> Iterator[None]:
    """Leave random state and buffers as they were: an extra forward must not change the training.

    Args:
        model: Whose buffers are put back.
        start: What the block draws from, so that it repeats an earlier forward; by default the present state.
    """
    before = RandomState.now(model)
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    if start is not None:
        start.restore()
    try:
        yield
    finally:
        before.restore()
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


@contextmanager
def books_kept(trainer: Any) -> Iterator[None]:
    """Put back what a Trainer counts and collects for its log: a question must not be logged as a training."""
    books = {name: copy.deepcopy(value) for name, value in vars(trainer).items() if _is_book(value)}
    try:
        yield
    finally:
        vars(trainer).update(books)


def _is_book(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() <= 1
    if isinstance(value, dict):
        return all(map(_is_book, value.values()))
    if isinstance(value, (list, tuple, set, deque)):
        return all(map(_is_book, value))
    return value is None or isinstance(value, (int, float, str))
