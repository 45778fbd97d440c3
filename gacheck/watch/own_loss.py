"""Asks a Trainer's own code for its loss of one micro-batch by itself: what it means to minimise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gacheck.watch.batches import Batch, count_targets

# Where a Trainer keeps k: in its arguments, and since 4.48 that of the present step beside them.
K_OF_ARGUMENTS = "gradient_accumulation_steps"
K_OF_STEP = "current_gradient_accumulation_steps"


@contextmanager
def without_accumulation(trainer: Any) -> Iterator[None]:
    """Let a Trainer's code see k = 1 within the block: some multiplies or divides by it itself.

    Before it trains a Trainer has no k of the present step yet; within the block it has.
    """
    places = ((vars(trainer.args), K_OF_ARGUMENTS), (vars(trainer), K_OF_STEP))
    before = [holder.get(name) for holder, name in places]
    for holder, name in places:
        holder[name] = 1
    try:
        yield
    finally:
        for (holder, name), value in zip(places, before):
            if value is None:
                holder.pop(name, None)
            else:
                holder[name] = value


def own_mean(trainer: Any, batch: Batch, *, shifts: bool) -> torch.Tensor:
    """Return the mean over the micro-batch, with its graph.

    A model is asked without `num_items_in_batch`, upon which it takes its mean. A `compute_loss_func` has no such
    habit: it is called as the Trainer calls it, with the micro-batch's own count; and so is a `compute_loss` that
    cannot do without.
    """
    return own_loss(trainer, batch, shifts=shifts, outputs_wanted=False)[0]


def own_loss(trainer: Any, batch: Batch, *, shifts: bool, outputs_wanted: bool = True) -> tuple[torch.Tensor, Any]:
    """Return the same mean and the model's outputs; None for these where they are not wanted.

    A Trainer of somebody's own may take other ways where it is asked for the outputs.
    """
    function = getattr(trainer, "compute_loss_func", None)
    if function is not None and "labels" in batch:
        inputs = dict(batch)
        labels = inputs.pop("labels")
        outputs = trainer.model(**inputs)
        return function(outputs, labels, num_items_in_batch=_own_count(batch, shifts=shifts)), outputs
    found = _compute_loss(trainer, batch, shifts=shifts, return_outputs=outputs_wanted)
    return (found[0], found[1]) if outputs_wanted else (found, None)


def _compute_loss(trainer: Any, batch: Batch, *, shifts: bool, return_outputs: bool) -> Any:
    try:
        return trainer.compute_loss(trainer.model, dict(batch), return_outputs=return_outputs)
    except TypeError as error:
        if "labels" not in batch:
            raise
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
