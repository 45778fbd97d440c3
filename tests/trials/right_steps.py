"""The right step of every objective in closed form, in plain torch: what truth is held against.

Each function gives the part of one micro-batch in the step's loss, with its graph; the parts of a step add up to the
loss, and their gradients to the gradient. Written anew beside `models` and `trainers`, which are what is tried.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from tests.trials.heads import Head, picked

Batch = dict[str, Any]
FORWARD_INPUTS = ("input_ids", "attention_mask", "position_ids")


class NoTruth(Exception):
    """The objective means nothing on these data."""


@dataclass(frozen=True)
class Step:
    """The micro-batches of one optimizer step, how the model is run, and how many steps went before."""

    batches: Sequence[Batch]
    autocast: bool = False
    number: int = 0

    @property
    def num_targets(self) -> int:
        """N: labels that are predicted by the position before them."""
        count = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in self.batches)
        if not count:
            raise NoTruth("no label of the step is a target")
        return count

    @property
    def num_rows(self) -> int:
        """Rows of all micro-batches."""
        return sum(len(batch["input_ids"]) for batch in self.batches)

    def outputs(self, model: Any, batch: Batch, **more: Any) -> Any:
        """Run the model in the training's precision, without labels unless they are given."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            return model(**{name: batch[name] for name in FORWARD_INPUTS if name in batch}, **more)

    def logits(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return what scores the next token, in double precision."""
        outputs = self.outputs(model, batch)
        logits: torch.Tensor = outputs[-1] if isinstance(outputs, tuple) else outputs["logits"]
        return logits[:, :-1].double()


RightPart = Callable[[Any, Batch, Step], torch.Tensor]


def token_mean(per_token: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> RightPart:
    """Mean over the targets of the step: Σ loss of a target / N."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        labels = batch["labels"][:, 1:]
        losses = per_token(step.logits(model, batch), labels)
        return torch.where(labels != -100, losses, 0.0).sum() / step.num_targets

    return part


def aligned(model: Any, batch: Batch, step: Step) -> torch.Tensor:
    """Mean cross-entropy over the targets of the step, each predicted at its own position."""
    labels = batch["labels"]
    count = sum(int((each["labels"] != -100).sum()) for each in step.batches)
    # A decoder makes its inputs of the labels.
    logits = step.outputs(model, batch, labels=labels)["logits"].double()
    return torch.where(labels != -100, picked(logits, labels), 0.0).sum() / count


def of_head(head: Head) -> RightPart:
    """A head's loss over all that it is a mean over in the step; or their sum."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        number = 1 if head.unit == "step" else sum(map(head.number, step.batches))
        with torch.autocast("cpu", torch.bfloat16, enabled=step.autocast):
            # A decoder makes its inputs of the labels.
            outputs = model(**batch)
        return head.total(outputs, batch) / number

    return part


def _weighted(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return picked(logits, labels) * (1 + labels % 3)


def _smoothed(factor: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def per_token(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (1 - factor) * picked(logits, labels) - factor * torch.log_softmax(logits, -1).mean(-1)

    return per_token


def _focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    nats = picked(logits, labels)
    return (1 - (-nats).exp()).square() * nats


def _with_penalty(weight: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def per_token(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return picked(logits, labels) + weight * logits.logsumexp(-1).square()

    return per_token


cross_entropy = token_mean(picked)
focal = token_mean(_focal)
weighted = token_mean(_weighted)


def smoothed(factor: float) -> RightPart:
    """Label smoothing, as a token mean."""
    return token_mean(_smoothed(factor))


def with_penalty(weight: float) -> RightPart:
    """Cross-entropy and a squared log-partition, both as token means."""
    return token_mean(_with_penalty(weight))


def annealed(weight: float) -> RightPart:
    """The penalty's weight falls with the steps."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        return with_penalty(weight / (1 + step.number))(model, batch, step)

    return part


def by_chance(model: Any, batch: Batch, step: Step) -> torch.Tensor:
    """Cross-entropy whose weight is drawn anew for every micro-batch."""
    return cross_entropy(model, batch, step) * (0.5 + random.random() + numpy.random.rand())


def twice(model: Any, batch: Batch, step: Step) -> torch.Tensor:
    """Mean cross-entropy of two forwards, and KL(second ‖ first), as token means."""
    labels = batch["labels"][:, 1:]
    first, second = step.logits(model, batch), step.logits(model, batch)
    shares, wanted = torch.log_softmax(first, -1), torch.log_softmax(second, -1)
    losses = (picked(first, labels) + picked(second, labels)) / 2 + (wanted.exp() * (wanted - shares)).sum(-1)
    return torch.where(labels != -100, losses, 0.0).sum() / step.num_targets


def warmed_up(weight: float, calls: int) -> RightPart:
    """The penalty's weight grows with the forwards that the model has counted."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        return with_penalty(weight * min(1.0, float(model.calls) / calls))(model, batch, step)

    return part


def distilled(teacher: Any, share: float) -> RightPart:
    """Cross-entropy and KL(teacher ‖ student), as token means."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        with torch.no_grad():
            wanted = torch.log_softmax(step.logits(teacher, batch), -1)

        def per_token(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            divergence = (wanted.exp() * (wanted - torch.log_softmax(logits, -1))).sum(-1)
            return (1 - share) * picked(logits, labels) + share * divergence

        return token_mean(per_token)(model, batch, step)

    return part


def row_mean(model: Any, batch: Batch, step: Step) -> torch.Tensor:
    """Mean over the rows of each row's own mean; a row without targets is zero."""
    labels = batch["labels"][:, 1:]
    scored = labels != -100
    nats = torch.where(scored, picked(step.logits(model, batch), labels), 0.0)
    means: torch.Tensor = nats.sum(1) / scored.sum(1).clamp(min=1)
    return means.sum() / step.num_rows


def row_likelihood(threshold: float) -> RightPart:
    """Mean over the rows of softplus(nats of the row − threshold): a loss of whole sequences."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        labels = batch["labels"][:, 1:]
        nats = torch.where(labels != -100, picked(step.logits(model, batch), labels), 0.0).sum(1)
        return torch.nn.functional.softplus(nats - threshold).sum() / step.num_rows

    return part


def preferred(beta: float) -> RightPart:
    """Mean over pairs of −log σ(β · (gain of the chosen − gain of the rejected)); chosen rows come first."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        labels = batch["labels"][:, 1:]
        nats = torch.where(labels != -100, picked(step.logits(model, batch), labels), 0.0).sum(1)
        chosen, rejected = (-nats - batch["reference_logps"].double()).chunk(2)
        return -torch.nn.functional.logsigmoid(beta * (chosen - rejected)).sum() * 2 / step.num_rows

    return part


def preferred_to_base(beta: float) -> RightPart:
    """The same, where the reference is the model without its adapter."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        labels = batch["labels"][:, 1:]
        with torch.no_grad(), model.disable_adapter():
            nats = torch.where(labels != -100, picked(step.logits(model, batch), labels), 0.0).sum(1)
        return preferred(beta)(model, {**batch, "reference_logps": -nats}, step)

    return part


def contrasted(temperature: float) -> RightPart:
    """Mean over the micro-batches of: which of its rows belongs to which, by the mean of their logits."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        seen = batch["labels"][:, 1:] != -100
        logits = torch.where(seen[..., None], step.logits(model, batch), 0.0).sum(1) / seen.sum(1).clamp(min=1)[:, None]
        first, second = logits.chunk(2)
        likeness = torch.log_softmax(first @ second.T / temperature, -1)
        return -likeness.diagonal().mean() / len(step.batches)

    return part


def with_noise(alpha: float, part: RightPart) -> RightPart:
    """NEFTune: uniform noise on the embeddings, of size α / √(length · width)."""

    def noisy(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        def add(module: Any, args: Any, embedded: torch.Tensor) -> torch.Tensor:
            size = alpha / (embedded.shape[1] * embedded.shape[2]) ** 0.5
            return embedded + torch.zeros_like(embedded).uniform_(-size, size)

        handle = model.get_input_embeddings().register_forward_hook(add)
        try:
            return part(model, batch, step)
        finally:
            handle.remove()

    return noisy


def with_auxiliary(weight: float) -> RightPart:
    """Cross-entropy as a token mean, and what the model calls its auxiliary loss as a mean over the micro-batches."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        outputs, labels = step.outputs(model, batch), batch["labels"][:, 1:]
        nats = torch.where(labels != -100, picked(outputs["logits"][:, :-1].double(), labels), 0.0)
        auxiliary: torch.Tensor = outputs["aux_loss"].double()
        return nats.sum() / step.num_targets + weight * auxiliary / len(step.batches)

    return part


def with_labels_named(name: str, part: RightPart) -> RightPart:
    """The same, where the labels have another name."""

    def named(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        return part(model, {**batch, "labels": batch[name]}, step)

    return named


def balanced(weight: float, experts: int) -> RightPart:
    """Cross-entropy as a token mean, and the gate's unevenness as a mean over the micro-batches."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        outputs = step.outputs(model, batch)
        logits, labels = outputs["logits"], batch["labels"][:, 1:]
        nats = torch.where(labels != -100, picked(logits[:, :-1].double(), labels), 0.0).sum() / step.num_targets
        with torch.autocast("cpu", torch.bfloat16, enabled=step.autocast):
            gated = torch.nn.functional.linear(logits, model.gate.weight)
        shares = gated.double().softmax(-1).flatten(0, 1).mean(0)
        return nats + weight * experts * shares.square().sum() / len(step.batches)

    return part
