"""Changes to fake records: what the builders do not vary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gacheck.record.parts import Noise, OracleRecord, PassRecord
from gacheck.rules.facts import MicroBatchRecord
from tests.builders import NOISE, ROWS, oracle

# The rows under an objective that adds 0.7 nats to every target token: no plain cross-entropy, no multiple of it.
OTHER_ROWS = tuple((s + 0.7 * n, n) for s, n in ROWS)


def edit_micro_batches(
    record: PassRecord, edit: Callable[[int, MicroBatchRecord], MicroBatchRecord], *, steps: range = range(1, 100)
) -> PassRecord:
    """Apply `edit(index, micro-batch)` to the micro-batches of the steps numbered in `steps`."""
    changed = tuple(
        replace(s, micro_batches=tuple(edit(i, m) for i, m in enumerate(s.micro_batches))) if s.step in steps else s
        for s in record.steps
    )
    return record.model_copy(update={"steps": changed})


def with_observed(record: PassRecord, **facts: object) -> PassRecord:
    """Set fields of every observation."""

    def edit(_: int, m: MicroBatchRecord) -> MicroBatchRecord:
        seen = replace(m.observation, **facts) if m.observation is not None else None  # type: ignore[arg-type]
        return replace(m, observation=seen)

    return edit_micro_batches(record, edit)


def with_losses(record: PassRecord, change: Callable[[int, float], float], *, step: int = 1) -> PassRecord:
    """Replace the reported losses of one step by `change(index, loss)`."""

    def edit(i: int, m: MicroBatchRecord) -> MicroBatchRecord:
        return replace(m, reported_loss_nats=change(i, m.reported_loss_nats))

    return edit_micro_batches(record, edit, steps=range(step, step + 1))


def with_grad_norm(record: PassRecord, norm: float | None) -> PassRecord:
    """Set the gradient norm of every step; the right one is 2, None is not measured."""
    steps = tuple(replace(s, grad_norm=norm) for s in record.steps)
    return record.model_copy(update={"steps": steps})


def noisy_oracle(tolerance: float) -> OracleRecord:
    """Return the oracle of a run in which correct arithmetic varies by `tolerance`."""
    return oracle(noise=Noise(**{**NOISE.model_dump(), "regrouping": tolerance, "resolution": tolerance}))
