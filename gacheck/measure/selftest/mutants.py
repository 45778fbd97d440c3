"""A right model under a right Trainer, and mutants of both: each with one fault whose verdict is known.

The right Trainer counts, scales and reports by itself, so that the twin is right on every release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaForCausalLM, Trainer
from transformers.modeling_outputs import CausalLMOutput

from gacheck.rules.facts import Flag
from gacheck.rules.task import IGNORE_INDEX
from gacheck.watch.batches import Batch

# Small enough to leave a loss a loss, large enough to be seen in half precision.
AUXILIARY_WEIGHT = 0.5


class RightModel(LlamaForCausalLM):  # type: ignore[misc]
    """A tiny Llama that takes its own loss: the sum over the targets, divided by `num_items_in_batch`."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return logits, and with labels the loss (nats)."""
        logits = super().forward(input_ids=input_ids, attention_mask=attention_mask).logits
        if labels is None:
            return CausalLMOutput(logits=logits)
        scored, targets = logits[:, :-1].float(), labels[:, 1:]
        nats = torch.nn.functional.cross_entropy(
            scored.reshape(-1, scored.shape[-1]), targets.reshape(-1), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        loss = self.normalise(nats, targets.ne(IGNORE_INDEX).sum(), kwargs.get("num_items_in_batch"))
        return CausalLMOutput(loss=loss + self.auxiliary(scored), logits=logits)

    def normalise(self, nats: torch.Tensor, num_targets: torch.Tensor, num_items: Any) -> torch.Tensor:
        """Divide the summed nats."""
        return nats / (num_targets if num_items is None else num_items)

    def auxiliary(self, logits: torch.Tensor) -> torch.Tensor:
        """Return a loss beside cross-entropy."""
        return logits.new_zeros(())


class RightTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that does its own arithmetic, whatever the release does."""

    count: torch.Tensor | None = None
    num_micro_batches = 1

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Count the step's target tokens."""
        samples, _ = super().get_batch_samples(*args, **kwargs)
        self.num_micro_batches = len(samples)
        counts = [self.count_items(batch) for batch in samples]
        self.count = torch.stack(counts).sum() if counts else None
        return samples, self.count

    def count_items(self, batch: Batch) -> torch.Tensor:
        """Count what a micro-batch scores."""
        return batch["labels"][:, 1:].ne(IGNORE_INDEX).sum()

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Do one forward and backward; return what is added to the log."""
        model.train()
        batch = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, batch, num_items_in_batch=self.count)
        loss = self.scale(loss)
        torch.autograd.backward(self.for_backward(loss))
        return self.for_log(loss.detach())

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """Divide by k unless the model has normalised."""
        return loss if self.model_accepts_loss_kwargs else loss / self.num_micro_batches

    def for_backward(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss whose gradient is taken."""
        return loss

    def for_log(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss that is reported."""
        return loss


class DropsTheCount(RightModel):
    """Takes a mean per micro-batch, whatever the count."""

    def normalise(self, nats: torch.Tensor, num_targets: torch.Tensor, num_items: Any) -> torch.Tensor:
        return nats / num_targets


class ReturnsTheSum(RightModel):
    """Leaves the summed nats undivided."""

    def normalise(self, nats: torch.Tensor, num_targets: torch.Tensor, num_items: Any) -> torch.Tensor:
        return nats


class DividesTwice(RightTrainer):
    """Divides by k what the model has normalised."""

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss / self.num_micro_batches


class CountsBeforeTheShift(RightTrainer):
    """Counts all labels, also those that nothing predicts."""

    def count_items(self, batch: Batch) -> torch.Tensor:
        return batch["labels"].ne(IGNORE_INDEX).sum()


class CountsPadding(RightTrainer):
    """Counts every position, padding too."""

    def count_items(self, batch: Batch) -> torch.Tensor:
        return torch.tensor(batch["labels"].numel(), device=batch["labels"].device)


class SumsMeans(RightTrainer):
    """Leaves the means of the micro-batches undivided."""

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss


class WeighsByRows(RightTrainer):
    """Weighs each micro-batch's mean by its share of the rows: as each has as many, a mean of means."""

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        self.count = None
        return super().training_step(model, inputs)

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss / self.num_micro_batches


class ScalesByWorldSize(RightTrainer):
    """Multiplies by a number of processes."""

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * MUTANT_WORLD_SIZE


class ScalesTheLog(RightTrainer):
    """Reports k times the loss whose gradient it takes."""

    def for_log(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * self.num_micro_batches


class ScalesTheGradient(RightTrainer):
    """Takes the gradient of k times the loss that it reports."""

    def for_backward(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * self.num_micro_batches


class DividesTailsByK(RightTrainer):
    """Divides by the configured k, also a step of fewer micro-batches."""

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        k: int = self.args.gradient_accumulation_steps
        return loss / k


class AddsRouterLoss(RightModel):
    """Adds a loss per micro-batch that nothing divides."""

    def auxiliary(self, logits: torch.Tensor) -> torch.Tensor:
        penalty: torch.Tensor = AUXILIARY_WEIGHT * logits.logsumexp(-1).square().mean()
        return penalty


class CountsOneMicroBatch(RightTrainer):
    """Counts a window that is not the step: its first micro-batch."""

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, _ = super().get_batch_samples(*args, **kwargs)
        self.count = self.count_items(samples[0]) if samples else None
        return samples, self.count


class ScoresLabelsInPlace(RightTrainer):
    """Scores every label at its own position, where the model has just read it."""

    def count_items(self, batch: Batch) -> torch.Tensor:
        return batch["labels"].ne(IGNORE_INDEX).sum()

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss (nats), and with `return_outputs` the outputs too."""
        labels = inputs["labels"]
        outputs = model(**{name: tensor for name, tensor in inputs.items() if name != "labels"})
        nats = torch.nn.functional.cross_entropy(
            outputs.logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        loss = nats / (self.count_items(inputs) if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class RefusesTheCount(RightModel):
    """Declares that it takes the count; its forward does not."""

    accepts_loss_kwargs = True

    def forward(  # type: ignore[override]
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> Any:
        return super().forward(input_ids, attention_mask, labels)


class ReturnsNaN(RightModel):
    """Adds NaN to the loss."""

    def auxiliary(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.new_full((), float("nan"))


class AddsPenalty(RightModel):
    """Means to differ from cross-entropy, and normalises that rightly."""

    def normalise(self, nats: torch.Tensor, num_targets: torch.Tensor, num_items: Any) -> torch.Tensor:
        return 1.1 * super().normalise(nats, num_targets, num_items)


class AddsPenaltyPerMicroBatch(AddsPenalty):
    """Means to differ from cross-entropy, and takes a mean per micro-batch."""

    def normalise(self, nats: torch.Tensor, num_targets: torch.Tensor, num_items: Any) -> torch.Tensor:
        return super().normalise(nats, num_targets, None)


MUTANT_WORLD_SIZE = 3
"""What the world-size mutant is told about its world; no k that is tried."""


@dataclass(frozen=True)
class Mutant:
    """One fault, and the verdict that it must get."""

    name: str
    code: str
    model_class: Callable[..., Any] = RightModel
    trainer_class: type[Trainer] = RightTrainer
    flag: Flag = Flag.ON
    world_size: int = 1
    tail: bool = False
    affects: str | None = None

    def make_trainer(self, **arguments: Any) -> Trainer:
        """Make a Trainer that chooses the mutant's flag by itself, on every release."""
        trainer = self.trainer_class(**arguments)
        trainer.model_accepts_loss_kwargs = self.flag.is_on
        return trainer


TWIN = Mutant("right", "OK", tail=True, affects="none")

MUTANTS: tuple[Mutant, ...] = (
    Mutant("drops num_items_in_batch", "SCALED_BY_ACCUMULATION", model_class=DropsTheCount, affects="both"),
    Mutant("returns a sum", "NOT_NORMALISED", model_class=ReturnsTheSum, affects="both"),
    Mutant("returns a sum over k", "NOT_NORMALISED", model_class=ReturnsTheSum, flag=Flag.OFF, affects="both"),
    Mutant("divides twice", "DIVIDED_TWICE", trainer_class=DividesTwice, affects="both"),
    Mutant("counts before the shift", "UNSHIFTED_TOKEN_COUNT", trainer_class=CountsBeforeTheShift, affects="both"),
    Mutant("counts padding", "MISALIGNED_COUNT", trainer_class=CountsPadding, affects="both"),
    Mutant("sums means", "SCALED_BY_ACCUMULATION", trainer_class=SumsMeans, flag=Flag.OFF, affects="both"),
    Mutant("takes the mean of means", "MEAN_OF_MEANS", flag=Flag.OFF, affects="both"),
    Mutant("weighs by rows", "MEAN_OF_MEANS", trainer_class=WeighsByRows, affects="both"),
    Mutant(
        "scales by the world size",
        "WORLD_SIZE_SCALED",
        trainer_class=ScalesByWorldSize,
        world_size=MUTANT_WORLD_SIZE,
        affects="both",
    ),
    Mutant("scales only the log", "SCALED_BY_ACCUMULATION", trainer_class=ScalesTheLog, affects="log"),
    Mutant("scales only the gradient", "SCALED_BY_ACCUMULATION", trainer_class=ScalesTheGradient, affects="gradient"),
    Mutant("divides tails by k", "SHORT_LAST_STEP", trainer_class=DividesTailsByK, flag=Flag.OFF, tail=True),
    Mutant("adds a router loss per micro-batch", "AUX_LOSS_SCALED", model_class=AddsRouterLoss, affects="both"),
    Mutant("counts one micro-batch", "MISALIGNED_COUNT", trainer_class=CountsOneMicroBatch, affects="both"),
    Mutant("scores labels in place", "LABELS_NOT_SHIFTED", trainer_class=ScoresLabelsInPlace, affects="both"),
    Mutant("refuses num_items_in_batch", "LOSS_KWARGS_REJECTED", model_class=RefusesTheCount),
    Mutant("returns NaN", "NONFINITE", model_class=ReturnsNaN),
    Mutant("means another loss", "OTHER_OBJECTIVE", model_class=AddsPenalty, affects="none"),
    Mutant(
        "means another loss, per micro-batch",
        "SCALED_BY_ACCUMULATION",
        model_class=AddsPenaltyPerMicroBatch,
        affects="both",
    ),
)
