"""Makes a Trainer: the Trainer itself, or a subclass of the user's."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from transformers import Trainer

from gacheck.errors import ModelError


@dataclass(frozen=True)
class Making:
    """How a Trainer is made.

    Attributes:
        trainer_class: The Trainer itself, or a subclass of the user's.
        tokenizer: Handed to a subclass that asks for one; the Trainer itself only saves it.
    """

    trainer_class: type[Trainer] = Trainer
    tokenizer: Any = None

    def make(self, **arguments: Any) -> Trainer:
        """Make one.

        Raises:
            ModelError: A subclass cannot be made of what the Trainer itself is made of.
        """
        if self.trainer_class is Trainer:
            return Trainer(**arguments)
        takes = inspect.signature(self.trainer_class.__init__).parameters
        if "processing_class" in takes and self.tokenizer is not None:
            arguments["processing_class"] = self.tokenizer
        try:
            return self.trainer_class(**arguments)
        except TypeError as error:
            raise ModelError(
                f"{self.trainer_class.__name__} cannot be made: {' '.join(str(error).split())[:300]}",
                why="It is given model, args, train_dataset and data_collator by name, as the Trainer is.",
                fix="let its __init__ take these and defaults for the rest, or attach to your own training instead:  "
                "gacheck attach -- python train.py",
            ) from error
