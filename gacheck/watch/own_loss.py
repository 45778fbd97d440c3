"""Asks a Trainer's own code for its loss of one micro-batch by itself: what it means to minimise."""

from __future__ import annotations

from typing import Any

import torch

from gacheck.watch.batches import Batch, count_targets


def own_mean(trainer: Any, batch: Batch, *, shifts: bool) -> torch.Tensor:
    """Return the mean over the micro-batch, with its graph.

    A model is asked without `num_items_in_batch`, upon which it takes its mean. A `compute_loss_func` has no such
    habit: it is called as the Trainer calls it, with the micro-batch's own count; and so is a `compute_loss` that
    cannot do without.
    """
    if getattr(trainer, "compute_loss_func", None) is not None:
        return own_loss(trainer, batch, shifts=shifts)[0]
    loss: torch.Tensor = _compute_loss(trainer, batch, shifts=shifts, return_outputs=False)
    return loss


def own_loss(trainer: Any, batch: Batch, *, shifts: bool) -> tuple[torch.Tensor, Any]:
    """Return the same mean and the model's outputs."""
    function = getattr(trainer, "compute_loss_func", None)
    if function is None:
        loss, outputs = _compute_loss(trainer, batch, shifts=shifts, return_outputs=True)
        return loss, outputs
    inputs = dict(batch)
    labels = inputs.pop("labels")
    outputs = trainer.model(**inputs)
    return function(outputs, labels, num_items_in_batch=_own_count(batch, shifts=shifts)), outputs


def _compute_loss(trainer: Any, batch: Batch, *, shifts: bool, return_outputs: bool) -> Any:
    try:
        return trainer.compute_loss(trainer.model, dict(batch), return_outputs=return_outputs)
    except TypeError as error:
        count = _own_count(batch, shifts=shifts)
        try:
            return trainer.compute_loss(
                trainer.model, dict(batch), return_outputs=return_outputs, num_items_in_batch=count
            )
        except TypeError:
            raise error from None  # it was not the count that was missing


def _own_count(batch: Batch, *, shifts: bool) -> torch.Tensor:
    labels = batch["labels"]
    return torch.tensor(count_targets(labels, shifts=shifts), device=labels.device)


def find_loss(outputs: Any) -> torch.Tensor | None:
    """Return the loss among a model's outputs: by name, or the first scalar of a tuple."""
    named = outputs.get("loss") if isinstance(outputs, dict) else getattr(outputs, "loss", None)
    candidates = [named] if named is not None else list(outputs[:1]) if isinstance(outputs, tuple) else []
    return next((c for c in candidates if isinstance(c, torch.Tensor) and c.dim() == 0), None)
