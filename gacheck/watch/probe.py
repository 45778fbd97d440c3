"""Watches any Trainer instance and notes raw facts per micro-batch. It never changes what is computed.

It wraps the instance's `training_step`, whose return value is what the Trainer adds to its log, and reads
`accelerator.sync_gradients` afterwards: true at the last micro-batch of an optimizer step, when the gradient
is whole and not yet clipped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from gacheck.rules.facts import CodeLocation, MicroBatchRecord, Observation, StepRecord
from gacheck.rules.plain import match_plain
from gacheck.rules.task import CAUSAL_LM
from gacheck.watch.batches import Batch, batch_fingerprints, count_labels, count_targets
from gacheck.watch.cross_entropy import resolution
from gacheck.watch.micro_batch import MicroBatchReader
from gacheck.watch.replays import ask_location, ask_own_loss

Gradients = dict[str, torch.Tensor]

# A weight is the same for all targets of a micro-batch up to roundings; read against labels that are one position
# off it varies by more than the weight itself.
CLEAR_SPREAD = 0.05


class Probe:
    """Facts of one training, micro-batch by micro-batch.

    Args:
        trainer: Any Trainer; watched from now on.
        shifts: Whether the model scores label t+1 at position t; None to find it out at the first micro-batch.
        observed_steps: At how many of the first optimizer steps rows, logits and weights are noted too.
        keep_gradients: Whether to copy the gradients and the micro-batches of the first optimizer step.
        locate: Whether to look for the line that computes a loss that is not right.
        gather: Turns the micro-batches of this process into those of all; None where some are missing.
        step_done: Called after every optimizer step, before its update.

    Attributes:
        steps: What was seen, an entry an optimizer step.
        trouble: What kept a micro-batch from being observed; the training itself went on.
    """

    def __init__(
        self,
        trainer: Any,
        *,
        shifts: bool | None,
        observed_steps: int = 1,
        keep_gradients: bool = False,
        locate: bool = False,
        gather: Callable[[list[MicroBatchRecord]], list[MicroBatchRecord] | None] | None = None,
        step_done: Callable[[], None] | None = None,
    ) -> None:
        self._trainer = trainer
        self._observed_steps = observed_steps
        self._keep_gradients = keep_gradients
        self._locate = locate
        self._gather = gather
        self._step_done = step_done
        self._watches: list[MicroBatchReader | None] = []
        self._micro_batches: list[MicroBatchRecord] = []
        self._training_step = trainer.training_step
        self._had_own_step = "training_step" in vars(trainer)
        self.shifts = shifts
        self.noise = 0.0
        self.resolution = 0.0
        self.steps: list[StepRecord] = []
        self.trouble: list[Exception] = []
        self.location: tuple[CodeLocation, ...] = ()
        self.first_batches: list[Batch] = []
        self.first_gradients: Gradients = {}

        @functools.wraps(self._training_step)
        def watched_step(model: Any, inputs: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
            return self._watched_step(model, inputs, *args, **kwargs)

        trainer.training_step = watched_step

    def stop(self) -> None:
        """Give the Trainer its `training_step` back: from now on nothing is watched."""
        if self._had_own_step:
            self._trainer.training_step = self._training_step
        else:
            vars(self._trainer).pop("training_step", None)

    def _watched_step(self, model: Any, inputs: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        num_items = args[0] if args else kwargs.get("num_items_in_batch")
        try:
            with ExitStack() as stack:
                watch = self._begin(inputs, stack) if len(self.steps) < self._observed_steps else None
                loss: torch.Tensor = self._training_step(model, inputs, *args, **kwargs)
        except BaseException:
            # The Trainer may begin the step anew, with a smaller batch after it ran out of memory.
            self._micro_batches, self._watches = [], []
            raise
        self._watches.append(watch)
        self._micro_batches.append(self._note(loss, num_items, watch))
        if self._trainer.accelerator.sync_gradients:
            self._close_step()
        return loss

    def _begin(self, inputs: Batch, stack: ExitStack) -> MicroBatchReader | None:
        alignments = CAUSAL_LM.alignments if self.shifts is None else (self.shifts,)
        try:
            watch = MicroBatchReader(self._trainer.model, inputs, alignments)
            stack.enter_context(watch.watching())
        except Exception as error:  # whatever the inputs are, they are the training's, which goes on
            self.trouble.append(error)
            return None
        if self._keep_gradients and not self.steps:
            self.first_batches.append(watch.inputs)
        return watch

    def _note(self, loss: torch.Tensor, num_items: Any, watch: MicroBatchReader | None) -> MicroBatchRecord:
        observation = None
        try:
            if watch is not None:
                observation = self._observe(loss, watch)
        except Exception as error:
            self.trouble.append(error)
        return MicroBatchRecord(
            # DataParallel returns one loss for every device.
            reported_loss_nats=float(loss.detach() if loss.numel() == 1 else loss.detach().mean()),
            num_items_in_batch=_as_count(num_items),
            observation=observation,
            process=self._trainer.args.process_index,
        )

    def _observe(self, loss: torch.Tensor, watch: MicroBatchReader) -> Observation | None:
        troubles = [watch.trouble, *(w.trouble for w in watch.readers.values())]
        self.trouble += [trouble for trouble in troubles if trouble is not None]
        if watch.trouble is not None:
            return None
        if watch.noise is not None:
            self.noise = watch.noise
        self.resolution = max(self.resolution, resolution(loss.dtype))
        shifts = self._find_shift(watch)
        seen = watch.readers[shifts]
        weight = seen.weight(seen.directions, self._loss_scale)
        taken = watch.backward.loss
        return Observation(
            rows=batch_fingerprints(watch.inputs),
            num_target_tokens=count_targets(seen.labels, shifts=shifts),
            num_label_tokens=count_labels(seen.labels),
            sum_nats=seen.sum_nats,
            own_mean_nats=None,
            weight=weight.weight if weight else None,
            weight_spread=weight.spread if weight else None,
            own_weight=None,
            own_weight_spread=None,
            backward_loss_nats=None if taken is None else taken / self._loss_scale,
        )

    def _find_shift(self, watch: MicroBatchReader) -> bool:
        """Return whether the loss shifts the labels, found at the first micro-batch that tells."""
        if len(watch.readers) == 1:
            return next(iter(watch.readers))
        weights = {shifts: w.weight(w.directions) for shifts, w in watch.readers.items()}
        spreads = {shifts: weight.spread for shifts, weight in weights.items() if weight is not None}
        best = min(spreads, key=spreads.__getitem__, default=True)
        if spreads.get(best, 1.0) > CLEAR_SPREAD and watch.readers[True].last_is_free is not None:
            # No plain cross-entropy: what it scores at the last position tells.
            best = bool(watch.readers[True].last_is_free)
        if count_labels(watch.readers[False].labels):
            self.shifts = best
        return best

    def _close_step(self) -> None:
        micro_batches, norm = self._micro_batches, None
        try:
            norm = gradient_norm(self._trainer.model)
            norm = norm / self._loss_scale if norm is not None else None
            if self._keep_gradients and not self.steps:
                self.first_gradients = copy_gradients(self._trainer.model, self._loss_scale)
        except Exception as error:
            self.trouble.append(error)
        if len(self.steps) < self._observed_steps:
            try:
                micro_batches = self._complete(micro_batches)
            except Exception as error:
                self.trouble.append(error)
        self.steps.append(StepRecord(len(self.steps) + 1, tuple(micro_batches), norm))
        self._micro_batches, self._watches = [], []
        if self._step_done is not None:
            self._step_done()

    def _complete(self, own: list[MicroBatchRecord]) -> list[MicroBatchRecord]:
        """Gather the step of all processes, and ask what its losses leave open.

        Every process decides by the same facts: a question can hold a collective call, which all have to make.
        """
        known = self._gathered(own)
        if known is None:
            # Without the counts of the others nothing can be said of a step.
            return [replace(m, observation=None) for m in own]
        if any(m.observation is None for m in known):
            return known
        watches = [watch for watch in self._watches if watch is not None]
        k = self._trainer.args.gradient_accumulation_steps
        # The noise is each process's own; the resolution is the same in all.
        tolerance = max(self.resolution, self.noise) if self._gather is None else self.resolution
        found = match_plain(known, k, tolerance)
        if found is None or not found.explained:
            known = self._gathered([self._with_own_loss(m, w) for m, w in zip(own, watches)]) or known
        is_right = found is not None and found.rule is not None and found.rule.right
        if self._locate and not is_right:
            self._locate = False
            try:
                self.location = ask_location(self._trainer, watches[-1], shifts=bool(self.shifts))
            except Exception as error:
                self.trouble.append(error)
        return known

    def _gathered(self, own: list[MicroBatchRecord]) -> list[MicroBatchRecord] | None:
        return own if self._gather is None else self._gather(own)

    def _with_own_loss(self, record: MicroBatchRecord, watch: MicroBatchReader) -> MicroBatchRecord:
        seen = record.observation
        assert seen is not None
        try:
            answer = ask_own_loss(self._trainer, watch, shifts=bool(self.shifts), scale=self._loss_scale)
        except Exception as error:
            self.trouble.append(error)
            return record
        weight = answer.weight
        asked = replace(
            seen,
            own_mean_nats=answer.mean_nats,
            own_weight=weight.weight if weight else None,
            own_weight_spread=weight.spread if weight else None,
        )
        return replace(record, observation=asked)

    @property
    def _loss_scale(self) -> float:
        """The factor by which float16 autocast scaled the loss before backward."""
        scaler = getattr(self._trainer.accelerator, "scaler", None)
        return float(scaler.get_scale()) if scaler is not None else 1.0


def _as_count(num_items: Any) -> float | None:
    if num_items is None:
        return None
    # DataParallel is handed the same count once for every device.
    return float(num_items.flatten()[0] if isinstance(num_items, torch.Tensor) else num_items)


def copy_gradients(model: torch.nn.Module, scale: float = 1.0) -> Gradients:
    """Copy all gradients as they stand: one more copy of the weights that are trained."""
    return {name: p.grad.detach().clone() / scale for name, p in model.named_parameters() if p.grad is not None}


def gradient_norm(model: torch.nn.Module) -> float | None:
    """Return the norm over all gradients as they stand, None if there are none."""
    gradients = [p.grad.detach() for p in model.parameters() if p.grad is not None]
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    norms = [torch.linalg.vector_norm(g.float()).cpu() for g in dense]
    return float(torch.linalg.vector_norm(torch.stack(norms).double())) if norms else None
