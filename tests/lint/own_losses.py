"""Losses that models of tests/lint/own_models.py import."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F


def without(logits: Any, labels: Any, ignore_index: int = -100, **kwargs: Any) -> Any:
    return F.cross_entropy(logits, labels, ignore_index=ignore_index)


def with_count(logits: Any, labels: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
    reduction = "sum" if num_items_in_batch is not None else "mean"
    loss = F.cross_entropy(logits, labels, reduction=reduction)
    if reduction == "sum":
        if torch.is_tensor(num_items_in_batch):
            num_items_in_batch = num_items_in_batch.to(loss.device)
        loss = loss / num_items_in_batch
    return loss


LOSSES = {"with": with_count, "without": without}


def losing(forward: Any) -> Any:
    """Hand on what a forward is called with, without the count."""

    @functools.wraps(forward)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("num_items_in_batch", None)
        return forward(self, *args, **kwargs)

    return wrapped
