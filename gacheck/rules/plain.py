"""Whether a step needs no further question: a rule explains its losses as plain cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

from gacheck.rules.facts import MicroBatchRecord
from gacheck.rules.matching import Match, Measurement, match
from gacheck.rules.steps import optimizer_step
from gacheck.rules.table import rule_table


def match_plain(micro_batches: Sequence[MicroBatchRecord], accumulation_steps: int, tolerance: float) -> Match | None:
    """Hold a step's losses against the rules as plain cross-entropy; None where its logits were not all seen.

    Args:
        micro_batches: Of all processes.
        accumulation_steps: k as configured.
        tolerance: Relative error that correct arithmetic shows.
    """
    step = optimizer_step(micro_batches, accumulation_steps)
    if step is None:
        return None
    num_processes = step.num_processes
    losses = tuple(m.reported_loss_nats / num_processes for m in micro_batches)
    rules = rule_table(world_size=num_processes, num_processes=num_processes)
    return match([Measurement(step, losses)], tolerance, rules)
