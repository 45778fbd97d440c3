"""The log is right, the gradient is not."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback

from tests.trials.building import Build
from tests.trials.faults.fault import GRADIENT, Fault, trainer_mixin

FORWARD_INPUTS = ("input_ids", "attention_mask", "position_ids")
GROUP = "the gradient alone"
FIRST_LAYER = ("layer.0.", "layers.0.", ".h.0.", "cell")
PART = "a part of the gradient alone"


class _AfterBackward(Trainer):  # type: ignore[misc]
    """Does something to the gradients after a micro-batch."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.after_micro_batch()
        if self.accelerator.sync_gradients:
            self.after_step()
        return loss

    def after_micro_batch(self) -> None:
        """Leave the gradients as they are."""

    def after_step(self) -> None:
        """Leave the gradients as they are."""

    def with_gradient(self) -> list[Any]:
        return [p for p in self.model.parameters() if p.grad is not None]

    def scale(self, factor: float) -> None:
        for parameter in self.with_gradient():
            parameter.grad.mul_(factor)

    @property
    def k(self) -> int:
        k: int = self.args.gradient_accumulation_steps
        return k


class Doubles(_AfterBackward):
    def after_step(self) -> None:
        self.scale(2.0)


class Turns(_AfterBackward):
    def after_step(self) -> None:
        self.scale(-1.0)


class TimesKGradient(_AfterBackward):
    def after_step(self) -> None:
        self.scale(float(self.k))


class OverKGradient(_AfterBackward):
    def after_step(self) -> None:
        self.scale(1 / self.k)


class Forgets(_AfterBackward):
    """Zeroes the gradients before every micro-batch."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.zero_grad()
        return super().training_step(model, inputs, num_items_in_batch)


class DropsTheLast(_AfterBackward):
    """Undoes what the last micro-batch added."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        before = [None if p.grad is None else p.grad.clone() for p in self.model.parameters()]
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            for parameter, gradient in zip(self.model.parameters(), before, strict=True):
                parameter.grad = gradient
        return loss


class CountsTheFirstTwice(_AfterBackward):
    """Adds the first micro-batch's gradient once more."""

    doubled_at = -1

    def after_micro_batch(self) -> None:
        if self.doubled_at != self.state.global_step:
            self.doubled_at = self.state.global_step
            self.scale(2.0)


class HalvesAfterEach(_AfterBackward):
    """Weighs later micro-batches more, as a running mean does."""

    def after_micro_batch(self) -> None:
        if not self.accelerator.sync_gradients:
            self.scale(0.5)


class ClipsEach(_AfterBackward):
    """Clips after every micro-batch."""

    def after_micro_batch(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.05)


class TakesSigns(_AfterBackward):
    def after_step(self) -> None:
        for parameter in self.with_gradient():
            parameter.grad.sign_()


class AddsNoise(_AfterBackward):
    """Adds a quarter of the gradient's size in noise."""

    def after_step(self) -> None:
        generator = torch.Generator().manual_seed(int(self.state.global_step))
        for parameter in self.with_gradient():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.grad.add_(noise / noise.norm() * parameter.grad.norm() / 4)


