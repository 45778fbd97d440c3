"""Right Trainers that take a loss of their own, and a right `compute_loss_func`."""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, logsigmoid, softplus
from transformers import Trainer

from tests.trials.models import PENALTY, WARM_UP_CALLS

FORWARD_INPUTS = ("input_ids", "attention_mask", "position_ids")


class OwnLossTrainer(Trainer):  # type: ignore[misc]
    """Takes the logits alone from the model, and the loss itself: summed over the targets, divided by the count."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the micro-batch's part of the step's mean, or its own mean without a count."""
        outputs = model(**{name: inputs[name] for name in FORWARD_INPUTS if name in inputs})
        labels = inputs["labels"][:, 1:]
        logits = outputs["logits"][:, :-1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        loss = self.reduced(self.per_token(logits, labels, inputs), labels, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        """Return a loss for every position."""
        return cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")

    def reduced(self, losses: torch.Tensor, labels: torch.Tensor, count: Any) -> torch.Tensor:
        """Reduce the losses of the positions."""
        scored = labels.ne(-100)
        return (losses * scored).sum() / (scored.sum() if count is None else count)


class FocalTrainer(OwnLossTrainer):
    """The focal loss."""

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        nats = super().per_token(logits, labels, inputs)
        return (1 - torch.exp(-nats)) ** 2 * nats


class DemandingFocalTrainer(FocalTrainer):
    """The same, for which the count has no default."""

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: Any, return_outputs: bool = False, *, num_items_in_batch: Any
    ) -> Any:
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class PenaltyTrainer(OwnLossTrainer):
    """Cross-entropy and a squared log-partition."""

    penalty = 0.05

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        return super().per_token(logits, labels, inputs) + self.penalty * logits.logsumexp(-1) ** 2


class AnnealingTrainer(PenaltyTrainer):
    """The same; the penalty becomes less with every step."""

    @property
    def penalty(self) -> float:  # type: ignore[override]
        """The weight at this step."""
        return PenaltyTrainer.penalty / (1 + int(self.state.global_step))


class ChanceTrainer(OwnLossTrainer):
    """Weighs every micro-batch by chance, drawn from Python and numpy."""

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        return super().per_token(logits, labels, inputs) * (0.5 + random.random() + numpy.random.rand())


class TwiceTrainer(OwnLossTrainer):
    """Does two forwards, and wants them alike though dropout differs."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the micro-batch's part of the step's mean."""
        given = {name: inputs[name] for name in FORWARD_INPUTS if name in inputs}
        first, second = model(**given), model(**given)
        labels = inputs["labels"][:, 1:]
        logits = [each["logits"][:, :-1] for each in (first, second)]
        logits = [each if each.dtype == torch.float64 else each.float() for each in logits]
        nats = sum(self.per_token(each, labels, inputs) for each in logits)
        shares = [log_softmax(each, -1) for each in logits]
        unlike = kl_div(shares[0], shares[1], reduction="none", log_target=True).sum(-1)
        loss = self.reduced(nats / 2 + unlike, labels, num_items_in_batch)
        return (loss, first) if return_outputs else loss


class DistillationTrainer(OwnLossTrainer):
    """Cross-entropy and the divergence from a teacher."""

    teacher: Any = None
    share = 0.5

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        given = {name: inputs[name] for name in FORWARD_INPUTS if name in inputs}
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            wanted = self.teacher(**given)["logits"][:, :-1]
        wanted = log_softmax(wanted.to(logits.dtype), -1)
        divergence = kl_div(log_softmax(logits, -1), wanted, reduction="none", log_target=True).sum(-1)
        return (1 - self.share) * super().per_token(logits, labels, inputs) + self.share * divergence


class RowMeanTrainer(OwnLossTrainer):
    """The mean over rows of each row's mean."""

    def reduced(self, losses: torch.Tensor, labels: torch.Tensor, count: Any) -> torch.Tensor:
        scored = labels.ne(-100)
        return ((losses * scored).sum(1) / scored.sum(1).clamp(min=1)).mean()


class SaidRowMeanTrainer(RowMeanTrainer):
    """The same, and says that the Trainer has to divide."""

    loss_is_scaled_for_ga = False


class RowLikelihoodTrainer(OwnLossTrainer):
    """A loss of whole rows: softplus of their nats beyond a threshold."""

    loss_is_scaled_for_ga = False
    threshold = 20.0

    def reduced(self, losses: torch.Tensor, labels: torch.Tensor, count: Any) -> torch.Tensor:
        return softplus((losses * labels.ne(-100)).sum(1) - self.threshold).mean()


class PreferenceTrainer(Trainer):  # type: ignore[misc]
    """Prefers the chosen row of a pair to the rejected one, as DPO does."""

    loss_is_scaled_for_ga: bool | None = False
    labels = "labels"
    beta = 0.1

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean over the pairs of the micro-batch."""
        outputs = model(**{name: inputs[name] for name in FORWARD_INPUTS if name in inputs})
        labels = inputs[self.labels][:, 1:]
        logits = outputs["logits"][:, :-1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        nats = cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none").sum(1)
        gained = -nats - inputs["reference_logps"]
        half = len(gained) // 2
        loss = self.over_pairs(-logsigmoid(self.beta * (gained[:half] - gained[half:])))
        return (loss, outputs) if return_outputs else loss

    def over_pairs(self, losses: torch.Tensor) -> torch.Tensor:
        """Reduce the losses of the pairs."""
        return losses.mean()


class PlainPreferenceTrainer(PreferenceTrainer):
    """The same of inputs without `labels`, upon which the Trainer counts nothing, and divides."""

    loss_is_scaled_for_ga = None
    labels = "targets"


class AdapterPreferenceTrainer(PreferenceTrainer):
    """The same; what it is held against is the model without its adapter."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean over the pairs of the micro-batch."""
        with torch.no_grad(), self.model.disable_adapter():
            outputs = model(**{name: inputs[name] for name in FORWARD_INPUTS if name in inputs})
        logits = outputs["logits"][:, :-1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        labels = inputs["labels"][:, 1:]
        nats = cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none").sum(1)
        inputs = {**inputs, "reference_logps": -nats}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class RouterTrainer(Trainer):  # type: ignore[misc]
    """Adds the model's auxiliary loss as a mean over the step's micro-batches."""

    balance = 0.5

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the model's loss and the auxiliary one."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        loss = loss + self.balance * outputs["aux_loss"] / self.micro_batches()
        return (loss, outputs) if return_outputs else loss

    def micro_batches(self) -> int:
        """Over how many micro-batches the auxiliary loss is a mean."""
        number: int = self.current_gradient_accumulation_steps
        return number


class OwnStepTrainer(OwnLossTrainer):
    """Has a `training_step` of its own, without the Trainer's division: with the count that is right."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Do one forward and backward."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss)
        returned: torch.Tensor = loss.detach()
        return returned


class OwnCountTrainer(OwnStepTrainer):
    """Counts the step's targets itself, and takes that for the count."""

    count: Any = None

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Count the targets of the step that comes."""
        samples, given = super().get_batch_samples(*args, **kwargs)
        self.count = sum(batch["labels"][:, 1:].ne(-100).sum() for batch in samples)
        return samples, given

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Do one forward and backward."""
        return super().training_step(model, inputs, self.count)


class KeptCountTrainer(OwnCountTrainer):
    """The same; its loss knows no other count."""

    def reduced(self, losses: torch.Tensor, labels: torch.Tensor, count: Any) -> torch.Tensor:
        return super().reduced(losses, labels, self.count)


class WeightedTrainer(OwnLossTrainer):
    """Cross-entropy in which some tokens weigh more than others."""

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        return super().per_token(logits, labels, inputs) * (1 + labels % 3)


class ContrastTrainer(Trainer):  # type: ignore[misc]
    """Tells which of the rows of a micro-batch belong together."""

    loss_is_scaled_for_ga = False
    temperature = 1.0

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean over the micro-batch."""
        outputs = model(**{name: inputs[name] for name in FORWARD_INPUTS if name in inputs})
        logits = outputs["logits"][:, :-1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        seen = inputs["labels"][:, 1:].ne(-100)
        rows = (logits * seen[..., None]).sum(1) / seen.sum(1).clamp(min=1)[:, None]
        half = len(rows) // 2
        loss = cross_entropy(rows[:half] @ rows[half:].T / self.temperature, torch.arange(half))
        return (loss, outputs) if return_outputs else loss


class AlignedTrainer(Trainer):  # type: ignore[misc]
    """Cross-entropy of labels that stand where they are predicted, divided by the count."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the micro-batch's part of the step's mean, or its own mean without a count."""
        labels = inputs["labels"]
        outputs = model(**inputs)
        logits = outputs["logits"]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        count = labels.ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum") / count
        return (loss, outputs) if return_outputs else loss


class ShareTrainer(Trainer):  # type: ignore[misc]
    """Weighs the model's own mean by the micro-batch's share of the count."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the micro-batch's part of the step's mean, or its own mean without a count."""
        counted = inputs["labels"].ne(-100).sum()
        outputs = model(**inputs)
        loss = outputs["loss"] * (1 if num_items_in_batch is None else counted / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class SaysMean(Trainer):  # type: ignore[misc]
    """Says that what the model returns is a mean, which the Trainer has to divide."""

    loss_is_scaled_for_ga = False


class TellsAtTheEnd(Trainer):  # type: ignore[misc]
    """Returns the step's whole loss with its last micro-batch."""

    so_far: Any = 0.0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Do one forward and backward."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.so_far = self.so_far + loss
        if not self.accelerator.sync_gradients:
            return torch.zeros_like(loss)
        whole: torch.Tensor
        whole, self.so_far = self.so_far, 0.0
        return whole


class AddsAtTheEnd(Trainer):  # type: ignore[misc]
    """Keeps gradients aside until the step's last micro-batch."""

    aside: Any = None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Do one forward and backward."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        kept = self.aside or {}
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                before = kept.get(parameter)
                kept[parameter] = parameter.grad if before is None else before + parameter.grad
                parameter.grad = None
        self.aside = kept
        if self.accelerator.sync_gradients:
            for parameter, gradient in kept.items():
                parameter.grad = gradient
            self.aside = None
        return loss


class Remembers:
    """A `compute_loss_func` that counts how often it was called, and with that raises the weight of a penalty."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the micro-batch's part of the step's mean."""
        logits = outputs["logits"][:, :-1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        penalty = (logits.logsumexp(-1).square() * labels[:, 1:].ne(-100)).sum()
        count = labels[:, 1:].ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
        weight = PENALTY * min(1.0, self.calls / WARM_UP_CALLS)
        self.calls += 1
        loss: torch.Tensor = summed_over_count(outputs, labels, count) + weight * penalty / count
        return loss


def summed_over_count(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A `compute_loss_func`: the sum over the targets, divided by the count."""
    logits = outputs["logits"][:, :-1]
    logits = logits if logits.dtype == torch.float64 else logits.float()
    count = labels[:, 1:].ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum") / count


def aligned_over_count(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The same of labels that stand where they are predicted."""
    logits = outputs["logits"] if outputs["logits"].dtype == torch.float64 else outputs["logits"].float()
    count = labels.ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum") / count
