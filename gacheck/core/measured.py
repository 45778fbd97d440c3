"""From a pass's record to what the rules are held against: an optimizer step, its losses, its weights in backward."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.rules.facts import SUMS, MicroBatchRecord, Unit
from gacheck.rules.gradients import multiple
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
    record: PassRecord, oracle: OracleRecord, hypothesis: Hypothesis, number: int = 0, *, unit: Unit | None = None
) -> OptimizerStep | None:
    """Return an optimizer step as the rules see it; None if something for it was not measured."""
    # The oracle speaks of the initial weights; a tail's step may straddle epochs, and an update between them.
    initial = number == 0 and not record.tail
    row_sums = {row.fingerprint: row.sum_nats for row in oracle.rows} if initial else {}
    seen, k = observed_step(record, number), record.accumulation_steps
    return read_step(seen, k, hypothesis, row_sums, unit=unit)


def reported_losses(record: PassRecord, step: OptimizerStep | None, number: int = 0) -> Measurement | None:
    """Return the reported losses of a step's micro-batches, as they enter the mean over the processes."""
    if step is None:
        return None
    return _measurement(step, [m.reported_loss_nats for m in observed_step(record, number)], backward=False)


def backward(
    record: PassRecord,
    step: OptimizerStep | None,
    hypothesis: Hypothesis,
    number: int = 0,
    *,
    unit: Unit | None = None,
) -> Measurement | None:
    """Return what was seen of the gradient of each micro-batch; None where it was not seen of any.

    By how much the parameters' gradients grew says most; then the weight that the targets received at the logits. Where
    none was seen, and of an auxiliary loss, which does not pass through the logits, the loss whose gradient was taken
    speaks.
    """
    if step is None:
        return None
    seen = observed_step(record, number)
    if hypothesis != "auxiliary":
        own = hypothesis == "own"
        counts = [m.num_target_tokens for m in step.micro_batches]
        grown = [_growth(m, count, own=own, is_sum=unit in SUMS) for m, count in zip(seen, counts, strict=True)]
        known = [each for each in grown if each is not None]
        if len(known) == len(grown):
            weights = tuple(weight / step.num_processes for weight, _ in known)
            return Measurement(step, weights, True, tuple(noise for _, noise in known))
    at_logits = _measurement(step, [None if hypothesis == "own" else _weight(m) for m in seen], backward=True)
    losses = _measurement(
        step, [m.observation.backward_loss_nats if m.observation else None for m in seen], backward=False
    )
    return losses or at_logits if hypothesis == "auxiliary" else at_logits or losses


def _measurement(step: OptimizerStep, values: Sequence[float | None], *, backward: bool) -> Measurement | None:
    known = tuple(value / step.num_processes for value in values if value is not None)
    return Measurement(step, known, backward) if len(known) == len(values) else None


def _growth(micro_batch: MicroBatchRecord, count: float, *, own: bool, is_sum: bool) -> tuple[float, float] | None:
    """Return the weight of a unit in what the gradients grew by, and its error; None where that is no multiple."""
    seen = micro_batch.observation
    if seen is None or seen.gradient is None:
        return None
    if not count:
        return 0.0, 0.0
    found = multiple(seen.gradient, len(seen.gradient.with_replays) - 1 if own else 0)
    if found is None or found[1] > USABLE_SPREAD:
        return None
    factor, left = found
    norm = math.sqrt(seen.gradient.square)
    return factor / (1 if own and is_sum else count), left + (seen.gradient.noise / norm if norm else 0.0)


def _weight(micro_batch: MicroBatchRecord) -> float | None:
    seen = micro_batch.observation
    if seen is None or seen.weight_spread is None or seen.weight_spread > USABLE_SPREAD:
        return None
    return seen.weight


def usable_spreads(record: PassRecord) -> list[float]:
    """Return the spreads of the weights that are evidence."""
    micro_batches = [m for number in observed_numbers(record) for m in observed_step(record, number)]
    seen = [m.observation.weight_spread for m in micro_batches if m.observation is not None]
    return [spread for spread in seen if spread is not None and spread <= USABLE_SPREAD]
