"""Watches one `training_step`: the logits of its forward, and what backward did to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from gacheck.rules.task import CAUSAL_LM, Task
from gacheck.watch.backward import BackwardRoots, watching_backward
from gacheck.watch.batches import Batch
from gacheck.watch.cross_entropy import LogitsReader, find_logits, resolution
from gacheck.watch.restoring import RandomState, undisturbed


class MicroBatchReader:
    """What one `training_step` showed.

    Args:
        model: Whose forward is watched.
        inputs: The micro-batch, as `training_step` is given it.
        alignments: Whether the loss shifts the labels; both values where that is not known yet.
        task: Says where the targets stand.

    Attributes:
        inputs: The micro-batch.
        start: Random state before the step, so that it can be repeated.
        readers: What was seen of the logits, under each alignment.
        backward: The loss whose gradient was taken.
        trouble: Why something could not be seen.
    """

    def __init__(
        self, model: torch.nn.Module, inputs: Batch, alignments: Sequence[bool], task: Task = CAUSAL_LM
    ) -> None:
        self._model = model
        self._task = task
        # The Trainer takes the labels out of its inputs where it computes the loss itself.
        self.inputs: Batch = dict(inputs)
        labels, shifted = scored_labels(self.inputs, task)
        self.start = RandomState.now(model)
        self.readers = {shifts: LogitsReader(labels, shifts=shifts) for shifts in ([False] if shifted else alignments)}
        self.backward = BackwardRoots()
        self.trouble: Exception | None = None
        self._forward: tuple[dict[str, Any], RandomState] | None = None
        self._is_replay = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what happens in the block."""
        with ExitStack() as stack:
            before = self._model.register_forward_pre_hook(self._before_forward, with_kwargs=True)
            stack.callback(before.remove)
            stack.callback(self._model.register_forward_hook(self._after_forward).remove)
            self.backward = stack.enter_context(watching_backward())
            yield

    def _before_forward(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if self._is_replay:
            return
        try:
            self._forward = kwargs, RandomState.now(module)
        except Exception as error:
            self.trouble = error

    def _after_forward(self, module: torch.nn.Module, args: Any, outputs: Any) -> None:
        if self._is_replay or not torch.is_grad_enabled():
            return
        try:
            logits, blur = find_logits(outputs), 0.0
            if logits is None:
                logits = self._replay()
                # A forward of its own may have multiplied its matrices in another order than the fused loss.
                blur = 0.0 if logits is None else resolution(logits.dtype)
            if logits is not None:
                for reader in self.readers.values():
                    reader.read(logits, blur=blur)
        except Exception as error:  # the training goes on, whatever becomes of the watching
            self.trouble = error

    @torch.no_grad()
    def _replay(self) -> torch.Tensor | None:
        """Repeat the forward without labels: a fused cross-entropy gives no logits where it is handed them."""
        assert self._forward is not None
        given, start = self._forward
        without = {name: value for name, value in given.items() if name not in self._task.for_the_loss}
        # A fused loss may have a switch among the arguments; the micro-batch alone asks for a plain forward.
        plain = {name: value for name, value in without.items() if name in self.inputs or name == "use_cache"}
        self._is_replay = True
        try:
            for arguments in (plain, without):
                with undisturbed(self._model, start):
                    logits = find_logits(self._model(**arguments))
                if logits is not None:
                    return logits
        finally:
            self._is_replay = False
        return None


def has_labels(inputs: Batch, task: Task = CAUSAL_LM) -> bool:
    """Whether the inputs of a micro-batch hold labels of the task's kind."""
    try:
        scored_labels(inputs, task)
    except ValueError:
        return False
    return True


def scored_labels(inputs: Batch, task: Task = CAUSAL_LM) -> tuple[torch.Tensor, bool]:
    """Return the labels of a micro-batch and whether the collator has aligned them with the logits already.

    Raises:
        ValueError: There are none.
    """
    for name in (task.shifted_labels, task.labels):
        labels = inputs.get(name) if name is not None else None
        if isinstance(labels, torch.Tensor) and labels.dim() == task.label_dims:
            return labels, name == task.shifted_labels
    raise ValueError("its inputs hold no labels, so there is no cross-entropy to hold its loss against")
