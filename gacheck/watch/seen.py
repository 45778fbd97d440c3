"""One micro-batch while it is watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gacheck.watch.micro_batch import MicroBatchReader
from gacheck.watch.replays import Replay
from gacheck.watch.restoring import RandomState


@dataclass
class Seen:
    """What is known of it so far.

    Attributes:
        inputs: As `training_step` is given them.
        start: Random state before it, so that it can be repeated; None where that could not be read.
        reader: Of its logits; None where it has no labels.
        num_asked: How often `compute_loss` was asked.
        is_counted: It was handed `num_items_in_batch`, and may be again.
        replayed: What it means by itself; None where that could not be asked.
        growth: Sketch of what its backward added to the gradients.
        present: Sketch of the gradients after it, as they are scaled.
    """

    inputs: Any
    start: RandomState | None = None
    reader: MicroBatchReader | None = None
    num_asked: int = 0
    is_counted: bool = False
    replayed: Replay | None = None
    growth: torch.Tensor | None = None
    present: torch.Tensor | None = None

    @property
    def has_own_count(self) -> bool:
        """Whether somebody's own code counts in it."""
        return self.replayed is not None and self.replayed.own_count is not None

    @property
    def is_other(self) -> bool:
        """Whether its own loss is known to be no plain cross-entropy."""
        return self.replayed is not None and not self.replayed.is_plain
