"""The figures of each pass: what it reported, what is right, and how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gacheck.core.findings import FlagFinding, PassFinding
from gacheck.record.run import RunRecord
from gacheck.rules.facts import Flag, StepRecord


@dataclass(frozen=True)
class StepFigures:
    """One optimizer step: reported loss, the right one where it was observed, the gradient norm before clipping."""

    step: int
    reported_loss: float
    grad_norm: float | None
    reference_loss: float | None = None

    @property
    def ratio(self) -> float | None:
        """The reported loss over the right one."""
        return divide(self.reported_loss, self.reference_loss)


@dataclass(frozen=True)
class PassFigures:
    """One pass, and its first step that could be judged.

    Losses in nats per target token; ratios are this pass's figure over the right one.
    """

    id: str
    accumulation_steps: int
    loss_kwargs: Flag
    status: str
    error: str | None
    nonfinite: bool
    reported_loss: float | None
    reference_loss: float | None
    ratio: float | None
    grad_norm: float | None
    grad_norm_ratio: float | None
    steps: tuple[StepFigures, ...]
    heldout_loss: float | None
    finding: PassFinding


@dataclass(frozen=True)
class Divergence:
    """Flag on against flag off at one k."""

    accumulation_steps: int
    first_step_on_minus_off: float | None
    first_step_ratio: float | None
    max_abs_on_minus_off: float | None


def divide(numerator: float | None, denominator: float | None) -> float | None:
    """Divide what is known, finite and not by zero."""
    if numerator is None or not denominator or not math.isfinite(numerator / denominator):
        return None
    return numerator / denominator


def pass_figures(record: RunRecord, findings: Sequence[FlagFinding]) -> tuple[PassFigures, ...]:
    """Return the figures of all recorded passes, in the order of the record."""
    found = [p for finding in findings for p in finding.passes]
    return tuple(_figures([p for p in found if p.record.id == each.id]) for each in record.passes)


def _figures(findings: Sequence[PassFinding]) -> PassFigures:
    finding = next((p for p in findings if p.step is not None), findings[0])
    record = finding.record
    right = {p.number: p.step.mean_nats for p in findings if p.step is not None}
    steps = tuple(_step_figures(step, right.get(number)) for number, step in enumerate(record.steps))
    first = steps[finding.number] if steps else None
    reference = first.reference_loss if first else None
    return PassFigures(
        id=record.id,
        accumulation_steps=record.accumulation_steps,
        loss_kwargs=record.loss_kwargs,
        status=record.status,
        error=f"{record.error.kind}: {record.error.message}" if record.error else None,
        nonfinite=finding.nonfinite,
        reported_loss=first.reported_loss if first else None,
        reference_loss=reference,
        ratio=first.ratio if first else None,
        grad_norm=first.grad_norm if first else None,
        grad_norm_ratio=finding.grad_norm_ratio,
        steps=steps,
        heldout_loss=record.heldout_loss_nats,
        finding=finding,
    )


def _step_figures(step: StepRecord, right: float | None) -> StepFigures:
    """Average over the processes, as the Trainer does for its log."""
    num_processes = len({m.process for m in step.micro_batches}) or 1
    return StepFigures(
        step.step, sum(m.reported_loss_nats for m in step.micro_batches) / num_processes, step.grad_norm, right
    )


def divergence(figures: Sequence[PassFigures]) -> tuple[Divergence, ...]:
    """Compare on with off at every k at which both ran."""
    by_key = {(f.accumulation_steps, f.loss_kwargs): f for f in figures if f.status == "ok"}
    rows = []
    for k in sorted({f.accumulation_steps for f in figures}):
        on, off = by_key.get((k, "on")), by_key.get((k, "off"))
        if on is None or off is None:
            continue
        gaps = [a.reported_loss - b.reported_loss for a, b in zip(on.steps, off.steps, strict=False)]
        finite = [gap for gap in gaps if math.isfinite(gap)]
        rows.append(
            Divergence(
                k,
                gaps[0] if gaps and math.isfinite(gaps[0]) else None,
                divide(on.reported_loss, off.reported_loss),
                max(map(abs, finite), default=None),
            )
        )
    return tuple(rows)
