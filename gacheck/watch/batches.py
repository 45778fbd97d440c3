"""What a micro-batch is made of: labels that count, and rows that can be recognised."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gacheck.rules.task import CAUSAL_LM, IGNORE_INDEX

Batch = dict[str, torch.Tensor]


class Prepared(dict[str, Any]):
    """A micro-batch as `compute_loss` is given it, where what `training_step` is given has no names: prompts, say.

    Attributes:
        unnamed: What stands for it where `compute_loss` is given no names either: a list of rows, say.
    """

    unnamed: Any = None


def named(inputs: Any) -> Any:
    """Return what `compute_loss` is given as a mapping, which may hold no names."""
    if isinstance(inputs, Mapping):
        return inputs
    batch = Prepared()
    batch.unnamed = inputs
    return batch


def as_given(batch: Any) -> Any:
    """Return what `compute_loss` is given, names or not."""
    return batch.unnamed if isinstance(batch, Prepared) and batch.unnamed is not None else batch


def prepared(trainer: Any, inputs: Any) -> Any:
    """Return a micro-batch as `compute_loss` is given it; a copy, as code may take it apart."""
    return fresh(inputs) if isinstance(inputs, Prepared) else trainer._prepare_inputs(fresh(inputs))


def num_rows(batch: Mapping[str, Any]) -> int:
    """Return the size of the first dimension that most of a batch's values have, at any depth; 0 where none has."""
    given = as_given(batch)
    sizes = [len(given)] if isinstance(given, (list, tuple)) else _sizes(given, _sizes_of_tensors(batch))
    return max(sizes, key=sizes.count, default=0)


def _sizes_of_tensors(batch: Mapping[str, Any]) -> frozenset[int]:
    return frozenset(len(value) for value in batch.values() if _has_rows(value))


def _sizes(value: Any, beside: frozenset[int]) -> list[int]:
    if isinstance(value, Mapping):
        return [size for each in value.values() for size in _sizes(each, beside)]
    if isinstance(value, (list, tuple)):
        parts = value if _holds_batches(value, beside) else ()
        return [size for each in parts for size in _sizes(each, beside)] or [len(value)]
    return [len(value)] if _has_rows(value) else []


def _holds_batches(values: Sequence[Any], beside: frozenset[int]) -> bool:
    """Whether a list is one of batches, such as the sides of a comparison; of rows it is as long as what lies beside.

    Args:
        values: The list.
        beside: Sizes of the tensors of the whole batch.
    """
    are_mappings = all(isinstance(each, Mapping) for each in values)
    return are_mappings and len(values) not in beside and any(any(map(_has_rows, each.values())) for each in values)


def rows_of(batch: Mapping[str, Any], numbers: Sequence[int]) -> dict[str, Any]:
    """Return some rows of a batch, by number; what has no rows stays whole."""
    rows, beside = num_rows(batch), _sizes_of_tensors(batch)

    def some(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: some(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)) and _holds_batches(value, beside):
            return [some(each) for each in value]
        return _picked(value, numbers) if _length(value) == rows else value

    return {name: some(value) for name, value in batch.items()}


def _picked(value: Any, numbers: Sequence[int]) -> Any:
    return value[list(numbers)] if isinstance(value, torch.Tensor) else type(value)(value[each] for each in numbers)


def fresh(value: Any) -> Any:
    """Copy the containers of a batch, not its tensors: code may take apart what it is given."""
    if isinstance(value, Mapping):
        copied: Any = copy.copy(value)
        for name, each in value.items():
            copied[name] = fresh(each)
        return copied
    if type(value) in (list, tuple):
        return type(value)(map(fresh, value))
    return value


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Put the rows of two batches together, padded on the right as collators do: labels with what is not scored.

    Raises:
        ValueError: They hold something that cannot be padded.
    """
    beside = _sizes_of_tensors(one)

    def both(name: str, one: Any, other: Any) -> Any:
        if isinstance(one, Mapping):
            return {each: both(each, value, other[each]) for each, value in one.items()}
        if isinstance(one, (list, tuple)):
            return [both(name, *pair) for pair in zip(one, other)] if _holds_batches(one, beside) else [*one, *other]
        if not (_has_rows(one) and _has_rows(other)):
            raise ValueError(f"{name} is no tensor of rows")
        return _padded(name, one, other)

    return {name: both(name, value, other[name]) for name, value in one.items()}


def _padded(name: str, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    sizes = [max(pair) for pair in zip(one.shape[1:], other.shape[1:])]
    fill: Any = IGNORE_INDEX if name == "labels" else 0
    if one.is_floating_point() and one.dim() == 4:
        fill = one.min()  # an attention mask that is added: what is smallest masks
    both = one.new_full((len(one) + len(other), *sizes), fill)
    both[(slice(0, len(one)), *map(slice, one.shape[1:]))] = one
    both[(slice(len(one), None), *map(slice, other.shape[1:]))] = other
    return both


def _has_rows(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, tuple)) or _has_rows(value) else -1


def count_labels(labels: torch.Tensor) -> int:
    """Count the labels that are not -100."""
    return int(labels.ne(IGNORE_INDEX).sum())


def count_targets(labels: torch.Tensor, *, shifts: bool) -> int:
    """Count the labels that are scored: tokens may be shifted, numbers and classes of rows are not."""
    is_text = labels.dim() == CAUSAL_LM.label_dims and not labels.is_floating_point()
    return count_labels(labels[:, 1:] if shifts and is_text else labels)


def holds_text(batch: Mapping[str, Any]) -> bool:
    """Whether the labels of a batch may be the tokens that it reads, at the same places, which a loss may shift."""
    labels = batch.get(CAUSAL_LM.labels)
    others = (value for name, value in batch.items() if name != CAUSAL_LM.labels and isinstance(value, torch.Tensor))
    return isinstance(labels, torch.Tensor) and any(each.shape[:2] == labels.shape for each in others)


def repeats(read: Any, labels: torch.Tensor, where: torch.Tensor | None = None) -> bool | None:
    """Whether labels are mostly what a model reads at the same positions, as they are where the loss is to shift them.

    None where there is nothing to compare.

    Args:
        read: The tokens that it is given, (rows, tokens).
        labels: (rows, tokens).
        where: Positions that count, (rows, tokens); None for all labels.
    """
    if not isinstance(read, torch.Tensor) or read.shape != labels.shape:
        return None
    counts = labels.ne(IGNORE_INDEX)
    if where is not None and where.shape == counts.shape:
        counts = counts & where.to(counts.device)
    return bool(labels[counts].eq(read[counts]).float().mean() > 0.5) if bool(counts.any()) else None


def row_fingerprint(input_ids: Sequence[int], labels: Sequence[int]) -> str:
    """Identify a row by its tokens and labels, padding left out."""
    text = ",".join(map(str, input_ids)) + "|" + ",".join(map(str, labels))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def batch_fingerprints(batch: Batch) -> tuple[str, ...]:
    """Identify the rows of a batch of (rows, tokens) tensors; what `attention_mask` masks is left out."""
    input_ids, labels = batch["input_ids"].cpu(), batch["labels"].cpu()
    mask = batch["attention_mask"].cpu().bool() if "attention_mask" in batch else torch.ones_like(input_ids).bool()
    return tuple(
        row_fingerprint(ids[kept].tolist(), marked[kept].tolist()) for ids, marked, kept in zip(input_ids, labels, mask)
    )
