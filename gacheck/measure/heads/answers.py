"""Labels of the shape of what the model answers: how many positions come out, no config says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from gacheck.measure.heads.maker import Maker, Row

NAMES = ("logits", "prediction_logits", "reconstruction", "predicted_depth")
"""What an answer is called, where an output has several tensors."""


def answer_of(maker: Maker, row: Row) -> torch.Tensor:
    """Return what the model answers to a row by itself.

    Raises:
        LookupError: It answers with no numbers, or cannot be asked.
    """
    if maker.ask is None:
        raise LookupError("nobody answers")
    found = next(_tensors(maker.ask(row)), None)
    if found is None:
        raise LookupError("it answers with no numbers")
    return found[0].cpu()


def _tensors(outputs: Any) -> Iterator[torch.Tensor]:
    named = [getattr(outputs, name, None) for name in NAMES]
    given = outputs.values() if isinstance(outputs, dict) else ()
    for each in (*named, *given):
        if isinstance(each, torch.Tensor) and each.is_floating_point() and each.dim() > 1:
            yield each


def _classes(maker: Maker, row: Row) -> tuple[torch.Tensor, int]:
    answer = answer_of(maker, row)
    if answer.dim() < 2:
        raise LookupError("it answers with one row")
    return torch.randint(answer.shape[-1], answer.shape[:-1], generator=maker.generator), answer.shape[-1]


def class_of_each(maker: Maker, row: Row) -> Row:
    """A class for every position that comes out."""
    return {"labels": _classes(maker, row)[0]}


def one_of_each(maker: Maker, row: Row) -> Row:
    """The same, each as a row of zeros and a one."""
    classes, most = _classes(maker, row)
    return {"labels": torch.nn.functional.one_hot(classes, most)}


def chances_of_each(maker: Maker, row: Row) -> Row:
    """Zero or one for every number that comes out."""
    return {"labels": torch.randint(2, answer_of(maker, row).shape, generator=maker.generator).float()}


def numbers_of_each(maker: Maker, row: Row) -> Row:
    """A number for every number that comes out."""
    return {"labels": maker.normal(*answer_of(maker, row).shape)}


def replaced_tokens(maker: Maker, row: Row) -> Row:
    """Of every token whether it was replaced.

    Raises:
        LookupError: Something else than one number for each token comes out.
    """
    if answer_of(maker, row).shape != row["input_ids"].shape:
        raise LookupError("it does not answer with a number for each token")
    return {"labels": torch.randint(2, row["input_ids"].shape, generator=maker.generator)}
