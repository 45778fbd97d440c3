"""What a Trainer is asked besides its training, where its losses leave something open; it leaves no trace.

A question repeats a micro-batch from the random state in which the training had it, so that dropout is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gacheck.rules.facts import CodeLocation
from gacheck.watch.batches import count_targets
from gacheck.watch.cross_entropy import LogitsReader, TargetWeight, find_logits
from gacheck.watch.loss_location import ScalarTrace
from gacheck.watch.micro_batch import MicroBatchReader
from gacheck.watch.own_loss import own_mean
from gacheck.watch.restoring import books_kept, undisturbed


@dataclass(frozen=True)
class OwnLoss:
    """What the training's own code says of a micro-batch by itself.

    Attributes:
        mean_nats: Its mean.
        weight: What each target received in the training's backward, against the gradient of that mean.
    """

    mean_nats: float
    weight: TargetWeight | None


def ask_own_loss(trainer: Any, watch: MicroBatchReader, *, shifts: bool, scale: float) -> OwnLoss:
    """Ask the same code for its own mean over the micro-batch, without `num_items_in_batch`.

    Args:
        trainer: After `training_step`, before the update.
        watch: Of that step.
        shifts: Whether the loss shifts the labels.
        scale: Factor by which mixed precision scaled the loss before backward.
    """
    seen = watch.readers[shifts]
    again = LogitsReader(seen.labels, shifts=shifts)

    def read(module: torch.nn.Module, args: Any, outputs: Any) -> None:
        logits = find_logits(outputs)
        if logits is not None and torch.is_grad_enabled():
            again.read(logits)

    handle = trainer.model.register_forward_hook(read)
    try:
        with undisturbed(trainer.model, watch.start), books_kept(trainer), trainer.compute_loss_context_manager():
            loss = own_mean(trainer, trainer._prepare_inputs(dict(watch.inputs)), shifts=shifts)
    finally:
        handle.remove()
    mean = float(loss.detach())
    if not again.nodes or not loss.requires_grad:
        return OwnLoss(mean, None)
    edges = [torch.autograd.graph.GradientEdge(node, output) for node, output in again.nodes]
    gradient = next((g for g in torch.autograd.grad(loss, edges, allow_unused=True) if g is not None), None)
    if gradient is None:
        return OwnLoss(mean, None)
    # The gradient of the mean times the number of targets: of each target's own loss by its logit.
    directions = again.at_targets(gradient) * count_targets(seen.labels, shifts=shifts)
    return OwnLoss(mean, seen.weight(directions, scale))


def ask_location(trainer: Any, watch: MicroBatchReader, *, shifts: bool) -> tuple[CodeLocation, ...]:
    """Look from which line the loss of a micro-batch comes, by computing it once more."""
    context = trainer.compute_loss_context_manager()
    with torch.no_grad(), undisturbed(trainer.model, watch.start), books_kept(trainer), context:
        inputs = trainer._prepare_inputs(dict(watch.inputs))
        watching = ScalarTrace(trainer.model, trainer)
        with watching:
            loss = own_mean(trainer, inputs, shifts=shifts)
    return watching.location_of(loss)
