"""Puts the rows of a head together in a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gacheck.measure.heads.images import is_joined
from gacheck.measure.heads.maker import Row
from gacheck.rules.task import IGNORE_INDEX
from gacheck.watch.batches import Batch

LISTED = frozenset({"class_labels", "mask_labels"})
"""What is handed on as a list of tensors, one of each row."""


@dataclass(frozen=True)
class HeadCollator:
    """Stack rows; what is of unequal length is padded on the right. Patches of images stand one after another.

    Attributes:
        pad_token_id: Fills `input_ids`; labels are filled with -100, everything else with 0.
        decoder_inputs: Makes `decoder_input_ids` of labels, where a model reads them; as DataCollatorForSeq2Seq does,
            since the Trainer may take the labels away.
        length: What has a number for every token is padded to so many, where a model takes no other.
    """

    pad_token_id: int
    decoder_inputs: Callable[..., torch.Tensor] | None = None
    length: int | None = None

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Return tensors with the rows as their first dimension."""
        batch = {name: self._column(name, [row[name] for row in rows], rows[0]) for name in rows[0]}
        labels = batch.get("labels")
        if self.decoder_inputs is not None and is_text(labels):
            batch.setdefault("decoder_input_ids", self.decoder_inputs(labels=labels))
        return batch

    def _column(self, name: str, values: list[Any], row: Row) -> Any:
        if name in LISTED or isinstance(values[0], Mapping):
            return values
        if isinstance(values[0], bool):
            return values[0]  # a switch, for all rows alike
        if is_joined(name, row):
            return torch.cat(values)
        of_tokens = "input_ids" in row and values[0].shape == row["input_ids"].shape
        return self._stacked(name, values, self.length if of_tokens else None)

    def _stacked(self, name: str, values: Sequence[torch.Tensor], length: int | None) -> torch.Tensor:
        fill = {"input_ids": self.pad_token_id, "decoder_input_ids": self.pad_token_id, "labels": IGNORE_INDEX}
        fill["labels_input_ids"] = IGNORE_INDEX
        shape = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
        shape[-1:] = [max(shape[-1], length or 0)] if shape else []
        stacked = values[0].new_full((len(values), *shape), fill.get(name, 0))
        for place, value in zip(stacked, values, strict=True):
            place[tuple(map(slice, value.shape))] = value
        return stacked


def is_text(labels: Any) -> bool:
    """Whether they are tokens, (rows, tokens)."""
    return isinstance(labels, torch.Tensor) and labels.dim() == 2 and not labels.is_floating_point()
