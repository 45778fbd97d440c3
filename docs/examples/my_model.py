"""A class of one's own for `--model-class`: it declares that it takes the count, and its forward does not."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaForCausalLM


class StrictLlamaForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """A Llama without `**kwargs`."""

    accepts_loss_kwargs = True

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> Any:
        """Return logits, and with labels the loss."""
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels)
