"""From the facts of an optimizer step to what the rules are held against.

A loss is read under one of three hypotheses about what the model means to minimise:

    plain      cross-entropy: S_m is the oracle's where its rows are known, else from the training's own logits
    own        another objective (label smoothing, a penalty): S_m = n_m ℓ_m, with ℓ_m the mean that the same code
               computes for micro-batch m by itself
    auxiliary  cross-entropy, and beside it a loss per micro-batch (a router's): a_m = ℓ_m − S_m / n_m
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from gacheck.rules.facts import SUMS, MicroBatchRecord, Observation, Unit
from gacheck.rules.table import MicroBatch, OptimizerStep

Hypothesis = Literal["plain", "own", "auxiliary"]

HYPOTHESES: tuple[Hypothesis, ...] = ("plain", "own", "auxiliary")
"""Simplest first."""


def optimizer_step(
    micro_batches: Sequence[MicroBatchRecord],
    accumulation_steps: int,
    hypothesis: Hypothesis = "plain",
    row_sums: Mapping[str, float] | None = None,
    *,
    unit: Unit | None = None,
) -> OptimizerStep | None:
    """Return an optimizer step as the rules see it; None if something for it was not measured.

    Args:
        micro_batches: Of all processes; none make no step.
        accumulation_steps: k as configured.
        hypothesis: What the model is taken to minimise.
        row_sums: Fingerprint of a row → its S, nats, where an oracle knows it.
        unit: What the same code returns for a micro-batch is a mean over, or that it is a sum.
    """
    counts = _num_units(micro_batches, unit) if hypothesis == "own" else _num_targets(micro_batches)
    read = [
        _micro_batch(each, hypothesis, row_sums or {}, unit in SUMS, count)
        for each, count in zip(micro_batches, counts)
    ]
    known = tuple(each for each in read if each is not None)
    return OptimizerStep(known, accumulation_steps) if known and len(known) == len(read) else None


def _micro_batch(
    record: MicroBatchRecord, hypothesis: Hypothesis, row_sums: Mapping[str, float], own_is_sum: bool, count: float
) -> MicroBatch | None:
    seen = record.observation
    if seen is None:
        return None
    plain, own = _plain_sum(seen, row_sums), seen.own_mean_nats
    total, auxiliary = plain, 0.0
    if hypothesis == "own":
        # A mean over nothing is not a number; it adds nothing.
        total = None if own is None else own * (1 if own_is_sum else count) if count else 0.0
    if hypothesis == "auxiliary":
        if own is None or plain is None or not math.isfinite(own):
            return None
        auxiliary = own - (plain / count if count else 0.0)
    if total is None:
        return None
    mean = own if hypothesis == "own" else plain / count if plain and count else None
    noise = seen.noise_nats if hypothesis == "plain" else seen.own_noise_nats
    return MicroBatch(
        total,
        count,
        seen.num_label_tokens,
        record.num_items_in_batch,
        auxiliary,
        record.process,
        seen.num_rows or len(seen.rows),
        own_count=seen.own_count if hypothesis == "own" else None,
        own_count_of_step=seen.own_count_of_step if hypothesis == "own" else None,
        noise=noise / abs(mean) if mean and math.isfinite(mean) else 0.0,
    )


def _num_targets(micro_batches: Sequence[MicroBatchRecord]) -> list[float]:
    return [0 if m.observation is None else m.observation.num_target_tokens for m in micro_batches]


def _num_units(micro_batches: Sequence[MicroBatchRecord], unit: Unit | None) -> list[float]:
    """Return what an objective may be a mean over: target tokens, or rows where a loss needs none of them.

    A sum that is meant to be one is a mean over a single thing, the whole step.
    """
    if unit == "declared sum":
        return [1 / len(micro_batches)] * len(micro_batches)
    targets = _num_targets(micro_batches)
    seen = [m.observation for m in micro_batches]
    if unit == "tokens" and not any(targets):
        return [0 if o is None else o.num_label_tokens for o in seen]  # labels that are no tokens: numbers, pixels
    # A training without labels has no targets; and pairs, say, have a loss of their own also where none is scored.
    needs_none = any(
        o is not None and not count and o.own_mean_nats and math.isfinite(o.own_mean_nats)
        for o, count in zip(seen, targets)
    )
    rows: list[float] = [0 if o is None else o.num_rows for o in seen]
    # Inputs of a kind of their own do not say how many rows they have: each micro-batch is one thing then.
    return (rows if any(rows) else [1.0] * len(rows)) if needs_none else targets


def _plain_sum(seen: Observation, row_sums: Mapping[str, float]) -> float | None:
    if row_sums and seen.rows and all(row in row_sums for row in seen.rows):
        return math.fsum(row_sums[row] for row in seen.rows)
    return seen.sum_nats
