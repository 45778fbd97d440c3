"""Puts a model back as it was: weights and buffers in place, and no trace of the Trainer that had it.

A Trainer leaves more than weights behind: accelerate replaces the instance's `forward` by one under autocast,
its state is process-wide, and training arguments write to the environment. On transformers 5.23.0 a bfloat16
Trainer followed by a float32 one on the same model gives bfloat16 digits unless all of it is undone.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from gacheck.scratch import scratch_folder
from gacheck.watch.attributes import ObjectState
from gacheck.watch.spread import gather_in

Tensors = Sequence[torch.Tensor]


class Snapshot:
    """A model's state at one moment.

    Args:
        model: On its device.
        on_disk: Its weights are kept in a file, and read again each time; else in a copy on the model's device.
    """

    def __init__(self, model: torch.nn.Module, *, on_disk: bool = False) -> None:
        gather_in(model)
        self._model, self._parameters = model, list(model.parameters())
        self._tensors = [*self._parameters, *model.buffers()]
        parts = list(map(_own_part, self._tensors))
        self._as_they_were = self._in_file(parts) if on_disk else _in_memory(parts)
        self._attributes = ObjectState(*model.modules())
        self._environment = dict(os.environ)

    def remove_traces(self) -> None:
        """Undo what a Trainer put on the model, on accelerate and into the environment; keep the weights."""
        gather_in(self._model)
        self._attributes.restore()
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        _restore_environment(self._environment)

    def restore(self) -> None:
        """Put weights, buffers and everything else back."""
        self.remove_traces()
        with torch.no_grad():
            for tensor, before in zip(self._tensors, self._as_they_were(), strict=True):
                _own_part(tensor).copy_(before)
        for parameter in self._parameters:
            parameter.grad = None

    def _in_file(self, tensors: Tensors) -> Callable[[], Iterable[torch.Tensor]]:
        stack = ExitStack()
        weakref.finalize(self, stack.close)
        file = stack.enter_context(scratch_folder()) / "weights.pt"
        torch.save([each.detach() for each in tensors], file)
        # Mapped, not read: what is copied from it may go again.
        return lambda: torch.load(file, map_location="cpu", mmap=True, weights_only=True)


def _own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor, which may be spread over several."""
    to_local = getattr(tensor, "to_local", None)
    return tensor.detach() if to_local is None else to_local().detach()


def _in_memory(tensors: Tensors) -> Callable[[], Iterable[torch.Tensor]]:
    copies = [each.detach().clone() for each in tensors]
    return lambda: copies


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
        _restore_environment(environment)


def _restore_environment(before: Mapping[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
