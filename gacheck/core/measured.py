"""From a pass's record to what the rules are held against: its first optimizer step, its losses, its weights.

A loss is read under one of three hypotheses about what the model means to minimise:

    plain      cross-entropy: S_m is the oracle's
    own        another objective (label smoothing, a penalty): S_m = n_m ℓ_m, with ℓ_m the mean that the same code
               computes for micro-batch m by itself
    auxiliary  cross-entropy, and beside it a loss per micro-batch (a router's): a_m = ℓ_m − S_m / n_m
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.rules.facts import MicroBatchRecord, Observation
from gacheck.rules.matching import Measured
from gacheck.rules.table import MicroBatch, OptimizerStep

Hypothesis = Literal["plain", "own", "auxiliary"]

HYPOTHESES: tuple[Hypothesis, ...] = ("plain", "own", "auxiliary")
"""Simplest first."""

# A spread of the weights within a micro-batch above this says that the gradient is not the one they were
# read against (label smoothing against plain cross-entropy spreads by a factor): they are no evidence.
USABLE_SPREAD = 0.05


def observed_step(record: PassRecord, number: int = 0) -> tuple[MicroBatchRecord, ...]:
    """Return the micro-batches of an optimizer step, counted from 0; none if the pass failed or it was not observed."""
    if record.status != "ok" or number >= len(record.steps):
        return ()
    micro_batches = record.steps[number].micro_batches
    return micro_batches if all(m.observation is not None for m in micro_batches) else ()


def observed_numbers(record: PassRecord) -> list[int]:
    """Return the numbers of the optimizer steps that were observed, counted from 0."""
    return [number for number in range(len(record.steps)) if observed_step(record, number)]


def is_nonfinite(record: PassRecord) -> bool:
    """Whether any reported loss of the pass is NaN or infinite."""
    return any(not math.isfinite(m.reported_loss_nats) for step in record.steps for m in step.micro_batches)


def optimizer_step(
    record: PassRecord, oracle: OracleRecord, hypothesis: Hypothesis, number: int = 0
) -> OptimizerStep | None:
    """Return an optimizer step as the rules see it; None if something for it was not measured."""
    # The oracle speaks of the initial weights; a tail's step may straddle epochs, and an update between them.
    initial = number == 0 and not record.tail
    known = {row.fingerprint: row.sum_nats for row in oracle.rows} if initial else {}
    micro_batches = []
    for micro_batch in observed_step(record, number):
        read = _micro_batch(micro_batch, known, hypothesis)
        if read is None:
            return None
        micro_batches.append(read)
    return OptimizerStep(tuple(micro_batches), record.accumulation_steps) if micro_batches else None


def _micro_batch(record: MicroBatchRecord, known: Mapping[str, float], hypothesis: Hypothesis) -> MicroBatch | None:
    seen = record.observation
    if seen is None:
        return None
    plain, own, count = _plain_sum(seen, known), seen.own_mean_nats, seen.num_target_tokens
    asked = None if own is None else own * count
    total, auxiliary = asked if hypothesis == "own" else plain, 0.0
    if hypothesis == "auxiliary":
        if own is None or plain is None or not count:
            return None
        auxiliary = own - plain / count
    if total is None:
        return None
    return MicroBatch(total, count, seen.num_label_tokens, record.num_items_in_batch, auxiliary, record.process)


def _plain_sum(seen: Observation, known: Mapping[str, float]) -> float | None:
    """Return S_m from the oracle's rows where the rows are known, else from the logits of the training itself."""
    if known and all(row in known for row in seen.rows):
        return math.fsum(known[row] for row in seen.rows)
    return seen.sum_nats


def reported_losses(record: PassRecord, step: OptimizerStep | None, number: int = 0) -> Measured | None:
    """Return the reported losses of a step's micro-batches, as they enter the mean over the processes."""
    if step is None:
        return None
    return _measured(step, [m.reported_loss_nats for m in observed_step(record, number)], backward=False)


def backward(
    record: PassRecord, step: OptimizerStep | None, hypothesis: Hypothesis, number: int = 0
) -> Measured | None:
    """Return what was seen of the gradient of each micro-batch; None where it was not seen of any.

    The weight that the targets received says most. Where none was seen, and of an auxiliary loss, which does not pass
    through the logits, the loss whose gradient was taken speaks.
    """
    if step is None:
        return None
    seen = observed_step(record, number)
    weights = _measured(step, [_weight(m, own=hypothesis == "own") for m in seen], backward=True)
    losses = _measured(
        step, [m.observation.backward_loss_nats if m.observation else None for m in seen], backward=False
    )
    return losses or weights if hypothesis == "auxiliary" else weights or losses


def _measured(step: OptimizerStep, values: Sequence[float | None], *, backward: bool) -> Measured | None:
    known = tuple(value / step.num_processes for value in values if value is not None)
    return Measured(step, known, backward) if len(known) == len(values) else None


def _weight(micro_batch: MicroBatchRecord, *, own: bool) -> float | None:
    seen = micro_batch.observation
    if seen is None:
        return None
    weight, spread = (seen.own_weight, seen.own_weight_spread) if own else (seen.weight, seen.weight_spread)
    return weight if spread is not None and spread <= USABLE_SPREAD else None


def usable_spreads(record: PassRecord) -> list[float]:
    """Return the spreads of the weights that are evidence."""
    micro_batches = [m for number in observed_numbers(record) for m in observed_step(record, number)]
    seen = [m.observation for m in micro_batches if m.observation is not None]
    spreads = [spread for o in seen for spread in (o.weight_spread, o.own_weight_spread)]
    return [spread for spread in spreads if spread is not None and spread <= USABLE_SPREAD]
