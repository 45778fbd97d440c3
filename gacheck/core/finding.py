"""What was found at one value of the flag: pass by pass, step by step, and of all of them together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gacheck.record.parts import PassRecord
from gacheck.rules.facts import Flag
from gacheck.rules.gradients import GradientError
from gacheck.rules.matching import SLACK, Match
from gacheck.rules.steps import Hypothesis
from gacheck.rules.table import OptimizerStep, Rule

# A gradient that follows a rule is that rule's own to this, or to what rounding was measured to change.
GRADIENT_AGREES = 0.001


@dataclass(frozen=True)
class Tolerance:
    """Relative errors that correct arithmetic shows in this run."""

    loss: float
    gradient: float | None


@dataclass(frozen=True)
class PassFinding:
    """An observed optimizer step of a pass against the rules; all None for a failed or non-finite pass.

    Attributes:
        forward: The rule that explains its losses by themselves.
        backward: The rule that explains by how much the gradient grew in each micro-batch.
        log_is_right: The rule of the losses is right for what the training is taken to minimise.
        gradient_rule: The rule whose gradient it is that reached the parameters; None where it is that of none.
        gradient_is_right: That rule is right for what the training is taken to minimise.
        gradients: The gradient against that of the rule of the losses: of all parameters, then of single ones; none
            where that was not measured.
        grad_norm_ratio: The gradient's norm before clipping over the right one's.
        wrong_norm: That ratio is off by more than correct arithmetic varies.
        right_gradient: The gradient against the right one; None where that was not measured.
        number: Of the step, counted from 0.
        right_rule: The rule that is right for what the training is taken to minimise; None of no step.
    """

    record: PassRecord
    step: OptimizerStep | None
    forward: Match | None
    backward: Match | None
    nonfinite: bool
    grad_norm_ratio: float | None
    wrong_norm: bool
    log_is_right: bool = False
    gradient_rule: Rule | None = None
    gradient_is_right: bool = False
    gradients: tuple[GradientError, ...] = ()
    right_gradient: GradientError | None = None
    number: int = 0
    right_rule: Rule | None = None

    @property
    def short(self) -> bool:
        """Whether the step has fewer micro-batches than k."""
        return self.step is not None and self.step.short

    @property
    def gradient_agrees(self) -> bool | None:
        """Whether the gradient is that of the rule of the losses; None where that was not measured."""
        return all(map(agrees, self.gradients)) if self.gradients else None

    @property
    def wrong_gradient(self) -> bool:
        """Whether it is the gradient of no rule."""
        return self.gradient_agrees is False and self.gradient_rule is None

    @property
    def spoiled_gradient(self) -> bool:
        """Whether the gradient holds what is no finite number."""
        norm = self.record.steps[self.number].grad_norm if self.number < len(self.record.steps) else None
        return norm is not None and not math.isfinite(norm)

    @property
    def gradient_unseen(self) -> bool:
        """Whether the losses were judged, and nothing is known of the gradient."""
        return self.forward is not None and self.backward is None and self.gradient_agrees is None

    @property
    def norm_ratio(self) -> float | None:
        """The gradient's norm over that of the rule of the losses."""
        return self.gradients[0].norm_ratio if self.gradients else None

    @property
    def cosine(self) -> float | None:
        """Of the gradient to that of the rule of the losses."""
        return self.gradients[0].cosine if self.gradients else None

    @property
    def worst_parameters(self) -> tuple[tuple[str, float], ...]:
        """The parameters whose gradients are another's, and by how much, furthest first."""
        off = [(e.parameter, e.relative) for e in self.gradients if e.parameter is not None and not agrees(e)]
        return tuple(sorted(off, key=lambda each: -each[1]))

    @property
    def apart(self) -> bool:
        """Whether the step is judged by itself."""
        return self.short or self.record.tail


def agrees(error: GradientError) -> bool:
    """Whether a gradient is a rule's, up to rounding."""
    return error.relative <= max(GRADIENT_AGREES, SLACK * error.noise)


@dataclass(frozen=True)
class FlagFinding:
    """All passes at one value of the flag.

    Attributes:
        forward: The joint match of the reported losses; None if nothing could be matched.
        backward: The joint match of the weights in backward; None if they were not seen.
        hypothesis: What the model was taken to minimise.
        codes: Gravest first.
    """

    flag: Flag
    passes: tuple[PassFinding, ...]
    forward: Match | None
    backward: Match | None
    hypothesis: Hypothesis
    codes: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether every loss and every gradient that was judged is 0: what multiplies them cannot be told."""
        judged = [p for p in self.passes if p.step is not None]
        losses = [m.reported_loss_nats for p in judged for m in p.record.steps[p.number].micro_batches]
        gradients = [each.square for p in judged for each in p.record.steps[p.number].gradients]
        return bool(losses) and not any(losses) and not any(gradients)
