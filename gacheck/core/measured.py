"""From a pass's record to what the rules are held against: its first optimizer step, its losses, its weights.

A loss is read under one of three hypotheses about what the model means to minimise:

    plain      cross-entropy: S_m is the oracle's
    own        another objective (label smoothing, a penalty): S_m = n_m ℓ_m, with ℓ_m the mean that the same code
               computes for micro-batch m by itself
    auxiliary  cross-entropy, and beside it a loss per micro-batch (a router's): a_m = ℓ_m − S_m / n_m
"""

from __future__ import annotations

import math
from typing import Literal

from gacheck.core.matching import Measured
from gacheck.core.rules import MicroBatch, OptimizerStep
from gacheck.record import MicroBatchRecord, Observation, OracleRecord, PassRecord

Hypothesis = Literal["plain", "own", "auxiliary"]

HYPOTHESES: tuple[Hypothesis, ...] = ("plain", "own", "auxiliary")
"""Simplest first."""

# A spread of the weights within a micro-batch above this says that the gradient is not the one they were
# read against (label smoothing against plain cross-entropy spreads by a factor): they are no evidence.
USABLE_SPREAD = 0.05


def first_step(record: PassRecord) -> tuple[MicroBatchRecord, ...]:
    """Return the micro-batches of the first optimizer step; none if the pass failed."""
    return record.steps[0].micro_batches if record.steps and record.status == "ok" else ()


def is_nonfinite(record: PassRecord) -> bool:
    """Whether any reported loss of the pass is NaN or infinite."""
    return any(not math.isfinite(m.reported_loss_nats) for step in record.steps for m in step.micro_batches)


def optimizer_step(record: PassRecord, oracle: OracleRecord, hypothesis: Hypothesis) -> OptimizerStep | None:
    """Return the first optimizer step as the rules see it; None if something for it was not measured."""
    micro_batches = []
    for micro_batch in first_step(record):
        read = _micro_batch(micro_batch, oracle, hypothesis)
        if read is None:
            return None
        micro_batches.append(read)
    return OptimizerStep(tuple(micro_batches), record.accumulation_steps) if micro_batches else None


def _micro_batch(record: MicroBatchRecord, oracle: OracleRecord, hypothesis: Hypothesis) -> MicroBatch | None:
    seen = record.observation
    if seen is None:
        return None
    plain, own, count = _plain_sum(seen, oracle), seen.own_mean_nats, seen.num_target_tokens
    asked = None if own is None else own * count
    total, auxiliary = asked if hypothesis == "own" else plain, 0.0
    if hypothesis == "auxiliary":
        if own is None or plain is None or not count:
            return None
        auxiliary = own - plain / count
    if total is None:
        return None
    return MicroBatch(total, count, seen.num_label_tokens, record.num_items_in_batch, auxiliary)


def _plain_sum(seen: Observation, oracle: OracleRecord) -> float | None:
    """Return S_m from the oracle's rows where the rows are known, else from the logits of the training itself."""
    rows = {row.fingerprint: row.sum_nats for row in oracle.rows}
    if all(row in rows for row in seen.rows):
        return math.fsum(rows[row] for row in seen.rows)
    return seen.sum_nats


def reported_losses(record: PassRecord, step: OptimizerStep | None) -> Measured | None:
    """Return the reported losses of the first step's micro-batches."""
    if step is None:
        return None
    return Measured(step, tuple(m.reported_loss_nats for m in first_step(record)))


def backward_weights(record: PassRecord, step: OptimizerStep | None, hypothesis: Hypothesis) -> Measured | None:
    """Return the weight that the targets of each micro-batch received; None where any was not seen."""
    if step is None:
        return None
    weights = [_weight(m, own=hypothesis == "own") for m in first_step(record)]
    known = tuple(w for w in weights if w is not None)
    return Measured(step, known, backward=True) if len(known) == len(weights) else None


def _weight(micro_batch: MicroBatchRecord, *, own: bool) -> float | None:
    seen = micro_batch.observation
    if seen is None:
        return None
    weight, spread = (seen.own_weight, seen.own_weight_spread) if own else (seen.weight, seen.weight_spread)
    return weight if spread is not None and spread <= USABLE_SPREAD else None


def usable_spreads(record: PassRecord) -> list[float]:
    """Return the spreads of the weights that are evidence."""
    seen = [m.observation for m in first_step(record) if m.observation is not None]
    spreads = [spread for o in seen for spread in (o.weight_spread, o.own_weight_spread)]
    return [spread for spread in spreads if spread is not None and spread <= USABLE_SPREAD]
