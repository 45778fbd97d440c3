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

Tensors = Sequence[torch.Tensor]


class Snapshot:
    """A model's state at one moment.

    Args:
        model: On its device.
        on_disk: Its weights are kept in a file, and read again each time; else in a copy on the model's device.
    """

    def __init__(self, model: torch.nn.Module, *, on_disk: bool = False) -> None:
        self._tensors = [*model.parameters(), *model.buffers()]
        self._as_they_were = self._in_file(self._tensors) if on_disk else _in_memory(self._tensors)
        self._attributes = ObjectState(*model.modules())
        self._environment = dict(os.environ)

    def remove_traces(self) -> None:
        """Undo what a Trainer put on the model, on accelerate and into the environment; keep the weights."""
        self._attributes.restore()
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        _restore_environment(self._environment)

    def restore(self) -> None:
        """Put weights, buffers and everything else back."""
        self.remove_traces()
        with torch.no_grad():
            for tensor, before in zip(self._tensors, self._as_they_were(), strict=True):
                tensor.copy_(before)
                tensor.grad = None

    def _in_file(self, tensors: Tensors) -> Callable[[], Iterable[torch.Tensor]]:
        stack = ExitStack()
        weakref.finalize(self, stack.close)
        file = stack.enter_context(scratch_folder()) / "weights.pt"
        torch.save([each.detach() for each in tensors], file)
        # Mapped, not read: what is copied from it may go again.
        return lambda: torch.load(file, map_location="cpu", mmap=True, weights_only=True)


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
