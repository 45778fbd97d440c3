"""Finds out what a loss is a mean over: how that of several rows follows from those of each."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gacheck.rules.facts import Unit
from gacheck.rules.task import CAUSAL_LM
from gacheck.watch.batches import count_targets, holds_text, joined, num_rows, prepared, rows_of
from gacheck.watch.micro_batch import labels_of
from gacheck.watch.own_loss import batch_samples, count_for, own_mean
from gacheck.watch.replays import aside
from gacheck.watch.restoring import RandomState

# Nearly so, and no other way comes as near.
UNIT_FITS = 1e-3
CLEARLY_WORSE = 5.0
LEAST_DIFFERENCE = 1e-5
SLOPE_FITS = 0.01
MOST_ROWS_APART = 4

# Some code divides by it what it has summed.
BATCH_SIZE = "per_device_train_batch_size"


def several_rows(batches: Sequence[Mapping[str, Any]], together: int = 1) -> Mapping[str, Any]:
    """Return several rows in one batch: the micro-batch with most, or a few where none has more than a part.

    Of those with as many it is the one whose rows differ most in how many targets they have.

    Args:
        batches: The step's.
        together: Rows of a part.

    Raises:
        ValueError: They hold something that cannot be put together.
    """
    most = max(map(num_rows, batches))
    largest = [each for each in batches if num_rows(each) == most]
    return functools.reduce(joined, largest[-MOST_ROWS_APART:]) if most == together else max(largest, key=_spread)


def _spread(batch: Mapping[str, Any]) -> int:
    counts = _row_counts(batch, shifts=False)
    return max(counts) - min(counts) if counts else 0


def _row_counts(batch: Mapping[str, Any], *, shifts: bool) -> list[int]:
    """Count the targets of each row; none where there are no labels to count."""
    labels, collated = labels_of(batch)
    labels = batch.get(CAUSAL_LM.labels) if labels is None else labels
    if not isinstance(labels, torch.Tensor) or not labels.dim():
        return []
    moves = shifts and not collated and holds_text(batch)
    return [count_targets(row[None], shifts=moves) for row in labels]


def count_of_step(trainer: Any, batches: Sequence[Mapping[str, Any]]) -> float:
    """Return what a training's own code counts in the micro-batches of a step as one, as it would at k = 1.

    Raises:
        ValueError: They hold something that cannot be put together.
    """
    with aside(trainer):
        return float(batch_samples(trainer, [functools.reduce(joined, batches)])[1])


def find_unit(
    trainer: Any,
    batches: Sequence[Mapping[str, Any]],
    together: int = 1,
    *,
    shifts: bool,
    is_counted: bool = False,
    declared: bool = False,
) -> Unit | None:
    """Find out what the own loss is a mean over, or that it is a sum; None where nothing fits, or more than one does.

    Dropout is off, so that the rows have the same each time.

    Args:
        trainer: At the end of a step.
        batches: Its micro-batches.
        together: Rows that have a loss by themselves. The two of a pair stand at the same place of the batch's halves.
        shifts: Whether the loss shifts the labels.
        is_counted: Whether the training hands its code a count.
        declared: Whether the model's config says that a loss of its heads is a sum, which need not be this one.

    Raises:
        ValueError: So few rows together have no loss; code that is asked for one may raise anything else.
    """
    with torch.no_grad(), aside(trainer):
        trainer.model.eval()
        given = several_rows(batches, together)
        batch = prepared(trainer, given)
        parts = _parts(num_rows(batch), together, one_by_one=max(map(num_rows, batches)) == together)
        if len(parts) < 2:
            return None
        start = RandomState.now(trainer.model)

        def own_mean_of(*chosen: tuple[int, ...]) -> torch.Tensor:
            numbers = [number for place in zip(*chosen) for number in place]
            vars(trainer.args)[BATCH_SIZE] = len(chosen)
            count = count_for(trainer, rows_of(given, numbers), shifts=shifts) if is_counted else None
            start.restore()  # whatever is left to chance is to be the same each time
            return own_mean(trainer, rows_of(batch, numbers), shifts=shifts, count=count).mean()

        def loss_of(*chosen: tuple[int, ...]) -> float:
            return float(own_mean_of(*chosen))

        whole, alone = loss_of(*parts), [loss_of(part) for part in parts]
        if not any(map(math.isfinite, alone)):
            raise ValueError("no part has a loss by itself")
        found = _fitting(whole, alone, _counts(batch, parts, shifts=shifts), has_tokens=_has_tokens(batch))
        if found == "sum" or (found is None and declared):
            # Of the same rows twice a sum is twice as much, also where a row's loss changes with the rows beside it.
            is_sum = abs(loss_of(*parts, *parts) / whole / 2 - 1) <= UNIT_FITS
            is_sum = is_sum and (found is None or _slopes_add_up(trainer.model, own_mean_of, parts))
            return None if not is_sum else "declared sum" if declared else "sum"
        return found


def _slopes_add_up(
    model: torch.nn.Module, own_mean_of: Callable[..., torch.Tensor], parts: Sequence[tuple[int, ...]]
) -> bool:
    """Whether the gradient adds up as the loss does: that may hold a constant for each pair of rows.

    True where that cannot be asked.
    """
    weights = [each for each in model.parameters() if each.requires_grad]

    def slope(*chosen: tuple[int, ...]) -> list[torch.Tensor]:
        with torch.enable_grad():
            return list(torch.autograd.grad(own_mean_of(*chosen), weights, materialize_grads=True))

    try:
        whole = slope(*parts)
        along = sum(_product(slope(part), whole) for part in parts)
    except (RuntimeError, TypeError):
        return True
    size = _product(whole, whole)
    return abs(along - size) <= SLOPE_FITS * size


def _product(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    return sum(float((a * b).sum()) for a, b in zip(one, other))


def _counts(batch: Mapping[str, Any], parts: Sequence[tuple[int, ...]], *, shifts: bool) -> list[int]:
    rows = _row_counts(batch, shifts=shifts)
    return [sum(rows[number] for number in part) for part in parts] if rows else [1] * len(parts)


def _has_tokens(batch: Mapping[str, Any]) -> bool:
    """Whether a row has a label at each of its positions: as many as here it may have by chance."""
    labels = batch.get(CAUSAL_LM.labels)
    return isinstance(labels, torch.Tensor) and labels.dim() > 1 and not labels.is_floating_point()


def _fitting(whole: float, alone: Sequence[float], counts: Sequence[int], *, has_tokens: bool) -> Unit | None:
    known = [(loss, count) for loss, count in zip(alone, counts) if count]
    predicted: dict[Unit, float] = {
        "rows": sum(alone) / len(alone),
        "tokens": sum(loss * count for loss, count in known) / max(1, sum(counts)),
        "sum": sum(alone),
    }
    if not has_tokens and len(set(counts)) == 1:
        del predicted["tokens"]  # where a row has one target, or none that is counted, it is the same as over rows
    errors = {unit: abs(value - whole) / abs(whole) for unit, value in predicted.items()}
    best, second, *_ = sorted(errors, key=errors.__getitem__)
    is_clear = errors[second] > max(CLEARLY_WORSE * errors[best], LEAST_DIFFERENCE)
    return best if errors[best] <= UNIT_FITS and is_clear else None


def _parts(rows: int, together: int, *, one_by_one: bool) -> list[tuple[int, ...]]:
    """Return the numbers of the rows of each part, a few of them; none where the rows cannot be parted so.

    Args:
        rows: Of the batch.
        together: Rows of a part.
        one_by_one: Whether each part's rows follow each other; else all first ones come before all second ones.
    """
    if rows % together:
        return []
    number = rows // together
    steps = [range(i * together, (i + 1) * together) if one_by_one else range(i, rows, number) for i in range(number)]
    return [tuple(step) for step in steps[:MOST_ROWS_APART]]
