"""Steps in closed form beside those of `tests.trials.right_steps`: right ones, and what a remedy leaves over.

As there, each gives the part of one micro-batch in the step's loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from tests.trials.right_steps import Batch, RightPart, Step


@dataclass(frozen=True)
class Scored:
    """What is scored: logits, position by position, and the labels that they are to predict.

    Attributes:
        logits: Leaves out those that predict nothing.
        labels: Leaves out those that nothing predicts.
        streams: The outputs that predict the same labels, whose mean is the loss.
        smoothing: Share of the loss that is the mean over the vocabulary.
    """

    logits: Callable[[torch.Tensor], torch.Tensor]
    labels: Callable[[torch.Tensor], torch.Tensor]
    streams: tuple[str, ...] = ("logits",)
    smoothing: float = 0.0

    def nats(self, model: Any, batch: Batch, step: Step) -> torch.Tensor:
        """Sum the cross-entropy of a micro-batch."""
        outputs = step.outputs(model, batch)
        labels = self.labels(batch["labels"])
        total = torch.zeros((), dtype=torch.float64)
        for name in self.streams:
            given = outputs[name].double()
            logits = self.logits(given[:, 0] if given.dim() > 3 else given)
            losses = -torch.log_softmax(logits[:, -labels.shape[1] :], -1)
            picked = losses.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
            smoothed = (1 - self.smoothing) * picked + self.smoothing * losses.mean(-1)
            total = total + torch.where(labels != -100, smoothed, 0.0).sum() / len(self.streams)
        return total

    def count(self, batch: Batch) -> int:
        """Count what `nats` sums."""
        return int((self.labels(batch["labels"]) != -100).sum())


SHIFTED = Scored(lambda logits: logits[:, :-1], lambda labels: labels[:, 1:])
IN_PLACE = Scored(lambda logits: logits, lambda labels: labels)
"""As heads do whose labels come shifted."""
TWO_STREAMS = replace(IN_PLACE, streams=("logits", "logits_ngram"))
"""As ProphetNet, which predicts the label after the next one besides, and trains on the same labels for both."""
AFTER_VIRTUAL_TOKENS = Scored(lambda logits: logits[:, :-1], lambda labels: labels)
"""The last virtual token predicts the first label."""


def token_mean(scored: Scored = SHIFTED) -> RightPart:
    """Mean over the labels of the step that are scored."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        return scored.nats(model, batch, step) / sum(map(scored.count, step.batches))

    return part


def mean_of_means(scored: Scored = SHIFTED) -> RightPart:
    """Mean over the micro-batches of each one's own mean: what dividing by k comes to."""

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        return scored.nats(model, batch, step) / (scored.count(batch) * len(step.batches))

    return part


def with_router(weight: float, rest: RightPart | None = None) -> RightPart:
    """The rest, cross-entropy as a token mean by default; the router's loss as a mean over the micro-batches."""
    rest = rest or token_mean()

    def part(model: Any, batch: Batch, step: Step) -> torch.Tensor:
        outputs = step.outputs(model, batch, output_router_logits=True)
        router: torch.Tensor = outputs["aux_loss"].double()
        return rest(model, batch, step) + weight * router / len(step.batches)

    return part
