"""The training's gradient against the gradient of the rule that its losses fit, parameter by parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from gacheck.core.findings import explain_alone
from gacheck.record.parts import GradientEvidence, OracleRecord, PassRecord
from gacheck.rules.steps import Hypothesis
from gacheck.rules.table import MicroBatch, OptimizerStep, Rule
from gacheck.watch.batches import Batch, count_targets
from gacheck.watch.cross_entropy import find_logits, sum_nats
from gacheck.watch.own_loss import own_loss
from gacheck.watch.probe import Gradients


def compare_gradients(
    record: PassRecord,
    oracle: OracleRecord,
    batches: Sequence[Batch],
    training: Gradients,
    trainer: Any,
    precision: Any,
) -> GradientEvidence | None:
    """Compute the gradient of the matching rule at the weights of the first step and compare.

    Args:
        record: The pass; its losses say which rule to compute.
        oracle: Of the run.
        batches: The micro-batches of the first optimizer step.
        training: The training's gradient there, before clipping.
        trainer: Asked for its own loss of a micro-batch; its model stands at the initial weights.
        precision: Makes the context under which forwards run.
    """
    explained = explain_alone(record, oracle, world_size=1)
    if explained is None or not training:
        return None
    step, found, hypothesis = explained
    assert found.rule is not None
    model = trainer.model
    model.zero_grad(set_to_none=True)
    for batch, micro_batch in zip(batches, step.micro_batches, strict=True):
        with precision():
            loss = _contribution(trainer, batch, found.rule, step, micro_batch, hypothesis, shifts=oracle.shifts)
        torch.autograd.backward(loss)
    evidence = _compare(training, model, found.rule.name)
    model.zero_grad(set_to_none=True)
    return evidence


def _contribution(
    trainer: Any,
    batch: Batch,
    rule: Rule,
    step: OptimizerStep,
    micro_batch: MicroBatch,
    hypothesis: Hypothesis,
    *,
    shifts: bool,
) -> torch.Tensor:
    """Return what the rule lets a micro-batch add to the loss, with its graph."""
    own, outputs = own_loss(trainer, batch, shifts=shifts)
    weight = rule.weight(step, micro_batch)
    count = count_targets(batch["labels"], shifts=shifts)
    logits = find_logits(outputs)
    total: torch.Tensor = own * count
    if logits is not None and hypothesis != "own":
        total = sum_nats(logits, batch["labels"], shifts=shifts)
    share = {"absent": 0.0, "mean": 1 / len(step.micro_batches), "sum": 1.0}[rule.auxiliary]
    contribution: torch.Tensor = weight * total
    return contribution + share * (own - total / count) if share else contribution


def _compare(training: Gradients, model: torch.nn.Module, rule: str) -> GradientEvidence | None:
    """Compare in float64, one parameter at a time."""
    product, square, rule_square = 0.0, 0.0, 0.0
    worst, worst_error = "", -1.0
    for name, parameter in model.named_parameters():
        if name not in training or parameter.grad is None:
            continue
        ours, theirs = parameter.grad.detach().double().cpu(), training[name].double().cpu()
        norm = float(ours.norm())
        product += float((ours * theirs).sum())
        square += float(theirs.norm()) ** 2
        rule_square += norm**2
        error = float((theirs - ours).norm()) / norm if norm else 0.0
        if error > worst_error:
            worst, worst_error = name, error
    if not square or not rule_square or not math.isfinite(square):
        return None
    return GradientEvidence(
        rule=rule,
        norm_ratio=math.sqrt(square / rule_square),
        cosine=product / math.sqrt(square * rule_square),
        worst_parameter=worst,
        worst_relative_error=worst_error,
    )
