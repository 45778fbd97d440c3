"""What the measurements of one flag value show: which rule, forward and backward, and which codes follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gacheck.config import LossKwargs
from gacheck.core.codes import gravest_first
from gacheck.core.matching import SLACK, Match, Measured, match
from gacheck.core.rules import MicroBatch, OptimizerStep
from gacheck.record import MicroBatchRecord, OracleRecord, PassRecord, RunRecord

# A spread of the weights within a micro-batch above this says that the gradient is not the one they were
# read against (label smoothing against plain cross-entropy spreads by a factor): they are no evidence.
USABLE_SPREAD = 0.05

# A norm is one number for all parameters, so it is weaker evidence than the weights: it speaks only where it is
# off by a per cent, and by more than regrouping the rows changes it.
NORM_DIFFERS = 0.01


@dataclass(frozen=True)
class Tolerance:
    """Relative errors that correct arithmetic shows in this run."""

    loss: float
    gradient: float | None


@dataclass(frozen=True)
class PassFinding:
    """One pass's first optimizer step against the rules; all None for a failed or non-finite pass.

    Attributes:
        grad_norm_ratio: The gradient's norm before clipping over the right one's.
        wrong_norm: That ratio is off by more than correct arithmetic varies.
    """

    record: PassRecord
    step: OptimizerStep | None
    forward: Match | None
    backward: Match | None
    nonfinite: bool
    grad_norm_ratio: float | None
    wrong_norm: bool


@dataclass(frozen=True)
class FlagFinding:
    """All passes at one value of the flag.

    Attributes:
        forward: The joint match of the reported losses; None if nothing could be matched.
        backward: The joint match of the weights in backward; None if they were not seen.
        other_objective: The rules were held against the loss that the same code computes for a micro-batch
            by itself, because that is no plain cross-entropy.
        codes: Gravest first.
    """

    flag: LossKwargs
    passes: tuple[PassFinding, ...]
    forward: Match | None
    backward: Match | None
    other_objective: bool
    codes: tuple[str, ...]


def measure_tolerance(oracle: OracleRecord, passes: Sequence[PassRecord]) -> Tolerance:
    """Take the largest error that correct arithmetic was seen to make."""
    noise = oracle.noise
    seen = [noise.resolution, noise.regrouping, noise.repeat, noise.plain_loss]
    loss = max(value for value in seen if value is not None)
    spreads = [
        spread for record in passes for micro_batch in _first_step(record) for spread in _usable_spreads(micro_batch)
    ]
    return Tolerance(loss=loss, gradient=max([noise.resolution, *spreads]) if spreads else None)


def find(record: RunRecord, flag: LossKwargs, tolerance: Tolerance) -> FlagFinding:
    """Explain the passes at one value of the flag."""
    chosen = [p for p in record.passes if p.loss_kwargs == flag]
    plain = _explain(chosen, record.oracle, tolerance, own=False)
    finding = plain
    if _unexplained(plain):
        own = _explain(chosen, record.oracle, tolerance, own=True)
        if _num_matched(own) == _num_matched(plain) and not _unexplained(own):
            finding = own
    return finding


def _num_matched(finding: FlagFinding) -> int:
    return sum(p.forward is not None for p in finding.passes)


def _unexplained(finding: FlagFinding) -> bool:
    return finding.forward is not None and finding.forward.rule is None and "UNEXPLAINED" in finding.codes


def _explain(records: Sequence[PassRecord], oracle: OracleRecord, tolerance: Tolerance, *, own: bool) -> FlagFinding:
    passes = tuple(_explain_pass(p, oracle, tolerance, own=own) for p in records)
    forward = _joint([m for p in passes if (m := _forward(p.record, p.step)) and not p.nonfinite], tolerance.loss)
    weights = [_backward(p.record, p.step, own=own) for p in passes if p.step is not None and not p.nonfinite]
    complete = [w for w in weights if w is not None]
    backward = None
    if tolerance.gradient is not None and complete and len(complete) == len(weights):
        backward = _joint(complete, tolerance.gradient)
    flag = records[0].loss_kwargs
    codes = _codes(passes, forward, backward, own=own)
    return FlagFinding(flag, passes, forward, backward, own, codes)


def _joint(measured: Sequence[Measured], tolerance: float) -> Match | None:
    return match(measured, tolerance) if measured else None


def _explain_pass(record: PassRecord, oracle: OracleRecord, tolerance: Tolerance, *, own: bool) -> PassFinding:
    step = optimizer_step(record, oracle, own=own)
    nonfinite = is_nonfinite(record)
    ratio = _grad_norm_ratio(record, oracle)
    wrong = ratio is not None and abs(ratio - 1) > max(NORM_DIFFERS, SLACK * (oracle.noise.gradient_norm or 0.0))
    if step is None or nonfinite:
        return PassFinding(record, step, None, None, nonfinite, ratio, wrong)
    forward, weights = _forward(record, step), _backward(record, step, own=own)
    return PassFinding(
        record,
        step,
        match([forward], tolerance.loss) if forward else None,
        match([weights], tolerance.gradient) if weights and tolerance.gradient else None,
        nonfinite,
        ratio,
        wrong,
    )


def _grad_norm_ratio(record: PassRecord, oracle: OracleRecord) -> float | None:
    """Compare the norm with the right gradient's over the same number of rows."""
    first = record.steps[0] if record.steps else None
    if first is None or first.grad_norm is None or not math.isfinite(first.grad_norm):
        return None
    num_rows = sum(len(m.observation.rows) for m in first.micro_batches if m.observation is not None)
    right = oracle.gradient_norms.get(num_rows)
    return first.grad_norm / right if right else None


