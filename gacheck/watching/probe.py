"""Watches any Trainer instance and notes raw facts per micro-batch. It never changes what is computed.

It wraps the instance's `training_step`, whose return value is what the Trainer adds to its log, and reads
`accelerator.sync_gradients` afterwards: true at the last micro-batch of an optimizer step, when the gradient
is whole and not yet clipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gacheck.facts import MicroBatchRecord, Observation, StepRecord
from gacheck.watching.batches import Batch, batch_fingerprints, count_labels, count_targets
from gacheck.watching.crossentropy import LogitsWatch
from gacheck.watching.ownloss import own_loss

Gradients = dict[str, torch.Tensor]


class Probe:
    """Facts of one training, micro-batch by micro-batch.

    Args:
        trainer: Any Trainer; watched from now on.
        shifts: Whether the model scores label t+1 at position t.
        observed_steps: At how many of the first optimizer steps rows, logits and weights are noted too.
        keep_gradients: Whether to copy the gradients and the micro-batches of the first optimizer step.
    """

    def __init__(self, trainer: Any, *, shifts: bool, observed_steps: int = 1, keep_gradients: bool = False) -> None:
        self._trainer = trainer
        self._shifts = shifts
        self._observed_steps = observed_steps
        self._training_step = trainer.training_step
        self._micro_batches: list[MicroBatchRecord] = []
        self.steps: list[StepRecord] = []
        self._keep_gradients = keep_gradients
        self.first_batches: list[Batch] = []
        self.first_gradients: Gradients = {}
        trainer.training_step = self._watched_step

    def _watched_step(self, model: Any, inputs: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        num_items = args[0] if args else kwargs.get("num_items_in_batch")
        observation = None
        if len(self.steps) < self._observed_steps:
            # The Trainer takes the labels out of its inputs where it computes the loss itself.
            seen = dict(inputs)
            if self._keep_gradients and not self.steps:
                self.first_batches.append(seen)
            own, own_directions = self._own_loss(seen)
            with _watching(self._trainer.model, LogitsWatch(seen["labels"], shifts=self._shifts)) as watch:
                loss: torch.Tensor = self._training_step(model, inputs, *args, **kwargs)
            observation = self._observe(seen, watch, own, own_directions)
        else:
            loss = self._training_step(model, inputs, *args, **kwargs)
        count = None if num_items is None else float(num_items)
        record = MicroBatchRecord(reported_loss_nats=float(loss), num_items_in_batch=count, observation=observation)
        self._micro_batches.append(record)
        if self._trainer.accelerator.sync_gradients:
            self._close_step()
        return loss

    def _close_step(self) -> None:
        norm = gradient_norm(self._trainer.model)
        if self._keep_gradients and not self.steps:
            self.first_gradients = copy_gradients(self._trainer.model, self._loss_scale)
        self.steps.append(
            StepRecord(
                step=len(self.steps) + 1,
                micro_batches=tuple(self._micro_batches),
                grad_norm=norm / self._loss_scale if norm is not None else None,
            )
        )
        self._micro_batches = []

    @property
    def _loss_scale(self) -> float:
        """The factor by which float16 autocast scaled the loss before backward."""
        scaler = getattr(self._trainer.accelerator, "scaler", None)
        return float(scaler.get_scale()) if scaler is not None else 1.0

    def _observe(
        self, seen: Batch, watch: LogitsWatch, own: float | None, own_directions: torch.Tensor | None
    ) -> Observation:
        plain = watch.weight(watch.directions, self._loss_scale)
        asked = watch.weight(own_directions, self._loss_scale)
        return Observation(
            rows=batch_fingerprints(seen),
            num_target_tokens=count_targets(seen["labels"], shifts=self._shifts),
            num_label_tokens=count_labels(seen["labels"]),
            sum_nats=watch.sum_nats,
            own_mean_nats=own,
            weight=plain.weight if plain else None,
            weight_spread=plain.spread if plain else None,
            own_weight=asked.weight if asked else None,
            own_weight_spread=asked.spread if asked else None,
        )

    def _own_loss(self, seen: Batch) -> tuple[float | None, torch.Tensor | None]:
        """Ask the same code for its own mean over the micro-batch, without `num_items_in_batch`.

        Returns:
            The mean, nats, and per target the derivative of its own loss by its logit: the gradient of the mean
            times the number of targets.
        """
        with _watching(self._trainer.model, LogitsWatch(seen["labels"], shifts=self._shifts)) as watch:
            self._trainer.model.train()
            with undisturbed(self._trainer.model), self._trainer.compute_loss_context_manager():
                loss, _ = own_loss(self._trainer, self._trainer._prepare_inputs(dict(seen)), shifts=self._shifts)
            mean = float(loss.detach())
            if not watch.nodes or not loss.requires_grad:
                return mean, None
            edges = [torch.autograd.graph.GradientEdge(node, output) for node, output in watch.nodes]
            gradients = torch.autograd.grad(loss, edges, allow_unused=True)
        gradient = next((g for g in gradients if g is not None), None)
        if gradient is None:
            return mean, None
        num_targets = count_targets(seen["labels"], shifts=self._shifts)
        return mean, watch.at_targets(gradient) * num_targets


def copy_gradients(model: torch.nn.Module, scale: float = 1.0) -> Gradients:
    """Copy all gradients as they stand: one more copy of the weights that are trained."""
    return {name: p.grad.detach().clone() / scale for name, p in model.named_parameters() if p.grad is not None}


def gradient_norm(model: torch.nn.Module) -> float | None:
    """Return the norm over all gradients as they stand, None if there are none."""
    norms = [torch.linalg.vector_norm(p.grad.detach().float()).cpu() for p in model.parameters() if p.grad is not None]
    return float(torch.linalg.vector_norm(torch.stack(norms).double())) if norms else None


@contextmanager
def _watching(model: torch.nn.Module, watch: LogitsWatch) -> Iterator[LogitsWatch]:
    handle = model.register_forward_hook(watch.hook)
    try:
        yield watch
    finally:
        handle.remove()


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Leave random state and buffers as they were: an extra forward must not change the training."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
