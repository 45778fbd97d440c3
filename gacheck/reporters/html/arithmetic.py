"""The arithmetic of the verdict as a table, short enough to be followed with a pencil."""

from __future__ import annotations

from dataclasses import dataclass

from gacheck.core.arithmetic import MicroBatchArithmetic, StepArithmetic
from gacheck.reporters.text import NOT_MEASURED, figure

# More rows would be scrolled over, not read; the sums are over all.
MOST_ROWS = 16


@dataclass(frozen=True)
class ArithmeticTable:
    """The step and its numbers, as text.

    Attributes:
        step: Which one it is.
        rule: The rule in words.
        fits: Whether it explains the losses.
        is_right: Whether it is what is right; then it has no columns of its own.
        meaning: What the training means, where that is no mean over target tokens; else empty.
        unit: What is counted.
        num_targets: Of the whole step.
        has_auxiliary: Whether there is an auxiliary loss in a column of its own, with these factors: right, the rule's.
        rows: Name of the micro-batch and its cells.
        num_left_out: Micro-batches that have no row.
        sums: Cells of the last row.
    """

    step: str
    rule: str
    fits: bool
    is_right: bool
    meaning: str
    unit: str
    num_targets: str
    has_auxiliary: bool
    auxiliary_factors: tuple[str, str]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    num_left_out: int
    sums: tuple[str, ...]


def arithmetic_table(worked: StepArithmetic) -> ArithmeticTable:
    """Write the arithmetic of a step as text."""
    several = len({m.process for m in worked.micro_batches}) > 1
    shown = worked.micro_batches[:MOST_ROWS]
    return ArithmeticTable(
        step=_step(worked),
        rule=worked.rule.label,
        fits=worked.fits,
        is_right=_is_right(worked),
        meaning="" if worked.right.right else worked.right.label,
        unit=_unit(worked),
        num_targets=f"{worked.num_targets:,}",
        has_auxiliary=_has_auxiliary(worked),
        auxiliary_factors=(factor(worked.auxiliary_share), factor(worked.auxiliary_factor)),
        rows=tuple((_name(m, several=several), _cells(worked, m, figure(m.mean_nats))) for m in shown),
        num_left_out=len(worked.micro_batches) - len(shown),
        sums=_cells(worked, worked, ""),  # means do not add up
    )


def _is_right(worked: StepArithmetic) -> bool:
    return worked.fits and worked.rule.name == worked.right.name


def _has_auxiliary(worked: StepArithmetic) -> bool:
    return worked.hypothesis == "auxiliary"


def factor(value: float | None) -> str:
    """Write what something is multiplied by: four digits."""
    return NOT_MEASURED if value is None else f"{value:.4g}"


def _step(worked: StepArithmetic) -> str:
    record = worked.finding.record
    number = record.steps[worked.finding.number].step
    end = ", at the end of an epoch" if record.tail else ""
    return f"Optimizer step {number} at k = {record.accumulation_steps}, flag {record.loss_kwargs}{end}"


def _unit(worked: StepArithmetic) -> str:
    observed = [m.observation for m in worked.finding.record.steps[worked.finding.number].micro_batches]
    in_rows = not any(seen is not None and seen.num_target_tokens for seen in observed)
    return "rows" if in_rows else "target tokens"


def _name(m: MicroBatchArithmetic, *, several: bool) -> str:
    return f"process {m.process}: {m.number}" if several else str(m.number)


def _cells(worked: StepArithmetic, of: MicroBatchArithmetic | StepArithmetic, mean: str) -> tuple[str, ...]:
    """Write the cells of a micro-batch, or the sums of all."""
    auxiliary = figure(of.auxiliary_nats) if isinstance(of, MicroBatchArithmetic) else ""
    return (
        f"{of.num_targets:,}",
        mean,
        *((auxiliary,) if _has_auxiliary(worked) else ()),
        factor(of.share),
        figure(of.right_nats),
        *(() if _is_right(worked) else (factor(of.factor), figure(of.predicted_nats))),
        figure(of.reported_nats),
        factor(of.gradient_factor),
    )
