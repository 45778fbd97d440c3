"""Puts a model back as it was: weights and buffers in place, and no trace of the Trainer that had it.

A Trainer leaves more than weights behind: accelerate replaces the instance's `forward` by one under autocast,
its state is process-wide, and training arguments write to the environment. On transformers 5.23.0 a bfloat16
Trainer followed by a float32 one on the same model gives bfloat16 digits unless all of it is undone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState


class Snapshot:
    """A model's state at one moment; costs one copy of its weights, on the model's device."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._tensors = [(t, t.detach().clone()) for t in (*model.parameters(), *model.buffers())]
        self._modules = [Kept(module) for module in model.modules()]
        self._environment = dict(os.environ)

    def remove_traces(self) -> None:
        """Undo what a Trainer put on the model, on accelerate and into the environment; keep the weights."""
        for module in self._modules:
            module.restore()
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        for name in os.environ.keys() - self._environment.keys():
            del os.environ[name]
        os.environ.update(self._environment)

    def restore(self) -> None:
        """Put weights, buffers and everything else back."""
        self.remove_traces()
        with torch.no_grad():
            for tensor, before in self._tensors:
                tensor.copy_(before)
                tensor.grad = None


class Kept:
    """An object's attributes at one moment, and what its lists and dictionaries hold."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing
        self._attributes = {name: (value, _contents(value)) for name, value in vars(thing).items()}

    def restore(self) -> None:
        """Put them back, in place: others may hold the same lists and dictionaries."""
        state = vars(self._thing)
        for name in state.keys() - self._attributes.keys():
            del state[name]
        for name, (value, contents) in self._attributes.items():
            state[name] = value
            if contents is not None:
                value.clear()
                (value.update if isinstance(value, dict) else value.extend)(contents)


def _contents(value: Any) -> dict[Any, Any] | list[Any] | None:
    return dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else None


@contextmanager
def accelerate_kept() -> Iterator[None]:
    """Put accelerate's process-wide state and the environment back: somebody else's training may rely on them."""
    states = [(cls, dict(cls._shared_state)) for cls in (PartialState, AcceleratorState, GradientState)]
    environment = dict(os.environ)
    try:
        yield
    finally:
        for cls, state in states:
            cls._shared_state.clear()
            cls._shared_state.update(state)
        os.environ.clear()
        os.environ.update(environment)
