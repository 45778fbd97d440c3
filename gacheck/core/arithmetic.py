"""A verdict's arithmetic, micro-batch by micro-batch: what a rule makes of each, and what the training returned.

    predicted   factor × ℓ_m        ℓ_m     what micro-batch m means by itself, S_m / n_m
    right       share × ℓ_m         factor  w_m n_m, of the rule; share the same of the right one, n_m / N

An auxiliary loss stands beside ℓ_m and has factors of its own. With P processes all of them hold 1 / P already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gacheck.core.finding import FlagFinding, PassFinding
from gacheck.core.measured import backward, reported_losses
from gacheck.rules.matching import Match
from gacheck.rules.steps import Hypothesis
from gacheck.rules.table import MicroBatch, Rule


@dataclass(frozen=True)
class MicroBatchArithmetic:
    """One micro-batch.

    Attributes:
        number: Within its process, counted from 1.
        num_targets: n_m; rows where an objective needs no target tokens.
        mean_nats: ℓ_m; None where nothing is scored.
        auxiliary_nats: What the model adds to it; 0 where it adds nothing.
        share: By which ℓ_m is right to be multiplied.
        factor: By which the rule multiplies it.
        right_nats: What it is right to add to the reported loss.
        predicted_nats: What the rule says that it adds.
        reported_nats: What it did add: what `training_step` returned.
        gradient_factor: By which its gradient was multiplied, measured; None where that was not seen.
    """

    number: int
    process: int
    num_targets: int
    mean_nats: float | None
    auxiliary_nats: float
    share: float
    factor: float
    right_nats: float
    predicted_nats: float
    reported_nats: float
    gradient_factor: float | None


@dataclass(frozen=True)
class StepArithmetic:
    """An optimizer step of a pass.

    Attributes:
        finding: The step.
        hypothesis: What the training was taken to minimise.
        rule: The rule that explains the losses, or else the nearest.
        fits: Whether it explains them.
        right: The rule that is right here.
        auxiliary_share: By which each auxiliary loss is right to be multiplied.
        auxiliary_factor: By which the rule multiplies it.
    """

    finding: PassFinding
    hypothesis: Hypothesis
    rule: Rule
    fits: bool
    right: Rule
    micro_batches: tuple[MicroBatchArithmetic, ...]
    auxiliary_share: float
    auxiliary_factor: float

    @property
    def num_targets(self) -> int:
        """N."""
        return sum(m.num_targets for m in self.micro_batches)

    @property
    def right_nats(self) -> float:
        """The right answer."""
        return math.fsum(m.right_nats for m in self.micro_batches)

    @property
    def predicted_nats(self) -> float:
        """The loss that the rule says would be reported."""
        return math.fsum(m.predicted_nats for m in self.micro_batches)

    @property
    def reported_nats(self) -> float:
        """The reported loss."""
        return math.fsum(m.reported_nats for m in self.micro_batches)

    @property
    def factor(self) -> float:
        """The sum of the rule's factors; that of the right shares is 1."""
        return math.fsum(m.factor for m in self.micro_batches)

    @property
    def share(self) -> float:
        """The sum of the right shares: 1, for a mean."""
        return math.fsum(m.share for m in self.micro_batches)

    @property
    def gradient_factor(self) -> float | None:
        """The sum of the gradient's factors; None where one was not seen."""
        known = [m.gradient_factor for m in self.micro_batches if m.gradient_factor is not None]
        return math.fsum(known) if len(known) == len(self.micro_batches) else None


def step_arithmetic(finding: FlagFinding, code: str) -> StepArithmetic | None:
    """Work out the first step that tells most of a verdict; None where no step could be judged.

    Args:
        finding: At the value of the flag that the verdict speaks of.
        code: The verdict's.
    """
    told = _telling(finding.passes, code)
    if told is None or told.step is None or told.forward is None:
        return None
    rule, fits = _rule(told, finding.forward)
    right = rule if fits and told.log_is_right else told.right_rule
    losses = reported_losses(told.record, told.step, told.number)
    if losses is None or right is None:
        return None
    return StepArithmetic(
        finding=told,
        hypothesis=finding.hypothesis,
        rule=rule,
        fits=fits,
        right=right,
        micro_batches=_micro_batches(told, rule, right, losses.values, _gradient_factors(told, finding)),
        auxiliary_share=right.auxiliary_share(told.step),
        auxiliary_factor=rule.auxiliary_share(told.step),
    )


def _telling(passes: Sequence[PassFinding], code: str) -> PassFinding | None:
    """Choose a step that carries the code; of a single micro-batch most rules say the same, so one of several."""
    judged = [p for p in passes if p.step is not None and p.forward is not None]

    def rank(p: PassFinding) -> tuple[bool, bool, bool]:
        several = p.step is not None and len(p.step.micro_batches) > 1
        carries = _carries(p, code)
        return not (carries and several), not carries, not several

    return min(judged, key=rank, default=None)


def _carries(finding: PassFinding, code: str) -> bool:
    found = [m for m in (finding.forward, finding.backward) if m is not None]
    if code == "UNEXPLAINED":
        return finding.wrong_gradient or any(not m.explained for m in found)
    return any(m.rule is not None and code in m.rule.codes for m in found)


def _rule(told: PassFinding, joint: Match | None) -> tuple[Rule, bool]:
    """Return the rule of all passes, or else of this one, and whether it explains the losses."""
    assert told.forward is not None
    if joint is not None and joint.rule is not None and not told.apart:
        return joint.rule, True
    return told.forward.rule or told.forward.best, told.forward.rule is not None


def _gradient_factors(told: PassFinding, finding: FlagFinding) -> tuple[float | None, ...]:
    assert told.step is not None
    unit = next((p.record.own_loss.unit for p in finding.passes if p.record.own_loss.unit is not None), None)
    seen = backward(told.record, told.step, finding.hypothesis, told.number, unit=unit)
    if seen is None or not seen.backward:
        return (None,) * len(told.step.micro_batches)
    pairs = zip(seen.values, told.step.micro_batches, strict=True)
    return tuple(weight * m.num_target_tokens for weight, m in pairs)


def _micro_batches(
    told: PassFinding, rule: Rule, right: Rule, reported: Sequence[float], grown: Sequence[float | None]
) -> tuple[MicroBatchArithmetic, ...]:
    step = told.step
    assert step is not None
    numbers: dict[int, int] = {}
    columns = zip(
        step.micro_batches,
        right.weights(step),
        rule.weights(step),
        right.contributions(step),
        rule.contributions(step),
        reported,
        grown,
        strict=True,
    )
    lines = []
    for m, right_weight, weight, right_nats, predicted, returned, gradient in columns:
        numbers[m.process] = numbers.get(m.process, 0) + 1
        lines.append(
            MicroBatchArithmetic(
                number=numbers[m.process],
                process=m.process,
                num_targets=m.num_target_tokens,
                mean_nats=_mean(m),
                auxiliary_nats=m.auxiliary_nats,
                share=right_weight * m.num_target_tokens,
                factor=weight * m.num_target_tokens,
                right_nats=right_nats,
                predicted_nats=predicted,
                reported_nats=returned,
                gradient_factor=gradient,
            )
        )
    return tuple(lines)


def _mean(m: MicroBatch) -> float | None:
    return m.sum_nats / m.num_target_tokens if m.num_target_tokens else None
