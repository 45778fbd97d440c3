"""Random state, and forwards besides those of the training that leave no trace in it."""

from __future__ import annotations

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
        model: Its forwards get copies of its buffers to work on. The originals are not touched, not even to put them
            back: a graph that is still to be differentiated may have saved them.
        start: What the block draws from, so that it repeats an earlier forward; by default the present state.
    """
    before = RandomState.now(model)
    copies: dict[int, torch.Tensor] = {}
    held = [(module._buffers, dict(module._buffers)) for module in model.modules() if module._buffers]
    for registry, originals in held:
        for name, buffer in originals.items():
            if buffer is not None:
                registry[name] = copies.setdefault(id(buffer), buffer.detach().clone())
    try:
        if start is not None:
            start.restore()
        yield
    finally:
        for registry, originals in held:
            registry.update(originals)
        before.restore()


@contextmanager
def books_kept(trainer: Any) -> Iterator[None]:
    """Put back what a Trainer counts and collects for its log: a question must not be logged as a training."""
    books = {name: (value, _contents(value)) for name, value in vars(trainer).items() if _is_book(value)}
    try:
        yield
    finally:
        vars(trainer).update({name: _put_back(value, contents) for name, (value, contents) in books.items()})


def _is_book(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() <= 1
    if isinstance(value, dict):
        return all(map(_is_book, value.values()))
    if isinstance(value, (list, tuple, set, deque)):
        return all(map(_is_book, value))
    return value is None or isinstance(value, (int, float, str))


def _contents(value: Any) -> Any:
    """Copy what a book holds: every entry with what it holds in turn."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: (entry, _contents(entry)) for name, entry in value.items()}
    return [(entry, _contents(entry)) for entry in value] if isinstance(value, (list, set, deque)) else None


def _put_back(value: Any, contents: Any) -> Any:
    """Put a book back in place, since others may hold it too, and return it."""
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            value.copy_(contents)
    elif isinstance(value, dict):
        entries = {name: _put_back(entry, held) for name, (entry, held) in contents.items()}
        value.clear()
        value.update(entries)
    elif contents is not None:
        items = [_put_back(entry, held) for entry, held in contents]
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(items)
    return value
