"""What several backwards have added up, outside the Trainer."""

from __future__ import annotations

import torch

from gacheck.watch.description import added_up_parameters
from gacheck.watch.probe import gradient_norm


class SummedGradients:
    """The gradients that several backwards have added up.

    Where a hook adds up the parts of the processes it takes all that a parameter holds, what an earlier backward left
    included: such gradients are kept apart between two of them.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._apart: dict[torch.nn.Parameter, torch.Tensor] = {}

    def take(self) -> None:
        """Take what a backward has given, right after it."""
        for parameter in map(self._model.get_parameter, added_up_parameters(self._model)):
            if parameter.grad is not None:
                before = self._apart.get(parameter)
                self._apart[parameter] = parameter.grad if before is None else before + parameter.grad
                parameter.grad = None

    def norm(self) -> float | None:
        """Return the norm over all; None if there are none."""
        for parameter, gradient in self._apart.items():
            parameter.grad = gradient
        norm = gradient_norm(self._model)
        for parameter in self._apart:
            parameter.grad = None
        return norm
