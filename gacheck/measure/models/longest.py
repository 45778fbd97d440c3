"""Whether a model takes the longest row, tried before any pass: learned positions end somewhere, rotary ones do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, one_line
from gacheck.measure.text.rows import SHORTEST_SAMPLE, Collator, Rows, longest_row_of
from gacheck.words.reasons import is_of_memory


class TooLongError(ConfigError):
    """A model takes no row as long as the longest.

    Attributes:
        works: A `max_length` whose rows it takes.
    """

    def __init__(self, what: str, *, why: str, fix: str, works: int) -> None:
        super().__init__(what, why=why, fix=fix)
        self.works = works


class _CheckedLookups(TorchFunctionMode):
    """Refuse an index beyond an embedding: on a GPU that would end the whole process instead of raising something."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Look at the indices first."""
        if func is functional.embedding and len(args) > 1 and args[0].numel():
            highest, num = int(args[0].max()), len(args[1])
            if highest >= num:
                raise IndexError(f"index {highest} is beyond an embedding of {num}")
        return func(*args, **(kwargs or {}))


def check_longest_row(model: Any, collator: Collator, rows: Rows, config: ExperimentConfig) -> None:
    """Try a forward of the longest row; where that fails and a short one does not, find how long a row may be.

    Raises:
        TooLongError: The model takes no row of that length.
    """
    row = max((row for part in (rows.train, rows.heldout) for row in part), key=lambda row: len(row["input_ids"]))
    device = next(model.parameters()).device

    def failure(length: int) -> Exception | None:
        batch = collator([{name: values[:length] for name, values in row.items()}])
        try:
            with torch.no_grad(), _CheckedLookups():
                model(**{name: tensor.to(device) for name, tensor in batch.items()})
        except Exception as error:  # a model says it in its own way
            return error
        return None

    length = len(row["input_ids"])
    error = failure(length)
    if error is None or is_of_memory(f"{type(error).__name__}: {error}") or failure(SHORTEST_SAMPLE) is not None:
        return  # what fails at any length is told where it is trained
    most = _largest(lambda each: failure(each) is None, SHORTEST_SAMPLE, length)
    works = max(8, longest_row_of(config, most))
    raise TooLongError(
        f"--max-length {config.max_length} is too long for this model: it takes {most} tokens, and a row has {length}.",
        why=f"{type(error).__name__}: {one_line(error, 200)}. Its positions are learned, and there are no more of them."
        if isinstance(error, IndexError)
        else f"{type(error).__name__}: {one_line(error, 200)}",
        fix=f"write  --max-length {works}",
        works=works,
    )


def _largest(works: Callable[[int], bool], least: int, too_many: int) -> int:
    """Return the largest number that works, from one that does to one that does not."""
    while too_many - least > 1:
        middle = (least + too_many) // 2
        least, too_many = (middle, too_many) if works(middle) else (least, middle)
    return least