class _OneParameter(_AfterBackward):
    """Does something to the gradient of one parameter."""

    def chosen(self) -> Any:
        """Return one in the middle of those with a gradient that is felt; None where there is none, or NaN."""
        parameters = self.with_gradient()
        whole = sum(float(p.grad.norm()) ** 2 for p in parameters) ** 0.5
        felt = [p for p in parameters if float(p.grad.norm()) > 0.02 * whole]
        return felt[len(felt) // 2] if felt else None

    def after_step(self) -> None:
        chosen = self.chosen()
        if chosen is not None:
            self.change(chosen)

    def change(self, parameter: Any) -> None:
        raise NotImplementedError


class FavoursOne(_OneParameter):
    def change(self, parameter: Any) -> None:
        parameter.grad.mul_(4.0)


class FavoursOneALittle(_OneParameter):
    def change(self, parameter: Any) -> None:
        parameter.grad.mul_(1.15)


class DropsALine(_OneParameter):
    """Drops the gradient of one row of a matrix, that of a single token say."""

    def change(self, parameter: Any) -> None:
        lines = parameter.grad.reshape(len(parameter.grad), -1)
        lines[lines.norm(dim=1).argmax()] = 0


class SwapsTwo(_AfterBackward):
    """Swaps the gradients of two parameters of one shape."""

    def after_step(self) -> None:
        of_shape: dict[Any, list[Any]] = {}
        for parameter in sorted(self.with_gradient(), key=lambda each: -float(each.grad.norm())):
            of_shape.setdefault(parameter.shape, []).append(parameter)
        first, second = next((found for found in of_shape.values() if len(found) > 1), (None, None))[:2]
        if first is not None and second is not None:
            first.grad, second.grad = second.grad, first.grad


class DropsOne(_OneParameter):
    def change(self, parameter: Any) -> None:
        parameter.grad = None


class ZeroesOne(_OneParameter):
    def change(self, parameter: Any) -> None:
        parameter.grad.zero_()


class TurnsOne(_OneParameter):
    def change(self, parameter: Any) -> None:
        parameter.grad.neg_()


class NoiseInOne(_OneParameter):
    def change(self, parameter: Any) -> None:
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)).to(parameter.dtype)
        parameter.grad.add_(noise / noise.norm() * parameter.grad.norm())


class PermutesOne(_OneParameter):
    """Same norm, same numbers, another order."""

    def change(self, parameter: Any) -> None:
        parameter.grad.copy_(parameter.grad.roll(1, 0))


class FavoursTheHead(_AfterBackward):
    def after_step(self) -> None:
        head = [p for name, p in self.model.named_parameters() if "head" in name or "embed" in name]
        for parameter in head:
            if parameter.grad is not None:
                parameter.grad.mul_(4.0)


class KeepsTheHead(_AfterBackward):
    """Drops the gradient of everything below the head."""

    def after_step(self) -> None:
        for name, parameter in self.model.named_parameters():
            if "head" not in name and "embed" not in name and "wte" not in name and parameter.grad is not None:
                parameter.grad.zero_()


class TurnsALayer(_AfterBackward):
    """Climbs in one layer."""

    def after_step(self) -> None:
        for name, parameter in self.model.named_parameters():
            if any(part in name for part in FIRST_LAYER) and parameter.grad is not None:
                parameter.grad.neg_()


class HalfTheTargets(Trainer):  # type: ignore[misc]
    """Takes the gradient of every other target alone."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            outputs = model(**{name: inputs[name] for name in FORWARD_INPUTS if name in inputs})
        labels = inputs["labels"][:, 1:].flatten()
        # Not every model names its outputs.
        logits = (outputs["logits"] if isinstance(outputs, dict) else next(o for o in outputs if o.dim() == 3))[:, :-1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        nats = cross_entropy(logits.flatten(0, 1), labels, ignore_index=-100, reduction="none")
        self.accelerator.backward(nats[::2].sum() / num_items_in_batch)
        loss: torch.Tensor = nats.detach().sum() / num_items_in_batch
        return loss


class FirstInputsAgain(Trainer):  # type: ignore[misc]
    """Takes the gradient of the step's first micro-batch again and again; the log is right."""

    first: Any = None
    first_at = -1

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        if self.first_at != self.state.global_step:
            self.first, self.first_at = copy(inputs), self.state.global_step
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(copy(inputs)), num_items_in_batch=num_items_in_batch)
        super().training_step(model, copy(self.first), num_items_in_batch)
        returned: torch.Tensor = loss.detach()
        return returned


def _hook(factor: float) -> Any:
    """Scale a parameter's gradient as it comes out of backward."""

    def onto(model: Any) -> None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        parameters[-1].register_hook(lambda gradient: gradient * factor)

    return lambda build: build.on_model.append(onto)


