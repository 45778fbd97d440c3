"""Loss and gradient are scaled wrongly: times k, over k, not normalised, by the micro-batch instead of the step."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Trainer

from tests.trials.building import CLASSES, Build
from tests.trials.faults.fault import OVER_K, TIMES_K, Fault, all_of, flag_off, model_mixin, trainer_mixin
from tests.trials.models import num_targets, summed_nats
from tests.trials.trainers import OwnLossTrainer

CE = "cross-entropy"
MODEL = "cross-entropy, in the model"
OURS = "cross-entropy, in compute_loss, the Trainer's step"
FUNC = "cross-entropy, in compute_loss_func"
TRANSFORMERS_OWN = (
    "Llama",
    "Llama, tied embeddings",
    "Llama, parts frozen",
    "Llama under LoRA",
    "GPT-2",
    "GPT-2, dropout",
)


class DropsTheCount(torch.nn.Module):
    """A model whose loss does not see the count."""

    def forward(self, *args: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class Sums(torch.nn.Module):
    """A model whose loss is the sum over the targets."""

    def forward(self, *args: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, num_items_in_batch=1, **kwargs)


class Averages(Trainer):  # type: ignore[misc]
    """Does not pass the count on."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        return super().compute_loss(model, inputs, return_outputs)


class SaysScaled(Trainer):  # type: ignore[misc]
    """Says that a mean is scaled already."""

    loss_is_scaled_for_ga = True


class SaysUnscaled(Trainer):  # type: ignore[misc]
    """Says that what is scaled already is a mean."""

    loss_is_scaled_for_ga = False


class UndividedStep(Trainer):  # type: ignore[misc]
    """Overrides `training_step`, as of old, and forgets the division."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        self.accelerator.backward(loss)
        returned: torch.Tensor = loss.detach()
        return returned


class DividedStep(Trainer):  # type: ignore[misc]
    """Overrides `training_step`, and divides the means by k."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs) / self.divisor()
        self.accelerator.backward(loss)
        returned: torch.Tensor = loss.detach()
        return returned

    def divisor(self) -> int:
        number: int = self.current_gradient_accumulation_steps
        return number


class DividesByConfiguredK(DividedStep):
    """The same, a shorter step as well."""

    def divisor(self) -> int:
        k: int = self.args.gradient_accumulation_steps
        return k


class _Scaled(Trainer):  # type: ignore[misc]
    def factor(self) -> float:
        raise NotImplementedError

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch=num_items_in_batch)
        loss = loss * self.factor()
        return (loss, outputs) if return_outputs else loss


class TimesK(_Scaled):
    """Multiplies the loss by k."""

    def factor(self) -> float:
        return float(self.args.gradient_accumulation_steps)


class OverK(_Scaled):
    """Divides the loss by k, which somebody has done."""

    def factor(self) -> float:
        return 1 / float(self.args.gradient_accumulation_steps)


class OverKTwice(_Scaled):
    """Divides the loss by k²."""

    def factor(self) -> float:
        return float(self.args.gradient_accumulation_steps) ** -2


class SumsOwn(OwnLossTrainer):
    """Forgets to divide by the count."""

    def reduced(self, losses: torch.Tensor, labels: torch.Tensor, count: Any) -> torch.Tensor:
        return (losses * labels.ne(-100)).sum()


