"""Watches one `training_step`: the logits of its forward, and what backward did to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from gacheck.rules.task import CAUSAL_LM, TASKS
from gacheck.watch.backward import BackwardRoots, watching_backward
from gacheck.watch.batches import Batch
from gacheck.watch.cross_entropy import LogitsReader, find_logits, may_score, resolution
from gacheck.watch.restoring import RandomState, undisturbed


class MicroBatchReader:
    """What one `training_step` showed.

    Args:
        model: Whose forward is watched.
        inputs: The micro-batch, as `training_step` is given it.
        shifts: Whether the loss shifts the labels; None where that is not known yet.

    Attributes:
        inputs: The micro-batch.
        readers: What was seen of the logits, under each alignment.
        backward: The loss whose gradient was taken.
        trouble: Why something could not be seen.
    """

    def __init__(self, model: torch.nn.Module, inputs: Batch, shifts: bool | None) -> None:
        self._model = model
        # The Trainer takes the labels out of its inputs where it computes the loss itself.
        self.inputs: Batch = dict(inputs)
        labels, shifted = scored_labels(self.inputs)
        self._dims = labels.dim() + 1
        self.readers = {
            each: LogitsReader(labels, shifts=each) for each in alignments(labels, collated=shifted, shifts=shifts)
        }
        self.backward = BackwardRoots()
        self.trouble: Exception | None = None
        self._forward: tuple[dict[str, Any], RandomState] | None = None
        self._is_paused = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what happens in the block."""
        with ExitStack() as stack:
            before = self._model.register_forward_pre_hook(self._before_forward, with_kwargs=True)
            stack.callback(before.remove)
            stack.callback(self._model.register_forward_hook(self._after_forward).remove)
            self.backward = stack.enter_context(watching_backward())
            yield

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Watch nothing in the block: its forwards are not the training's."""
        was, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = was

    def _before_forward(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if self._is_paused:
            return
        try:
            self._forward = kwargs, RandomState.now(module)
        except Exception as error:
            self.trouble = error

    def _after_forward(self, module: torch.nn.Module, args: Any, outputs: Any) -> None:
        if self._is_paused or not torch.is_grad_enabled():
            return
        try:
            logits, blur = find_logits(outputs, self._dims), 0.0
            if logits is None:
                logits = self._replay()
                # A forward of its own may have multiplied its matrices in another order than the fused loss.
                blur = 0.0 if logits is None else resolution(logits.dtype)
            for reader in self.readers.values():
                if logits is not None and may_score(logits, reader.labels):
                    reader.read(logits, blur=blur)
        except Exception as error:  # the training goes on, whatever becomes of the watching
            self.trouble = error

    @torch.no_grad()
    def _replay(self) -> torch.Tensor | None:
        """Repeat the forward without labels: a fused cross-entropy gives no logits where it is handed them."""
        assert self._forward is not None
        given, start = self._forward
        without = {name: value for name, value in given.items() if name not in CAUSAL_LM.for_the_loss}
        # A fused loss may have a switch among the arguments; the micro-batch alone asks for a plain forward.
        plain = {name: value for name, value in without.items() if name in self.inputs or name == "use_cache"}
        for arguments in (plain, without):
            with self.pausing(), undisturbed(self._model, start):
                logits = find_logits(self._model(**arguments), self._dims)
            if logits is not None:
                return logits
        return None


def has_labels(inputs: Batch) -> bool:
    """Whether the inputs of a micro-batch hold labels of a kind that cross-entropy scores."""
    try:
        scored_labels(inputs)
    except ValueError:
        return False
    return True


def alignments(labels: torch.Tensor, *, collated: bool, shifts: bool | None) -> tuple[bool, ...]:
    """Return whether a loss may shift the labels: both where it is not known.

    Args:
        labels: As `scored_labels` returns them.
        collated: Whether the collator has aligned them.
        shifts: What is known.
    """
    possible = next(task.alignments for task in TASKS if task.label_dims == labels.dim())
    return (False,) if collated else possible if shifts is None or shifts not in possible else (shifts,)


def scored_labels(inputs: Batch) -> tuple[torch.Tensor, bool]:
    """Return the labels of a micro-batch and whether the collator has aligned them with the logits already.

    Raises:
        ValueError: There are none.
    """
    for task in TASKS:
        for name in filter(None, (task.shifted_labels, task.labels)):
            labels = inputs.get(name)
            if isinstance(labels, torch.Tensor) and labels.dim() == task.label_dims and not labels.is_floating_point():
                return labels, name == task.shifted_labels
    raise ValueError("its inputs hold no labels, so there is no cross-entropy to hold its loss against")


def labels_of(batch: Mapping[str, Any]) -> tuple[torch.Tensor | None, bool]:
    """Return the same; no labels where there are none."""
    try:
        return scored_labels(dict(batch))
    except ValueError:
        return None, False
