"""The rule table: what each way of normalising a loss predicts for every micro-batch.

A rule is the weight that it gives to each target token of micro-batch m. One formula then predicts two
independent measurements:

    forward    contribution of m to the reported loss  =  weight_m × S_m
    backward   gradient that each target of m received =  weight_m × (its own gradient)

with, for micro-batches m = 1..k of one optimizer step,

    S_m   summed negative log-likelihood, nats          N = Σ n_m
    n_m   target tokens: labels ≠ -100 that are scored  U = Σ u_m
    u_m   label tokens: labels ≠ -100 as given

The right answer is the token-weighted mean Σ S_m / N, so the right weight is 1 / N, whatever k is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class MicroBatch:
    """S_m, n_m and u_m of one micro-batch."""

    sum_nats: float
    num_target_tokens: int
    num_label_tokens: int


@dataclass(frozen=True)
class OptimizerStep:
    """The micro-batches of one optimizer step, and k as configured."""

    micro_batches: tuple[MicroBatch, ...]
    accumulation_steps: int

    @property
    def num_target_tokens(self) -> int:
        """N."""
        return sum(m.num_target_tokens for m in self.micro_batches)

    @property
    def num_label_tokens(self) -> int:
        """U."""
        return sum(m.num_label_tokens for m in self.micro_batches)

    @property
    def mean_nats(self) -> float:
        """The right answer: Σ S_m / N. Zero where nothing is scored."""
        return _over(sum(m.sum_nats for m in self.micro_batches), self.num_target_tokens)


@dataclass(frozen=True)
class Rule:
    """One way of normalising.

    Attributes:
        name: As in the JSON contract.
        label: The same in words, for tables.
        weight: (step, micro-batch) -> weight of each target token of the micro-batch.
        code: The verdict when this rule explains what was measured.
    """

    name: str
    label: str
    weight: Callable[[OptimizerStep, MicroBatch], float]
    code: str

    def weights(self, step: OptimizerStep) -> tuple[float, ...]:
        """Predict the weight of a target token, per micro-batch (1 / tokens)."""
        return tuple(self.weight(step, m) for m in step.micro_batches)

    def contributions(self, step: OptimizerStep) -> tuple[float, ...]:
        """Predict what each micro-batch adds to the reported loss (nats)."""
        return tuple(self.weight(step, m) * m.sum_nats for m in step.micro_batches)


def _over(numerator: float, denominator: float) -> float:
    """Divide; a micro-batch that scores nothing weighs nothing."""
    return numerator / denominator if denominator else 0.0


# Mildest first: where the data cannot tell two rules apart, the first is taken (and a note says so).
RULES: tuple[Rule, ...] = (
    Rule("token_mean", "right", lambda step, m: _over(1, step.num_target_tokens), "OK"),
    Rule(
        "mean_of_means",
        "mean of means",
        lambda step, m: _over(1, len(step.micro_batches) * m.num_target_tokens),
        "MEAN_OF_MEANS",
    ),
    Rule(
        "unshifted_token_mean",
        "counted before the shift",
        lambda step, m: _over(1, step.num_label_tokens),
        "UNSHIFTED_TOKEN_COUNT",
    ),
    Rule(
        "token_mean_over_k",
        "divided twice",
        lambda step, m: _over(1, step.accumulation_steps * step.num_target_tokens),
        "DIVIDED_TWICE",
    ),
    Rule("sum_of_means", "sum of means", lambda step, m: _over(1, m.num_target_tokens), "SCALED_BY_ACCUMULATION"),
)

RULES_BY_NAME = {rule.name: rule for rule in RULES}
