"""What the processes of a training divide between them: the rows, the weights that do a row, or the row itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

ROW_SPLITS = {"cp": "context", "sp": "sequence", "pp": "pipeline"}
"""Kinds of parallelism by which several processes do one row between them, as accelerate's `ParallelismConfig` and the
Trainer of transformers 5 abbreviate them."""


class Mesh:
    """How the processes of a training are laid out.

    Tensor parallelism is the innermost dimension: neighbours hold the weights between them, and do the same rows.

    Args:
        trainer: Whose own reckoning is read.

    Attributes:
        tensor_size: How many processes have the same rows.
    """

    def __init__(self, trainer: Any) -> None:
        model = getattr(trainer, "model", None)
        self.tensor_size = _size_of(trainer, "tp") or getattr(model, "tp_size", None) or 1
        self._sizes = {kind: _size_of(trainer, name) or 1 for name, kind in ROW_SPLITS.items()}

    @property
    def why_not_measured(self) -> str | None:
        """Why a step cannot be measured: its rows are split; None where they are whole."""
        splits = [f"{kind} parallelism over {size}" for kind, size in self._sizes.items() if size > 1]
        if not splits:
            return None
        return f"{' and '.join(splits)} processes splits each row among them, which gacheck does not measure"

    def of_distinct_rows(self, told: Sequence[T]) -> list[T]:
        """Return what one process of those that have the same rows told, by rank."""
        return [*told[:: self.tensor_size]]

    def is_same(self, told: Sequence[object]) -> bool:
        """Whether those that should have the same rows told the same, by rank."""
        return all(each == told[rank // self.tensor_size * self.tensor_size] for rank, each in enumerate(told))

    def turn_of(self, rank: int) -> int:
        """Return which of the sets of rows a process has."""
        return rank // self.tensor_size

    def num_turns(self, size: int) -> int:
        """Return how many sets of rows that many processes have."""
        return max(1, size // self.tensor_size)


def _size_of(trainer: Any, name: str) -> int | None:
    ask = getattr(trainer, f"get_{name}_size", None)
    if ask is not None:
        return int(ask())
    config = getattr(getattr(trainer, "accelerator", None), "parallelism_config", None)
    return getattr(config, f"{name}_size", None)
