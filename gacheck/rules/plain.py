"""Whether a step needs no further question: a rule explains its losses as plain cross-entropy, or is the right one."""

from __future__ import annotations

from collections.abc import Sequence

from gacheck.rules.facts import MicroBatchRecord
from gacheck.rules.matching import Match, Measured, match
from gacheck.rules.table import MicroBatch, OptimizerStep, rule_table


def explains(step: Sequence[MicroBatchRecord], accumulation_steps: int, tolerance: float) -> bool:
    """Return whether some rule fits, or more than one does."""
    found = _match(step, accumulation_steps, tolerance)
    return found is not None and (found.rule is not None or found.ambiguous)


def is_right(step: Sequence[MicroBatchRecord], accumulation_steps: int, tolerance: float) -> bool:
    """Return whether the right rule fits."""
    found = _match(step, accumulation_steps, tolerance)
    return found is not None and found.rule is not None and found.rule.right


def _match(micro_batches: Sequence[MicroBatchRecord], accumulation_steps: int, tolerance: float) -> Match | None:
    read = [
        MicroBatch(
            seen.sum_nats,
            seen.num_target_tokens,
            seen.num_label_tokens,
            m.num_items_in_batch,
            process=m.process,
        )
        for m in micro_batches
        if (seen := m.observation) is not None and seen.sum_nats is not None
    ]
    if len(read) < len(micro_batches):
        return None
    step = OptimizerStep(tuple(read), accumulation_steps)
    num_processes = step.num_processes
    losses = tuple(m.reported_loss_nats / num_processes for m in micro_batches)
    rules = rule_table(world_size=num_processes, num_processes=num_processes)
    return match([Measured(step, losses)], tolerance, rules)
