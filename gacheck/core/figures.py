"""The figures of each pass that was planned: what it reported, what is right, how far apart they are, which rule fits.

Every reporter shows these, so that none forgets a pass that failed, that has yet to run, or that is a tail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gacheck.core.finding import FlagFinding, PassFinding
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.parts import PassError, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import Flag, StepRecord
from gacheck.rules.matching import SLACK, Match
from gacheck.rules.steps import Hypothesis

# Right answers that differ by less, relative, are one answer with roundings; a coarse dtype rounds more.
SAME_ANSWER = 1e-5


@dataclass(frozen=True)
class StepFigures:
    """One optimizer step.

    Attributes:
        reported_loss: What the Trainer would log, unrounded, nats per target token.
        grad_norm: Before clipping.
        num_micro_batches: Of all processes.
        reference_loss: The right answer; None where the step was not observed.
        forward: The rule that explains its losses by themselves; None where it was not observed.
        backward: The same of its gradient.
    """

    step: int
    reported_loss: float
    grad_norm: float | None
    num_micro_batches: int
    reference_loss: float | None = None
    forward: Match | None = None
    backward: Match | None = None

    @property
    def ratio(self) -> float | None:
        """The reported loss over the right one."""
        return divide(self.reported_loss, self.reference_loss)


@dataclass(frozen=True)
class PassFigures:
    """One pass of the plan, and its first step that could be judged.

    Losses in nats per target token; ratios are this pass's figure over the right one. What was not measured is None:
    all of it where the pass was skipped.
    """

    id: str
    accumulation_steps: int
    loss_kwargs: Flag
    tail: bool
    status: Literal["ok", "failed", "skipped"]
    error: str | None = None
    error_kind: str | None = None
    nonfinite: bool = False
    objective: Hypothesis | None = None
    first: StepFigures | None = None
    grad_norm_ratio: float | None = None
    gradient: PassFinding | None = None
    grad_cosine: float | None = None
    steps: tuple[StepFigures, ...] = ()
    heldout_loss: float | None = None

    @property
    def worst_parameter(self) -> str | None:
        """The parameter whose gradient is furthest from that of the rule of the losses; None where all are that."""
        return next((name for name, _ in self.gradient.worst_parameters), None) if self.gradient else None

    @property
    def ran(self) -> bool:
        """Whether it is recorded, well or failed."""
        return self.status != "skipped"

    @property
    def forward(self) -> Match | None:
        """The rule that explains the losses of its first judged step."""
        return self.first.forward if self.first else None

    @property
    def backward(self) -> Match | None:
        """The rule that explains the gradient of its first judged step."""
        return self.first.backward if self.first else None

    @property
    def reported_loss(self) -> float | None:
        """Of its first judged step."""
        return self.first.reported_loss if self.first else None

    @property
    def reference_loss(self) -> float | None:
        """The right answer for that step."""
        return self.first.reference_loss if self.first else None

    @property
    def ratio(self) -> float | None:
        """The reported loss over the right one."""
        return self.first.ratio if self.first else None

    @property
    def grad_norm(self) -> float | None:
        """Of that step, before clipping."""
        return self.first.grad_norm if self.first else None


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


def pass_figures(record: AnyTrainingRecord, findings: Sequence[FlagFinding]) -> tuple[PassFigures, ...]:
    """Return the figures of all planned passes, tails of an epoch among them: first what ran, in its order."""
    judged: dict[str, tuple[FlagFinding, list[PassFinding]]] = {}
    for finding in findings:
        for p in finding.passes:
            judged.setdefault(p.record.id, (finding, []))[1].append(p)
    ran = [_figures(each, *judged[each.id]) for each in record.all_passes]
    return (*ran, *map(_skipped, record.missing))


def _skipped(spec: PassSpec) -> PassFigures:
    return PassFigures(spec.id, spec.accumulation_steps, spec.loss_kwargs, spec.tail, "skipped")


def _figures(record: PassRecord, finding: FlagFinding, passes: Sequence[PassFinding]) -> PassFigures:
    first = next((p for p in passes if p.step is not None), passes[0])
    judged = {p.number: p for p in passes if p.step is not None}
    steps = tuple(_step_figures(step, judged.get(number)) for number, step in enumerate(record.steps))
    return PassFigures(
        id=record.id,
        accumulation_steps=record.accumulation_steps,
        loss_kwargs=record.loss_kwargs,
        tail=record.tail,
        status=record.status,
        error=_error(record.error),
        error_kind=record.error.kind if record.error else None,
        nonfinite=first.nonfinite,
        objective=finding.hypothesis if first.forward is not None else None,
        first=steps[first.number] if steps else None,
        grad_norm_ratio=first.grad_norm_ratio,
        grad_cosine=first.right_gradient.cosine if first.right_gradient else None,
        gradient=first if first.gradients else None,
        steps=steps,
        heldout_loss=record.heldout_loss_nats,
    )


def _error(error: PassError | None) -> str | None:
    """Return why a pass failed, with its class; what was raised in the user's own code has that in its words."""
    if error is None or f" raised {error.kind}" in error.message:
        return None if error is None else error.message
    return f"{error.kind}: {error.message}"


def _step_figures(step: StepRecord, judged: PassFinding | None) -> StepFigures:
    """Average over the processes, as the Trainer does for its log."""
    num_processes = len({m.process for m in step.micro_batches}) or 1
    return StepFigures(
        step=step.step,
        reported_loss=sum(m.reported_loss_nats for m in step.micro_batches) / num_processes,
        grad_norm=step.grad_norm,
        num_micro_batches=len(step.micro_batches),
        reference_loss=_right_answer(judged) if judged else None,
        forward=judged.forward if judged else None,
        backward=judged.backward if judged else None,
    )


def _right_answer(judged: PassFinding) -> float | None:
    """Return the loss of the rule that is right for what the training is taken to minimise."""
    if judged.step is None:
        return None
    right = judged.right_rule
    found = math.fsum(right.contributions(judged.step)) if right is not None else math.nan
    return found if math.isfinite(found) else judged.step.mean_nats


def shared_answer(figures: Sequence[PassFigures], tolerance: float) -> float | None:
    """Return the right answer if these passes have the same one, up to the tolerance of losses; else None."""
    answers = [f.reference_loss for f in figures if f.reference_loss is not None]
    allowed = max(SAME_ANSWER, SLACK * tolerance)
    if not answers or max(answers) - min(answers) > allowed * abs(answers[0]):
        return None
    return answers[0]


def divergence(figures: Sequence[PassFigures]) -> tuple[Divergence, ...]:
    """Compare on with off at every k at which both ran."""
    by_key = {(f.accumulation_steps, f.loss_kwargs): f for f in figures if f.status == "ok"}
    rows = []
    for k in sorted({f.accumulation_steps for f in figures}):
        on, off = by_key.get((k, Flag.ON)), by_key.get((k, Flag.OFF))
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
