"""From a pass's record to what the rules are held against: an optimizer step, its losses, its weights in backward."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.rules.facts import MicroBatchRecord
from gacheck.rules.matching import Measurement
from gacheck.rules.steps import Hypothesis
from gacheck.rules.steps import optimizer_step as read_step
from gacheck.rules.table import OptimizerStep

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
    row_sums = {row.fingerprint: row.sum_nats for row in oracle.rows} if initial else {}
    return read_step(observed_step(record, number), record.accumulation_steps, hypothesis, row_sums)


def reported_losses(record: PassRecord, step: OptimizerStep | None, number: int = 0) -> Measurement | None:
    """Return the reported losses of a step's micro-batches, as they enter the mean over the processes."""
    if step is None:
        return None
    return _measurement(step, [m.reported_loss_nats for m in observed_step(record, number)], backward=False)


def backward(
    record: PassRecord, step: OptimizerStep | None, hypothesis: Hypothesis, number: int = 0
) -> Measurement | None:
    """Return what was seen of the gradient of each micro-batch; None where it was not seen of any.

    The weight that the targets received says most. Where none was seen, and of an auxiliary loss, which does not pass
    through the logits, the loss whose gradient was taken speaks.
    """
    if step is None:
        return None
    seen = observed_step(record, number)
    weights = _measurement(step, [_weight(m, own=hypothesis == "own") for m in seen], backward=True)
    losses = _measurement(
        step, [m.observation.backward_loss_nats if m.observation else None for m in seen], backward=False
    )
    return losses or weights if hypothesis == "auxiliary" else weights or losses


def _measurement(step: OptimizerStep, values: Sequence[float | None], *, backward: bool) -> Measurement | None:
    known = tuple(value / step.num_processes for value in values if value is not None)
    return Measurement(step, known, backward) if len(known) == len(values) else None


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
