"""The first step is right, a later one is not."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Trainer

from tests.trials.faults.fault import GRADIENT, TIMES_K, Fault, model_mixin, trainer_mixin
from tests.trials.faults.gradient import _AfterBackward

GROUP = "from the second step on"


class ScalesLater(Trainer):  # type: ignore[misc]
    """Multiplies loss and gradient by k once a step is done."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch=num_items_in_batch)
        if self.state.global_step > 0:
            loss = loss * self.args.gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss


class ScalesTheGradientLater(_AfterBackward):
    def after_step(self) -> None:
        if self.state.global_step > 0:
            self.scale(float(self.k))


class ScalesTheLogLater(Trainer):  # type: ignore[misc]
    """Returns k times the loss once a step is done."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss * self.args.gradient_accumulation_steps if self.state.global_step > 0 else loss


class NeverZeroes(torch.nn.Module):
    """A model whose gradients stay after a step."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Do nothing."""


class KeepsAddingTheFirst(_AfterBackward):
    """Adds the first step's gradient to that of every later one."""

    kept: Any = None

    def after_step(self) -> None:
        if self.kept is None:
            self.kept = [(p, p.grad.clone()) for p in self.with_gradient()]
        else:
            for parameter, gradient in self.kept:
                parameter.grad.add_(gradient)


class DropsTheLastLater(_AfterBackward):
    """Takes no gradient of the last micro-batch once a step is done."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        if not (self.accelerator.sync_gradients and self.state.global_step > 0):
            return super().training_step(model, inputs, num_items_in_batch)
        before = [None if p.grad is None else p.grad.clone() for p in self.model.parameters()]
        loss = super().training_step(model, inputs, num_items_in_batch)
        for parameter, gradient in zip(self.model.parameters(), before, strict=True):
            parameter.grad = gradient
        return loss


FAULTS: tuple[Fault, ...] = (
    Fault(
        "loss × k from the second step on",
        GROUP,
        TIMES_K | GRADIENT,
        "both",
        trainer_mixin(ScalesLater),
        needs=("cross-entropy", "smoothing"),
        late=True,
    ),
    Fault(
        "gradient × k from the second step on",
        GROUP,
        TIMES_K | GRADIENT,
        "gradient",
        trainer_mixin(ScalesTheGradientLater),
        late=True,
    ),
    Fault(
        "log × k from the second step on", GROUP, TIMES_K | GRADIENT, "log", trainer_mixin(ScalesTheLogLater), late=True
    ),
    Fault("gradients never zeroed", GROUP, GRADIENT, "gradient", model_mixin(NeverZeroes), late=True),
    Fault("first step's gradient added", GROUP, GRADIENT, "gradient", trainer_mixin(KeepsAddingTheFirst), late=True),
    Fault("last micro-batch dropped later", GROUP, GRADIENT, "gradient", trainer_mixin(DropsTheLastLater), late=True),
)
