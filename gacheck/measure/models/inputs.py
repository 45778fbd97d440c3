"""What a model's forward takes, and what it demands besides text."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch

from gacheck.watch.description import base_model

MOST_PADDED = 1024
"""Tokens that a row is padded to."""


def forward_names(model_class: type) -> frozenset[str]:
    """Return the names that a class's forward takes, or hands on in its `**kwargs` to the one that it overrides."""
    names: set[str] = set()
    for forward in (vars(base)["forward"] for base in model_class.__mro__ if "forward" in vars(base)):
        parameters = inspect.signature(forward).parameters
        names |= set(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return frozenset(names)


def demanded_zeros(model: Any, batch: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """Find the inputs that text has no use for but the model demands in training, such as Gemma3's `token_type_ids`.

    Tries a forward; where the model refuses and names one of its own arguments that mark token types, zeros are
    what its processor would send for text.
    """
    names = [n for n in forward_names(type(base_model(model))) if n.endswith("token_type_ids")]
    demanded: list[str] = []
    while True:
        zeros = {name: torch.zeros_like(batch["input_ids"]) for name in demanded}
        try:
            with torch.no_grad():
                model(**batch, **zeros)
            return tuple(demanded)
        except (ValueError, TypeError) as error:
            missing = [n for n in names if n in str(error) and n not in demanded]
            if not missing:
                raise
            # The longest name that is mentioned: mm_token_type_ids contains token_type_ids.
            demanded.append(max(missing, key=len))


def demanded_length(error: BaseException, least: int) -> int | None:
    """Return how long a model says that every row has to be, where it says something of a length; otherwise None.

    Args:
        error: What it raised.
        least: How long the longest row is.
    """
    told = str(error)
    numbers = [int(each) for each in re.findall(r"\d+", told)] if "length" in told else []
    return max((each for each in numbers if least <= each <= MOST_PADDED), default=None)


def demanded_positions(error: BaseException, num_rows: int, least: int) -> int | None:
    """Return how many positions a model answers of every row, where there were fewer labels than that.

    Args:
        error: What it raised.
        num_rows: In the batch.
        least: How long the longest row is.
    """
    found = re.search(r"input batch_size \((\d+)\) to match target batch_size", str(error))
    number, rest = divmod(int(found[1]) if found is not None else 0, num_rows)
    return number if not rest and least < number <= MOST_PADDED else None
