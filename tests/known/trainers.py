"""The Trainers that somebody wrote: wrong ones, and each as the remedy that it is given has it."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, Trainer
from transformers.modeling_outputs import CausalLMOutput

from tests.trials.trainers import PreferenceTrainer

# Changed once the gradient is whole.


class DoublesTheGradient(Trainer):  # type: ignore[misc]
    """Wrong in the gradient alone."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            for parameter in model.parameters():
                parameter.grad.mul_(2)
        return loss


class TurnsTheGradient(Trainer):  # type: ignore[misc]
    """Wrong in the gradient alone: it climbs."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            for parameter in model.parameters():
                parameter.grad.neg_()
        return loss


class FavoursTheHead(Trainer):  # type: ignore[misc]
    """Wrong in the gradient of one parameter alone."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            model.lm_head.weight.grad.mul_(4)
        return loss


class ForgetsTheGradient(Trainer):  # type: ignore[misc]
    """Wrong in the gradient alone: zeroes it before every micro-batch."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.zero_grad()
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss


# Steps that take the place of the Trainer's.


class HalfTheTargets(Trainer):  # type: ignore[misc]
    """Wrong in the gradient alone: that of every other target."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss, outputs = self.compute_loss(model, inputs, True, num_items_in_batch=num_items_in_batch)
        logits, labels = outputs.logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten()
        half = cross_entropy(logits[::2], labels[::2], ignore_index=-100, reduction="sum") / num_items_in_batch
        self.accelerator.backward(half)
        returned: torch.Tensor = loss.detach()
        return returned


class TimesKInBackward(Trainer):  # type: ignore[misc]
    """Wrong in the gradient alone: the step makes up for a division that nobody does."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss * self.args.gradient_accumulation_steps)
        returned: torch.Tensor = loss.detach()
        return returned


class BackwardOnWhatIsReturned(Trainer):  # type: ignore[misc]
    """The same, right."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss)
        returned: torch.Tensor = loss.detach()
        return returned


class UndividedStep(Trainer):  # type: ignore[misc]
    """Wrong: written when nobody handed out a count, and without the division."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss = self.compute_loss(model, inputs)
        self.accelerator.backward(loss)
        returned: torch.Tensor = loss.detach()
        return returned


class DividedStep(Trainer):  # type: ignore[misc]
    """The same, with the division."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss = self.compute_loss(model, inputs)
        loss = loss / self.current_gradient_accumulation_steps
        self.accelerator.backward(loss)
        returned: torch.Tensor = loss.detach()
        return returned


# Losses of one's own.


class TimesK(Trainer):  # type: ignore[misc]
    """Wrong: multiplies the loss by k."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch=num_items_in_batch)
        loss = loss * self.args.gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss


class OverK(Trainer):  # type: ignore[misc]
    """Wrong: divides by k what is divided by the count."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch=num_items_in_batch)
        loss = loss / self.args.gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss


class DropsTheCount(Trainer):  # type: ignore[misc]
    """Wrong: does not pass the count on."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        return super().compute_loss(model, inputs, return_outputs)


class HandsTheCountOn(Trainer):  # type: ignore[misc]
    """The same, right."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch=num_items_in_batch)


class OwnMean(Trainer):  # type: ignore[misc]
    """Wrong: a mean per micro-batch, where the Trainer does not divide by k."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        logits, labels = outputs.logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten()
        loss = cross_entropy(logits, labels, ignore_index=-100)
        return (loss, outputs) if return_outputs else loss


class SaysThatAMeanIsScaled(OwnMean):
    """Wrong: says itself that the Trainer is not to divide."""

    loss_is_scaled_for_ga = True


class SaysThatItIsScaled(Trainer):  # type: ignore[misc]
    """Wrong with the flag off, where the model takes a mean; right with the flag on."""

    loss_is_scaled_for_ga = True


class OwnSum(Trainer):  # type: ignore[misc]
    """Wrong: a sum over the targets."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        logits, labels = outputs.logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten()
        loss = cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        return (loss, outputs) if return_outputs else loss


class OwnSumOverTheCount(Trainer):  # type: ignore[misc]
    """The same, right: the sum / num_items_in_batch; where that is None, the mean."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        logits, labels = outputs.logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten()
        loss = cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        loss = loss / (labels.ne(-100).sum() if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class SaysThatASumOverTheCountIsScaled(OwnSumOverTheCount):
    """Right: so it is."""

    loss_is_scaled_for_ga = True


class SaysThatOneIsNotScaled(Trainer):  # type: ignore[misc]
    """Wrong: says that what is divided by the count is a mean, so that the Trainer divides by k as well."""

    loss_is_scaled_for_ga = False


# Counts.


class CountsBefore(Trainer):  # type: ignore[misc]
    """Wrong from the second step on: takes the count of the step before."""

    before: Any = None

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, count = super().get_batch_samples(*args, **kwargs)
        given, self.before = self.before, count
        return samples, count if given is None else given


class CountsItsOwn(Trainer):  # type: ignore[misc]
    """The same, right: counts the labels of the batches that it returns."""

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, _ = super().get_batch_samples(*args, **kwargs)
        return samples, sum(batch["labels"][:, 1:].ne(-100).sum() for batch in samples)


# Right.


class Pairs(PreferenceTrainer):
    """Right with the flag off: says nothing of its scale."""

    loss_is_scaled_for_ga = None


# Functions and models.


def sum_of_outputs(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Wrong as a compute_loss_func: a sum over the targets."""
    logits = outputs.logits[:, :-1].flatten(0, 1)
    return cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def sum_over_the_count(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The same, right."""
    count = labels[:, 1:].ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
    return sum_of_outputs(outputs, labels) / count


class DropsTheCountForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """Wrong: takes the count, and drops it."""

    def forward(self, *args: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class KnowsByHeartForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """Right, and nearly knows its rows by heart, whatever they are: the loss is far below 0.01."""

    certainty = 14.0

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: Any = None,
        **kwargs: Any,
    ) -> Any:
        assert input_ids is not None
        logits = super().forward(input_ids=input_ids, attention_mask=attention_mask).logits
        known = torch.zeros_like(logits).scatter_(2, input_ids.roll(-1, 1)[..., None], self.certainty)
        outputs = CausalLMOutput(logits=logits + known)
        if labels is not None:
            outputs.loss = sum_over_the_count(outputs, labels, num_items_in_batch)
        return outputs