def is_nonfinite(record: PassRecord) -> bool:
    """Whether any reported loss of the pass is NaN or infinite."""
    return any(not math.isfinite(m.reported_loss_nats) for step in record.steps for m in step.micro_batches)


def optimizer_step(record: PassRecord, oracle: OracleRecord, *, own: bool) -> OptimizerStep | None:
    """Return S_m, n_m and u_m of a pass's first optimizer step.

    Plain cross-entropy comes from the oracle's rows where the rows are known, else from the logits of the
    training itself. With `own`, S_m = n_m ℓ_m with ℓ_m the mean that the same code computes for micro-batch m.
    """
    rows = {row.fingerprint: row for row in oracle.rows}
    micro_batches = []
    for micro_batch in _first_step(record):
        seen = micro_batch.observation
        if seen is None:
            return None
        if own:
            total = None if seen.own_mean_nats is None else seen.own_mean_nats * seen.num_target_tokens
        elif all(row in rows for row in seen.rows):
            total = math.fsum(rows[row].sum_nats for row in seen.rows)
        else:
            total = seen.sum_nats
        if total is None:
            return None
        micro_batches.append(MicroBatch(total, seen.num_target_tokens, seen.num_label_tokens))
    return OptimizerStep(tuple(micro_batches), record.accumulation_steps) if micro_batches else None


def _first_step(record: PassRecord) -> tuple[MicroBatchRecord, ...]:
    return record.steps[0].micro_batches if record.steps and record.status == "ok" else ()


def _forward(record: PassRecord, step: OptimizerStep | None) -> Measured | None:
    if step is None:
        return None
    return Measured(step, tuple(m.reported_loss_nats for m in _first_step(record)))


def _backward(record: PassRecord, step: OptimizerStep | None, *, own: bool) -> Measured | None:
    if step is None:
        return None
    weights = [_weight(m, own=own) for m in _first_step(record)]
    known = tuple(w for w in weights if w is not None)
    return Measured(step, known, backward=True) if len(known) == len(weights) else None


def _weight(micro_batch: MicroBatchRecord, *, own: bool) -> float | None:
    seen = micro_batch.observation
    if seen is None:
        return None
    weight, spread = (seen.own_weight, seen.own_weight_spread) if own else (seen.weight, seen.weight_spread)
    return weight if spread is not None and spread <= USABLE_SPREAD else None


def _usable_spreads(micro_batch: MicroBatchRecord) -> list[float]:
    seen = micro_batch.observation
    spreads = (seen.weight_spread, seen.own_weight_spread) if seen is not None else ()
    return [spread for spread in spreads if spread is not None and spread <= USABLE_SPREAD]


def _codes(
    passes: Sequence[PassFinding], forward: Match | None, backward: Match | None, *, own: bool
) -> tuple[str, ...]:
    """Collect what holds; the joint match speaks where there is one, else each pass for itself."""
    codes = set()
    for finding in passes:
        if finding.nonfinite:
            codes.add("NONFINITE")
        if finding.record.error is not None and finding.record.error.rejects_num_items_in_batch:
            codes.add("LOSS_KWARGS_REJECTED")
    codes |= _judge(forward, [p.forward for p in passes], own=own)
    # A gradient too coarse to judge takes nothing from what the loss shows.
    gradient = _judge(backward, [p.backward for p in passes], own=own) - {"INCONCLUSIVE"}
    if "UNEXPLAINED" in gradient and not any(p.wrong_norm for p in passes):
        gradient -= {"UNEXPLAINED"}
    codes |= gradient
    if not gradient and codes & {"OK", "OTHER_OBJECTIVE"} and any(p.wrong_norm for p in passes):
        codes.add("UNEXPLAINED")
    if not codes:
        codes.add("INCONCLUSIVE")
    if len(codes) > 1:
        codes -= {"OK", "OTHER_OBJECTIVE"}
    return gravest_first(codes)


def _judge(joint: Match | None, single: Sequence[Match | None], *, own: bool) -> set[str]:
    if joint is not None and (joint.rule is not None or joint.ambiguous):
        return {_code(joint, own=own)}
    return {_code(found, own=own) for found in single if found is not None}


def _code(found: Match, *, own: bool) -> str:
    if found.rule is None:
        return "INCONCLUSIVE" if found.ambiguous else "UNEXPLAINED"
    return "OTHER_OBJECTIVE" if own and found.rule.code == "OK" else found.rule.code
