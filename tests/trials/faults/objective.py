"""A part of the loss is normalised otherwise than the rest, or the loss is one of something else."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer

from tests.trials.building import Build
from tests.trials.faults.fault import GRADIENT, TIMES_K, Fault, trainer_mixin
from tests.trials.trainers import OwnLossTrainer, PenaltyTrainer, RouterTrainer

OWN = ("class of one's own",)
AUXILIARY = "an auxiliary loss"
OTHER = "a loss of something else"
ANOTHER = GRADIENT | {"OTHER_OBJECTIVE"}


class SumsTheRouter(RouterTrainer):
    """Adds the auxiliary loss of every micro-batch in full."""

    def micro_batches(self) -> int:
        return 1


class PenaltyPerMicroBatch(PenaltyTrainer):
    """Adds the mean penalty of every micro-batch in full."""

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        penalty = self.penalty * logits.logsumexp(-1).square()
        self.mean_penalty = penalty[labels.ne(-100)].sum() / labels.ne(-100).sum().clamp(min=1)
        return OwnLossTrainer.per_token(self, logits, labels, inputs)

    def reduced(self, losses: torch.Tensor, labels: torch.Tensor, count: Any) -> torch.Tensor:
        loss, self.mean_penalty = super().reduced(losses, labels, count) + self.mean_penalty, torch.zeros(())
        return loss


class ScoresPadding(OwnLossTrainer):
    """Takes ignored labels for token 0."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        inputs = {**inputs, "labels": inputs["labels"].clamp(min=0)}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class Truncates(OwnLossTrainer):
    """Scores the first half of the positions alone; the count is that of all."""

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        half = torch.arange(labels.shape[1]) < (labels.shape[1] + 1) // 2
        return super().per_token(logits, labels, inputs) * half


class DetachesHalf(OwnLossTrainer):
    """Detaches the loss of every other position."""

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        nats = super().per_token(logits, labels, inputs)
        return torch.where(torch.arange(labels.shape[1]) % 2 == 0, nats, nats.detach())


class DetachesTheNormaliser(OwnLossTrainer):
    """Detaches the normaliser of the softmax: the value is right, the gradient is not."""

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        picked = logits.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        return logits.logsumexp(-1).detach() - picked


class ForgetsTheTarget(torch.autograd.Function):
    """A cross-entropy of one's own whose backward forgets to subtract the target."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits.softmax(-1), labels)
        return cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        shares, labels = ctx.saved_tensors
        return shares * gradient[..., None] * labels.ne(-100)[..., None], None


class OwnBackward(OwnLossTrainer):
    """Uses it."""

    def per_token(self, logits: torch.Tensor, labels: torch.Tensor, inputs: Any) -> torch.Tensor:
        nats: torch.Tensor = ForgetsTheTarget.apply(logits, labels)  # type: ignore[no-untyped-call]
        return nats


def _trainer(trainer_class: type) -> Any:
    def plant(build: Build) -> None:
        build.trainer_class = trainer_class

    return plant


def _as_it_comes(build: Build) -> None:
    build.trainer_class = Trainer
    weight = RouterTrainer.balance
    build.on_model[:] = [lambda model: setattr(model, "router_aux_loss_coef", weight)]


class ReturnsNaN(Trainer):  # type: ignore[misc]
    """Returns NaN for the step's last micro-batch."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch=num_items_in_batch)
        if self.accelerator.sync_gradients:
            loss = loss * float("nan")
        return (loss, outputs) if return_outputs else loss


OURS = ("cross-entropy, in compute_loss, the Trainer's step",)

FAULTS: tuple[Fault, ...] = (
    Fault(
        "router loss in full per micro-batch",
        AUXILIARY,
        frozenset({"AUX_LOSS_SCALED"}),
        "both",
        trainer_mixin(SumsTheRouter),
        needs=("router",),
    ),
    Fault(
        "router loss of a mixture of experts, as transformers adds it",
        AUXILIARY,
        frozenset({"AUX_LOSS_SCALED"}),
        "both",
        _as_it_comes,
        needs=("mixture",),
    ),
    Fault(
        "penalty in full per micro-batch",
        AUXILIARY,
        frozenset({"AUX_LOSS_SCALED", "UNEXPLAINED"}) | TIMES_K,
        "both",
        _trainer(PenaltyPerMicroBatch),
        needs=("penalty",),
    ),
    Fault(
        "label smoothing of a class that the Trainer does not shift",
        OTHER,
        frozenset({"LABELS_NOT_SHIFTED"}),
        "both",
        lambda build: None,
        needs=("smoothing",),
        bodies=OWN,
    ),
    Fault(
        "NaN in the last micro-batch",
        OTHER,
        frozenset({"NONFINITE"}),
        "both",
        trainer_mixin(ReturnsNaN),
    ),
    Fault("ignored labels are scored", OTHER, ANOTHER | {"MISALIGNED_COUNT"}, "both", _trainer(ScoresPadding), OURS),
    Fault(
        "half the positions are scored, all are counted",
        OTHER,
        ANOTHER | {"MISALIGNED_COUNT"},
        "both",
        _trainer(Truncates),
        OURS,
    ),
    Fault("loss of half the positions detached", OTHER, GRADIENT, "gradient", _trainer(DetachesHalf), OURS),
    Fault("softmax's normaliser detached", OTHER, GRADIENT, "gradient", _trainer(DetachesTheNormaliser), OURS),
    Fault("cross-entropy with a wrong backward", OTHER, GRADIENT, "gradient", _trainer(OwnBackward), OURS),
)
