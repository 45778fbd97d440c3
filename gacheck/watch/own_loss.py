"""Asks a Trainer's own code for its loss of one micro-batch by itself: what it means to minimise."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gacheck.watch.batches import Batch, as_given, count_targets, fresh, holds_text

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


def own_mean(trainer: Any, batch: Batch, *, shifts: bool, count: Any = None) -> torch.Tensor:
    """Return the mean over the micro-batch, with its graph.

    Args:
        trainer: Whose code is asked.
        batch: The micro-batch, prepared.
        shifts: Whether the loss shifts the labels.
        count: `num_items_in_batch` of this micro-batch alone. None asks without, upon which a model takes its mean;
            only code that cannot do without, as a `compute_loss_func`, is then given the number of its targets.
    """
    return own_loss(trainer, batch, shifts=shifts, count=count, outputs_wanted=False)[0]


def own_loss(
    trainer: Any, batch: Batch, *, shifts: bool, count: Any = None, outputs_wanted: bool = True
) -> tuple[torch.Tensor, Any]:
    """Return the same mean and the model's outputs; None for these where they are not wanted.

    A Trainer of somebody's own may take other ways where it is asked for the outputs.
    """
    function, labels = getattr(trainer, "compute_loss_func", None), batch.get("labels")
    has_labels = _has_targets(labels)
    if function is not None and has_labels and _num_processes(trainer) > 1:
        # The Trainer would multiply what it returns by the number of processes.
        inputs = dict(batch)
        labels = inputs.pop("labels")
        outputs = trainer.model(**inputs)
        return function(outputs, labels, num_items_in_batch=_target_count(batch, shifts=shifts)), outputs
    if count is None and function is not None and has_labels:
        count = _target_count(batch, shifts=shifts)
    given = {} if count is None else {"num_items_in_batch": count}
    try:
        found = _compute_loss(trainer, batch, outputs_wanted, given)
    except TypeError as error:
        other = {} if given else {"num_items_in_batch": _target_count(batch, shifts=shifts)} if has_labels else None
        if other is None:
            raise
        try:
            found = _compute_loss(trainer, batch, outputs_wanted, other)
        except TypeError:
            raise error from None  # it was not the count
    if not outputs_wanted:
        return found, None
    if isinstance(found, torch.Tensor) and not found.dim():
        return found, None  # some return the loss alone, whatever they are asked
    if not (isinstance(found, (tuple, list)) and len(found) > 1 and isinstance(found[0], torch.Tensor)):
        method = f"{type(trainer).__name__}.compute_loss"
        raise ValueError(f"{method} is to return a loss, or (loss, outputs), and returns {type(found).__name__}")
    return found[0], found[1]


def rejects_count(error: BaseException) -> bool:
    """Whether a model was handed `num_items_in_batch` and has no such argument; some check that themselves.

    A method of the Trainer's that takes none is no verdict on the model: with the flag off it fails alike.
    """
    told = str(error)
    of_model = "num_items_in_batch" in told and not re.search(r"\b(compute_loss|training_step)\(\)", told)
    return of_model and (isinstance(error, TypeError) or (isinstance(error, ValueError) and "unexpected" in told))


def _has_targets(labels: Any) -> bool:
    """Whether labels can be counted as the Trainer counts them."""
    return isinstance(labels, torch.Tensor) and labels.dim() > 0


def _compute_loss(trainer: Any, batch: Batch, return_outputs: bool, given: dict[str, Any]) -> Any:
    return trainer.compute_loss(trainer.model, fresh(as_given(batch)), return_outputs=return_outputs, **given)


def _num_processes(trainer: Any) -> int:
    return int(getattr(trainer.args, "world_size", 1))


def _target_count(batch: Batch, *, shifts: bool) -> torch.Tensor:
    labels = batch["labels"]
    return torch.tensor(count_targets(labels, shifts=shifts and holds_text(batch)), device=labels.device)


def own_count(trainer: Any, inputs: Any, *, shifts: bool) -> tuple[Any, bool]:
    """Return what `num_items_in_batch` would be of a micro-batch by itself, and whether somebody's own code counts.

    Args:
        trainer: Whose `get_batch_samples` is asked where it is not transformers' own.
        inputs: The micro-batch, as the data loader gives it.
        shifts: Whether the loss shifts the labels.
    """
    method = getattr(trainer, "get_batch_samples", None)
    if method is not None and str(getattr(method, "__module__", "")).partition(".")[0] != "transformers":
        return batch_samples(trainer, [fresh(inputs)])[1], True
    labels = inputs.get("labels")
    has_targets = _has_targets(labels)
    # Where nothing is scored a sum of nothing over 1 leaves what the code adds besides; over 0 it would leave nothing.
    return (_target_count(inputs, shifts=shifts).clamp_min(1) if has_targets else None), False


def count_for(trainer: Any, inputs: Any, *, shifts: bool) -> Any:
    """Return what `num_items_in_batch` would be of a micro-batch by itself."""
    return own_count(trainer, inputs, shifts=shifts)[0]


def batch_samples(trainer: Any, batches: list[Any]) -> tuple[list[Any], Any]:
    """Let a Trainer take micro-batches for a step, and count in them; as it does itself."""
    kinds = [kind for kind in type(trainer).__mro__ if kind.__module__.partition(".")[0] == "transformers"]
    theirs = next((vars(kind)["get_batch_samples"] for kind in kinds if "get_batch_samples" in vars(kind)), None)
    # Since 4.49 it asks for the device too.
    names = inspect.signature(theirs or trainer.get_batch_samples).parameters
    device = (trainer.args.device,) if "device" in names else ()
    samples, count = trainer.get_batch_samples(iter(batches), len(batches), *device)
    return samples, count


def find_loss(outputs: Any) -> torch.Tensor | None:
    """Return the loss among a model's outputs: by name, even in a list of one, or the first scalar of a tuple."""
    named = outputs.get("loss") if isinstance(outputs, dict) else getattr(outputs, "loss", None)
    if isinstance(named, torch.Tensor) and named.shape == (1,):
        return named[0]
    candidates = [named] if named is not None else list(outputs[:1]) if isinstance(outputs, tuple) else []
    return next((c for c in candidates if isinstance(c, torch.Tensor) and c.dim() == 0), None)