def _fading_hook(build: Build) -> None:
    """Scale what has come together so far, after every micro-batch."""

    def halve(parameter: Any) -> None:
        parameter.grad.mul_(0.5)

    def onto(model: Any) -> None:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(halve)

    build.on_model.append(onto)


class _ZeroesBetween(TrainerCallback):  # type: ignore[misc]
    """Zeroes the gradients between micro-batches."""

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["model"].zero_grad()


class StepsAtOnce(_AfterBackward):
    """Steps at every micro-batch."""

    def after_micro_batch(self) -> None:
        if not self.accelerator.sync_gradients:
            self.optimizer.optimizer.step()
            self.optimizer.optimizer.zero_grad()


class _ScalesBackward(torch.autograd.Function):
    """Says the loss and gives another gradient."""

    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 3


class WrongBackward(Trainer):  # type: ignore[misc]
    """Puts a function of its own, with a wrong backward, behind the loss."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch=num_items_in_batch)
        loss = _ScalesBackward.apply(loss)  # type: ignore[no-untyped-call]
        return (loss, outputs) if return_outputs else loss


def _gradient(name: str, mixin: type, *, group: str = GROUP, codes: frozenset[str] = GRADIENT, **more: Any) -> Fault:
    return Fault(name, group, codes, "gradient", trainer_mixin(mixin), **more)


FAULTS: tuple[Fault, ...] = (
    _gradient("gradient × 2", Doubles),
    _gradient("gradient × −1", Turns),
    _gradient("gradient × k", TimesKGradient, codes=GRADIENT | {"SCALED_BY_ACCUMULATION"}),
    _gradient("gradient ÷ k", OverKGradient, codes=GRADIENT | {"DIVIDED_TWICE"}),
    _gradient("gradients zeroed before every micro-batch", Forgets),
    _gradient("last micro-batch dropped", DropsTheLast),
    _gradient("first micro-batch counted twice", CountsTheFirstTwice),
    _gradient("later micro-batches weigh more", HalvesAfterEach),
    _gradient("clipped after every micro-batch", ClipsEach),
    _gradient("signs of the gradient", TakesSigns),
    _gradient("noise in the gradient", AddsNoise),
    _gradient(
        "gradient of the first micro-batch, k times",
        FirstInputsAgain,
        needs=("token mean, the Trainer's step", "aligned, the Trainer's step"),
    ),
    _gradient("gradient of half the targets", HalfTheTargets, needs=("cross-entropy, flag on",)),
    _gradient(
        "wrong backward behind the loss",
        WrongBackward,
        needs=("cross-entropy",),
    ),
    _gradient("one parameter × 4", FavoursOne, group=PART),
    _gradient("one parameter × 1.15", FavoursOneALittle, group=PART, subtle=True),
    _gradient("one line of a parameter's gradient zero", DropsALine, group=PART),
    _gradient("gradients of two parameters swapped", SwapsTwo, group=PART),
    _gradient("one parameter's gradient None", DropsOne, group=PART),
    _gradient("one parameter's gradient zero", ZeroesOne, group=PART),
    _gradient("one parameter climbs", TurnsOne, group=PART),
    _gradient("noise in one parameter", NoiseInOne, group=PART),
    _gradient("one parameter's gradient in another order", PermutesOne, group=PART),
    _gradient("head × 4", FavoursTheHead, group=PART),
    _gradient("gradient of the head alone", KeepsTheHead, group=PART),
    _gradient("one layer climbs", TurnsALayer, group=PART),
    Fault(
        "a callback zeroes the gradients between micro-batches",
        GROUP,
        GRADIENT,
        "gradient",
        lambda build: build.callbacks.append(_ZeroesBetween()),
    ),
    Fault("a hook halves what has come together", GROUP, GRADIENT, "gradient", _fading_hook),
    Fault(
        "an optimizer step at every micro-batch",
        GROUP,
        GRADIENT,
        "gradient",
        trainer_mixin(StepsAtOnce),
    ),
    Fault("a hook scales one parameter", PART, GRADIENT, "gradient", _hook(4.0)),
)
