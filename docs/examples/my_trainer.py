"""A Trainer as one may write it, for `--trainer-class`; with a fault that gacheck finds."""

from __future__ import annotations

from typing import Any

from transformers import Trainer


class ForgetfulTrainer(Trainer):  # type: ignore[misc]
    """Sets the gradients to zero before every micro-batch, so that only the last of a step counts."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Do one forward and backward."""
        model.zero_grad()
        return super().training_step(model, inputs, num_items_in_batch)
