"""What a model demands besides text."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from gacheck.watch.description import base_model


def demanded_zeros(model: Any, batch: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """Find the inputs that text has no use for but the model demands in training, such as Gemma3's `token_type_ids`.

    Tries a forward; where the model refuses and names one of its own arguments that mark token types, zeros are
    what its processor would send for text.
    """
    names = [n for n in inspect.signature(base_model(model).forward).parameters if n.endswith("token_type_ids")]
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