def mean_of_outputs(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A `compute_loss_func` that returns a mean."""
    return summed_nats(outputs["logits"], labels) / num_targets(labels)


def sum_of_outputs(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A `compute_loss_func` that returns a sum."""
    return summed_nats(outputs["logits"], labels)


def _func(function: Any) -> Any:
    def plant(build: Build) -> None:
        build.loss_func = function

    return plant


def _own_sum(build: Build) -> None:
    build.trainer_class = SumsOwn


def _of_transformers(build: Build) -> None:
    build.trainer_class = Trainer


def _head_as_it_comes(build: Build) -> None:
    build.trainer_class, build.loss_func = Trainer, None
    build.model_class = CLASSES[build.draw.body]
    build.on_model.clear()


def _head_without_the_flag(build: Build) -> None:
    _head_as_it_comes(build)
    flag_off(build)


NOT_NORMALISED = frozenset({"NOT_NORMALISED"})
MEAN_OF_MEANS = frozenset({"MEAN_OF_MEANS"})

FAULTS: tuple[Fault, ...] = (
    Fault(
        "the model drops the count",
        "times k",
        TIMES_K,
        "both",
        model_mixin(DropsTheCount),
        needs=(MODEL,),
    ),
    Fault("compute_loss drops the count", "times k", TIMES_K, "both", trainer_mixin(Averages), needs=(MODEL, OURS)),
    Fault(
        "label smoothing, the count dropped",
        "times k",
        TIMES_K,
        "both",
        trainer_mixin(Averages),
        needs=("smoothing",),
    ),
    Fault(
        "another token mean, the count dropped",
        "times k",
        TIMES_K,
        "both",
        trainer_mixin(Averages),
        needs=("focal, optional count", "penalty", "distillation"),
    ),
    Fault(
        "training_step without the division",
        "times k",
        TIMES_K,
        "both",
        all_of(flag_off, trainer_mixin(UndividedStep)),
        needs=(MODEL, OURS, "head, in the model, the Trainer's step", "no labels, the Trainer's step"),
    ),
    Fault(
        "loss_is_scaled_for_ga = True over a mean",
        "times k",
        TIMES_K,
        "both",
        all_of(flag_off, trainer_mixin(SaysScaled)),
        needs=(MODEL, OURS),
    ),
    Fault(
        "loss_is_scaled_for_ga = True over a mean of rows or pairs",
        "times k",
        TIMES_K,
        "both",
        trainer_mixin(SaysScaled),
        needs=("rows", "pairs", "in-batch", "no labels"),
    ),
    Fault(
        "compute_loss × k",
        "times k",
        TIMES_K,
        "both",
        trainer_mixin(TimesK),
        needs=(CE, "smoothing", "rows", "pairs", "in-batch", "focal", "distillation", "head", "no labels"),
    ),
    Fault(
        "a head of transformers' own drops the count",
        "times k",
        TIMES_K,
        "both",
        _of_transformers,
        needs=("aligned",),
        bodies=("T5", "XLNet", "Bart"),
    ),
    Fault("a head drops the count", "times k", TIMES_K, "both", _head_as_it_comes, needs=("head",)),
    Fault(
        "a head's class drops the count",
        "times k",
        TIMES_K,
        "both",
        model_mixin(DropsTheCount),
        needs=("head, counted, in the model",),
    ),
    Fault("a sum over rows, divided by k", "over k", OVER_K, "both", flag_off, needs=("head, sum",)),
    Fault("compute_loss_func returns a mean", "times k", TIMES_K, "both", _func(mean_of_outputs), needs=(FUNC,)),
    Fault(
        "divided twice: loss_is_scaled_for_ga = False",
        "over k",
        OVER_K,
        "both",
        trainer_mixin(SaysUnscaled),
        needs=("cross-entropy, the Trainer's step", "smoothing", "head, counted", "own count"),
    ),
    Fault(
        "divided twice: compute_loss ÷ k",
        "over k",
        OVER_K,
        "both",
        trainer_mixin(OverK),
        needs=(CE, "smoothing", "rows", "pairs", "in-batch", "focal", "distillation", "head", "no labels"),
    ),
    Fault(
        "divided three times",
        "over k",
        frozenset({"DIVIDED_TWICE", "UNEXPLAINED"}),
        "both",
        trainer_mixin(OverKTwice),
        needs=(CE,),
    ),
    Fault("a sum, flag on", "not normalised", NOT_NORMALISED, "both", _own_sum, needs=(OURS,)),
    Fault("a sum, flag off", "not normalised", NOT_NORMALISED, "both", all_of(flag_off, _own_sum), needs=(OURS,)),
    Fault("the model sums", "not normalised", NOT_NORMALISED, "both", model_mixin(Sums), needs=(MODEL,)),
    Fault("compute_loss_func sums", "not normalised", NOT_NORMALISED, "both", _func(sum_of_outputs), needs=(FUNC,)),
    Fault("flag off: mean of means", "mean of means", MEAN_OF_MEANS, "both", flag_off, needs=(MODEL, OURS)),
    Fault(
        "a head, flag off: mean of means",
        "mean of means",
        MEAN_OF_MEANS,
        "both",
        _head_without_the_flag,
        needs=("head, counted",),
    ),
    Fault(
        "training_step divides means by k",
        "mean of means",
        MEAN_OF_MEANS,
        "both",
        trainer_mixin(DividedStep),
        needs=(MODEL, OURS, "head, counted"),
    ),
    Fault(
        "a short last step is divided by the configured k",
        "short last step",
        frozenset({"SHORT_LAST_STEP"}),
        "both",
        trainer_mixin(DividesByConfiguredK),
        needs=(MODEL, OURS),
        data=("packed",),
        late=True,
        tail=True,
    ),
    Fault(
        "a head's short last step is divided by the configured k",
        "short last step",
        frozenset({"SHORT_LAST_STEP"}),
        "both",
        trainer_mixin(DividesByConfiguredK),
        needs=("head, rows",),
        late=True,
        tail=True,
    ),
)
