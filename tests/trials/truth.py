"""Is a training right? A bare Trainer is run beside plain torch, which computes the right step in closed form.

Right is what the objective means: the loss of the step is the sum of what `training_step` returned, the gradient what
stands in `.grad` when the last `training_step` of the step returns, before clipping. Nothing of gacheck is used.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import numpy
import torch

from tests.trials.right_steps import Batch, NoTruth, RightPart, Step

Label = Literal["right", "wrong", "between"]

# A parameter whose gradient is smaller than this share of the whole is measured against that share.
SMALLEST_SHARE = 1e-3
# Where a model is nearly sure, the gradient by a logit is p − 1 in float32: rounding over a small difference.
ROUNDING_OF_CERTAINTY = 10 * 2.0**-24


@dataclass(frozen=True)
class Bounds:
    """Relative differences: what rounding may make, and from where on something is wrong.

    Attributes:
        loss: Of the loss.
        gradient: Of the whole gradient, and of each parameter's.
        nats: Of the loss, absolute: rounding grows with the logits, not with the loss.
    """

    loss: tuple[float, float]
    gradient: tuple[float, float]
    nats: tuple[float, float]


BOUNDS: dict[str, Bounds] = {
    "float64 weights": Bounds((2e-6, 1e-4), (1e-4, 1e-3), (2e-6, 1e-4)),
    "float32": Bounds((2e-5, 1e-4), (3e-4, 1e-3), (1e-5, 1e-4)),
    "bfloat16 autocast": Bounds((1e-4, 5e-3), (2e-2, 6e-2), (1e-4, 1e-3)),
    "bfloat16 weights": Bounds((1e-2, 3e-2), (4e-2, 1e-1), (5e-3, 2e-2)),
}


@dataclass(frozen=True)
class StepTruth:
    """One optimizer step.

    Attributes:
        logged: Sum of what `training_step` returned.
        right: The right loss.
        gradient_error: |gradient − right gradient| / |right gradient|.
        parameter_error: The same of the parameter that is worst.
        parameter: Its name.
        num_micro_batches: Of the step.
        norm_ratio: |gradient| / |right gradient|.
        cosine: Of the gradient to the right one; NaN where there is none.
    """

    logged: float
    right: float
    gradient_error: float
    parameter_error: float
    parameter: str
    num_micro_batches: int
    norm_ratio: float = 1.0
    cosine: float = 1.0

    def of_log(self, bounds: Bounds) -> Label:
        """Judge the log."""
        error = abs(self.logged - self.right)
        if not math.isfinite(error):
            return "wrong"
        if error <= max(bounds.loss[0] * abs(self.right), bounds.nats[0]):
            return "right"
        return "wrong" if error > max(bounds.loss[1] * abs(self.right), bounds.nats[1]) else "between"

    def of_gradient(self, bounds: Bounds) -> Label:
        """Judge the gradient."""
        error = max(self.gradient_error, self.parameter_error)
        certainty = ROUNDING_OF_CERTAINTY / max(abs(self.right), ROUNDING_OF_CERTAINTY)
        if error <= bounds.gradient[0] + certainty:
            return "right"
        return "wrong" if not error <= bounds.gradient[1] + 10 * certainty else "between"


@dataclass(frozen=True)
class Truth:
    """The first optimizer steps of a training."""

    steps: tuple[StepTruth, ...]
    bounds: Bounds

    def first(self, number: int) -> Truth:
        """Return the truth of the first steps alone."""
        return Truth(self.steps[:number], self.bounds)

    @property
    def log(self) -> Label:
        """The log, over all steps."""
        return _worst([step.of_log(self.bounds) for step in self.steps])

    @property
    def gradient(self) -> Label:
        """The gradient, over all steps."""
        return _worst([step.of_gradient(self.bounds) for step in self.steps])

    @property
    def label(self) -> Label:
        """Both."""
        return _worst([self.log, self.gradient])

    @property
    def affects(self) -> str:
        """Which of the two is wrong: `both`, `log`, `gradient` or `none`."""
        wrong = (self.log == "wrong", self.gradient == "wrong")
        return {(True, True): "both", (True, False): "log", (False, True): "gradient"}.get(wrong, "none")


def _worst(labels: list[Label]) -> Label:
    return next((label for label in ("wrong", "between") if label in labels), "right")


def _mapped(change: Callable[[torch.Tensor], torch.Tensor], inputs: Any) -> Any:
    """Change the tensors in inputs of any structure."""
    if torch.is_tensor(inputs):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: _mapped(change, value) for name, value in inputs.items()}
    return [_mapped(change, each) for each in inputs] if isinstance(inputs, list) else inputs


def _in_single(inputs: Any) -> Any:
    return _mapped(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor, inputs)


Chance = tuple[torch.Tensor, Any, Any]


def _chance() -> Chance:
    """Return the state of everything that draws."""
    return torch.get_rng_state(), random.getstate(), numpy.random.get_state()


def _set_chance(state: Chance) -> None:
    torch.set_rng_state(state[0])
    random.setstate(state[1])
    numpy.random.set_state(state[2])


class _Beside:
    """Notes what a bare Trainer does, and does the right step beside it."""

    def __init__(
        self, trainer: Any, reference: Any, part: RightPart, bounds: Bounds, *, autocast: bool, calls_matter: bool
    ) -> None:
        self.steps: list[StepTruth] = []
        self._trainer = trainer
        self._reference = reference.train()
        if hasattr(reference, "config"):
            # The Trainer switches it off; with a cache, positions that begin anew separate no rows.
            reference.config.use_cache = trainer.args.use_cache
        self._part = part
        self._bounds = bounds
        self._autocast = autocast
        self._calls_matter = calls_matter
        self._training_step = trainer.training_step
        self._calls = 0
        self._begin()
        trainer.training_step = self._step

    def _begin(self) -> None:
        self._batches: list[Batch] = []
        self._states: list[Chance] = []
        self._returned: list[float] = []

    def _step(self, model: Any, inputs: Batch, *more: Any, **named: Any) -> torch.Tensor:
        if self.steps and not math.isfinite(self.steps[-1].logged + self.steps[-1].gradient_error):
            # There is no truth about the steps after NaN.
            return self._training_step(model, inputs, *more, **named)  # type: ignore[no-any-return]
        if not self._batches:
            self._reference.load_state_dict(self._trainer.model.state_dict())
        # A copy: a Trainer takes the labels out of its inputs.
        self._batches.append(_mapped(torch.clone, inputs))
        self._states.append(_chance())
        loss: torch.Tensor = self._training_step(model, inputs, *more, **named)
        self._returned.append(float(loss))
        if self._trainer.accelerator.sync_gradients:
            self._end()
        return loss

    def _end(self) -> None:
        now = _chance()
        trained = {n: p.grad for n, p in self._trainer.model.named_parameters() if p.requires_grad}
        loss, right = self._right_step()
        right = self._without_rounding(right)
        self.steps.append(_compared(sum(self._returned), loss, trained, right, len(self._batches)))
        _set_chance(now)
        self._begin()

    def _right_step(self) -> tuple[float, dict[str, torch.Tensor]]:
        step = Step(self._batches, self._autocast, len(self.steps))
        found = self._gradient(self._reference, step, self._calls)
        self._calls += len(self._batches)
        return found

    def _without_rounding(self, right: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Leave out parameters whose right gradient, in half precision, is one of rounding.

        To the bias of a softmax, say, the loss does not respond at all.
        """
        if not self._autocast and all(p.dtype != torch.bfloat16 for p in self._reference.parameters()):
            return right
        single = deepcopy(self._reference).float()
        step = Step(_in_single(self._batches), number=len(self.steps))
        _, exact = self._gradient(single, step, self._calls - len(self._batches))
        whole = sum(float(gradient.norm()) ** 2 for gradient in exact.values()) ** 0.5
        most = self._bounds.gradient[1]
        return {
            name: gradient
            for name, gradient in right.items()
            if (norm := float(exact[name].norm())) > SMALLEST_SHARE * whole
            and float((gradient - exact[name]).norm()) <= most * norm
        }

    def _gradient(self, model: Any, step: Step, calls: int) -> tuple[float, dict[str, torch.Tensor]]:
        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        total = 0.0
        gradients = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
        for number, (batch, state) in enumerate(zip(step.batches, self._states, strict=True), calls):
            # The same dropout.
            _set_chance(state)
            if self._calls_matter:
                # A number, or a buffer of one.
                model.calls = getattr(model, "calls", 0) * 0 + number
            part = self._part(model, batch, step)
            total += float(part)
            found = torch.autograd.grad(part, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    gradients[name] += gradient
        return total, gradients


def _compared(
    logged: float,
    loss: float,
    trained: dict[str, torch.Tensor | None],
    right: dict[str, torch.Tensor],
    num_micro_batches: int,
) -> StepTruth:
    norms = {name: float(gradient.norm()) for name, gradient in right.items()}
    whole = sum(norm**2 for norm in norms.values()) ** 0.5
    if not whole > 0:
        raise NoTruth("the right gradient is zero or undefined, or one of rounding")
    have = {n: torch.zeros_like(g) if (seen := trained[n]) is None else seen.double() for n, g in right.items()}
    off = {name: float((have[name] - gradient).norm()) for name, gradient in right.items()}
    errors = {name: off[name] / max(norms[name], SMALLEST_SHARE * whole) for name in off}
    # The first NaN is the worst.
    worst = max(errors, key=lambda name: (errors[name] != errors[name], errors[name]))
    total = sum(each**2 for each in off.values()) ** 0.5 / whole
    norm = sum(float(gradient.norm()) ** 2 for gradient in have.values()) ** 0.5
    product = sum(float((have[name] * gradient).sum()) for name, gradient in right.items())
    cosine = product / (norm * whole) if norm else math.nan
    return StepTruth(logged, loss, total, errors[worst], worst, num_micro_batches, norm / whole, cosine)


def find_truth(
    trainer: Any, reference: Any, part: RightPart, bounds: Bounds, *, autocast: bool, calls_matter: bool = False
) -> Truth:
    """Train, and say for every optimizer step whether it was right.

    Args:
        trainer: Untrained; afterwards trained.
        reference: The right model, of the same parameters.
        part: The right step.
        bounds: By precision.
        autocast: The model is run under bfloat16 autocast.
        calls_matter: The model counts its forwards in `calls`.

    Raises:
        NoTruth: The objective is undefined on a step's data.
    """
    beside = _Beside(trainer, reference, part, bounds, autocast=autocast, calls_matter=calls_matter)
    trainer.train()
    return Truth(tuple(beside.steps), bounds)
