"""Puts back what extra forwards and trainings change: random state, buffers, the attributes of objects."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

# A Trainer's attributes that hold what it is fed: large, and nobody keeps books in them.
DATA = frozenset({"train_dataset", "eval_dataset"})


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


class ObjectState:
    """An object's attributes at one moment, and what the collections among them hold, those within them too.

    They are put back in place, since others may hold the same ones. Numbers on a device count as well; larger tensors,
    weights and buffers come back as the same tensors, whatever values they have by then.
    """

    def __init__(self, thing: Any) -> None:
        attributes = vars(thing)
        self._collections: list[tuple[Any, list[Any]]] = []
        self._numbers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._seen: set[int] = set()
        self._note_items(attributes)
        is_module = isinstance(thing, torch.nn.Module)
        for name, value in attributes.items():
            if is_module and name in ("_parameters", "_buffers"):
                self._note_items(value)
            elif name not in DATA:
                self._note(value)

    def restore(self) -> None:
        """Put everything back."""
        for collection, items in self._collections:
            _refill(collection, items)
        with torch.no_grad():
            for tensor, value in self._numbers:
                # What was not written to is not either: a graph that is still to be differentiated may have saved it.
                if not torch.equal(tensor, value):
                    tensor.copy_(value)

    def _note(self, value: Any) -> None:
        """Note a value, and what it holds down to the bottom."""
        if isinstance(value, torch.Tensor):
            if value.numel() == 1 and not isinstance(value, torch.nn.Parameter):
                self._numbers.append((value, value.detach().clone()))
        elif isinstance(value, (list, tuple, set, deque, dict)) and id(value) not in self._seen:
            self._seen.add(id(value))
            if not isinstance(value, tuple):
                self._note_items(value)
            for item in value.values() if isinstance(value, dict) else value:
                self._note(item)

    def _note_items(self, collection: Any) -> None:
        items = collection.items() if isinstance(collection, dict) else collection
        self._collections.append((collection, list(items)))


def _refill(collection: Any, items: list[Any]) -> None:
    collection.clear()
    if isinstance(collection, dict):
        for name, value in items:  # one by one: a ModelOutput refuses to be updated
            collection[name] = value
    else:
        (collection.update if isinstance(collection, set) else collection.extend)(items)


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
    books = ObjectState(trainer)
    try:
        yield
    finally:
        books.restore()


@contextmanager
def gradients_aside(model: torch.nn.Module) -> Iterator[None]:
    """Give every parameter no gradient within the block, and afterwards the very tensor that it had."""
    held = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _ in held:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in held:
            parameter.grad = gradient


@contextmanager
def hooks_muted(model: torch.nn.Module) -> Iterator[None]:
    """Let no hook act that waits for a gradient of a parameter or of a module; those that are added in the block do.

    Such a hook may do the optimizer's work, layer by layer, or scale what it is given. Hooks on a forward are part of
    what is computed and stay. Backward keeps hold of the collections themselves, so they are emptied in place.
    A module's hooks enter the graph at its forward: that has to happen within the block, too.
    """
    held = [(hooks, list(hooks.items())) for hooks in _gradient_hooks(model)]
    for hooks, _ in held:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, before in held:
            hooks.clear()
            hooks.update(before)


def _gradient_hooks(model: torch.nn.Module) -> Iterator[dict[int, Any]]:
    owners = (*model.parameters(), *model.modules())
    yield from (torch.nn.modules.module._global_backward_hooks, torch.nn.modules.module._global_backward_pre_hooks)
    for owner in owners:
        for name in ("_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks"):
            hooks = getattr(owner, name, None)
            if hooks:
                yield hooks
