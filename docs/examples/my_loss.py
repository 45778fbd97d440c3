"""Loss functions as one may write them, for `--compute-loss-func`; each with a fault that gacheck finds."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

TOKENS_PER_STEP = 1000
"""Counted once, on other data."""


def batch_mean(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Take the mean over the micro-batch, whatever the count."""
    return cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def fixed_count(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Divide the sum by a constant where the Trainer hands over a count."""
    if num_items_in_batch is None:
        return batch_mean(outputs, labels)
    nats = cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    return nats / TOKENS_PER_STEP
