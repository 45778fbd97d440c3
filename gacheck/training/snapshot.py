"""Puts a model back as it was: weights and buffers in place, and no trace of the Trainer that had it.

A Trainer leaves more than weights behind: accelerate replaces the instance's `forward` by one under autocast,
its state is process-wide, and training arguments write to the environment. On transformers 5.23.0 a bfloat16
Trainer followed by a float32 one on the same model gives bfloat16 digits unless all of it is undone.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState


class Snapshot:
    """A model's state at one moment; costs one copy of its weights, on the model's device."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._tensors = [(t, t.detach().clone()) for t in (*model.parameters(), *model.buffers())]
        self._attributes = [(module, _shallow_state(module)) for module in model.modules()]
        self._environment = dict(os.environ)

    def remove_traces(self) -> None:
        """Undo what a Trainer put on the model, on accelerate and into the environment; keep the weights."""
        for module, attributes in self._attributes:
            state = vars(module)
            for name in state.keys() - attributes.keys():
                del state[name]
            for name, (value, entries) in attributes.items():
                state[name] = value
                if entries is not None and value != entries:
                    value.clear()
                    value.update(entries)
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


def _shallow_state(module: torch.nn.Module) -> dict[str, tuple[Any, dict[Any, Any] | None]]:
    """Copy the module's attributes, and the contents of its hook registries.

    The registries of parameters, buffers and submodules are left out: their entries are restored in place.
    """
    return {
        name: (value, dict(value) if name.endswith("_hooks") and isinstance(value, dict) else None)
        for name, value in vars(module).items()
    }
