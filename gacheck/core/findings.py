"""What the measurements of one flag value show: which rule, forward and backward, and which codes follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gacheck.core.measured import (
    backward,
    is_nonfinite,
    observed_numbers,
    optimizer_step,
    reported_losses,
    usable_spreads,
)
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.rules.facts import Flag
from gacheck.rules.matching import SLACK, Match, Measurement, match
from gacheck.rules.steps import HYPOTHESES, Hypothesis
from gacheck.rules.table import OptimizerStep, gravest_first, rule_table

# A norm is one number for all parameters, so it is weaker evidence than the weights: it speaks only where it is
# off by a per cent, and by more than regrouping the rows changes it.
NORM_DIFFERS = 0.01

# A router's loss changes by a few per mille with the grouping, a sum by a factor.
MEANS_AGREE = 0.1

# A gradient that follows a rule agrees with that rule's own gradient to this, or to what regrouping changes …
GRADIENT_AGREES = 0.001
# … and is another from here on. In between, nothing is claimed.
GRADIENT_DIFFERS = 0.01


@dataclass(frozen=True)
class Tolerance:
    """Relative errors that correct arithmetic shows in this run."""

    loss: float
    gradient: float | None


@dataclass(frozen=True)
class PassFinding:
    """An observed optimizer step of a pass against the rules; all None for a failed or non-finite pass.

    Attributes:
        grad_norm_ratio: The gradient's norm before clipping over the right one's.
        wrong_norm: That ratio is off by more than correct arithmetic varies.
        gradient_error: How far it is from that of the rule that explains the loss; None if not compared.
        gradient_agrees: The gradient is the one of the rule that explains the loss; None if not compared.
        wrong_gradient: It is another, in norm or in direction, though the loss is right.
        number: Of the step, counted from 0.
    """

    record: PassRecord
    step: OptimizerStep | None
    forward: Match | None
    backward: Match | None
    nonfinite: bool
    grad_norm_ratio: float | None
    wrong_norm: bool
    gradient_error: float | None = None
    gradient_agrees: bool | None = None
    wrong_gradient: bool = False
    number: int = 0

    @property
    def short(self) -> bool:
        """Whether the step has fewer micro-batches than k."""
        return self.step is not None and self.step.short

    @property
    def gradient_unseen(self) -> bool:
        """Whether the losses were judged, and nothing is known of the gradient."""
        return self.forward is not None and self.backward is None and self.gradient_agrees is None

    @property
    def apart(self) -> bool:
        """Whether the step is judged by itself."""
        return self.short or self.record.tail


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


def measure_tolerance(oracle: OracleRecord, passes: Sequence[PassRecord]) -> Tolerance:
    """Take the largest error that correct arithmetic was seen to make."""
    noise = oracle.noise
    seen = [noise.resolution, noise.regrouping, noise.repeat, noise.plain_loss, noise.cross_entropy]
    loss = max(value for value in seen if value is not None)
    spreads = [spread for record in passes for spread in usable_spreads(record)]
    return Tolerance(loss=loss, gradient=max([noise.resolution, *spreads]) if spreads else None)


def find(record: AnyTrainingRecord, flag: Flag, tolerance: Tolerance) -> FlagFinding:
    """Explain the passes at one value of the flag, under the simplest hypothesis that does."""
    chosen = [p for p in record.all_passes if p.loss_kwargs == flag]
    plain, *others = (
        _Reader(record.oracle, tolerance, hypothesis, record.hardware.world_size) for hypothesis in HYPOTHESES
    )
    finding = plain.explain(chosen)
    for reader in others if _unexplained(finding) else ():
        other = reader.explain(chosen)
        if _num_matched(other) == _num_matched(finding) and not _unexplained(other) and _is_mean(other):
            finding = other
            break
    missing = any(spec.loss_kwargs == flag for spec in record.missing)
    return _without_proof(finding, missing=missing)


def _without_proof(finding: FlagFinding, *, missing: bool) -> FlagFinding:
    """Call nothing right of which a planned pass failed or has yet to run, or of which a gradient was not seen."""
    failed = any(p.record.status == "failed" for p in finding.passes)
    unseen = any(p.gradient_unseen for p in finding.passes)
    if set(finding.codes) <= {"OK", "OTHER_OBJECTIVE"} and (failed or missing or unseen):
        return replace(finding, codes=("INCONCLUSIVE",))
    return finding


def explain_alone(
    record: PassRecord, oracle: OracleRecord, world_size: int
) -> tuple[OptimizerStep, Match, Hypothesis] | None:
    """Find the rule and the hypothesis that explain one pass's losses by itself; None if none does."""
    tolerance = measure_tolerance(oracle, [record])
    for hypothesis in HYPOTHESES:
        found = _Reader(oracle, tolerance, hypothesis, world_size).explain_pass(record)
        if found.step is not None and found.forward is not None and found.forward.rule is not None:
            return found.step, found.forward, hypothesis
    return None


def _is_mean(finding: FlagFinding) -> bool:
    """Whether what the code returns for a micro-batch is a mean, so that it can be weighed by target tokens.

    A mean over the same rows hardly depends on how they are grouped; a sum, or a sum over a fixed number, does.
    """
    answers: dict[int, list[float]] = {}
    for p in finding.passes:
        if p.step is not None and not p.apart:
            answers.setdefault(p.step.num_target_tokens, []).append(p.step.mean_nats)
    return all(max(each) - min(each) <= MEANS_AGREE * max(map(abs, each)) for each in answers.values())


def _num_matched(finding: FlagFinding) -> int:
    return len({p.record.id for p in finding.passes if p.forward is not None})


def _unexplained(finding: FlagFinding) -> bool:
    """Whether some pass's loss fits no rule; a gradient that fits none does not ask for another objective."""
    single = [p.forward for p in finding.passes if p.forward is not None]
    joint = finding.forward is not None and finding.forward.explained
    return not joint and any(not found.explained for found in single)


@dataclass(frozen=True)
class _Reader:
    """Holds passes against the rules under one hypothesis."""

    oracle: OracleRecord
    tolerance: Tolerance
    hypothesis: Hypothesis
    world_size: int

    def explain(self, records: Sequence[PassRecord]) -> FlagFinding:
        passes = tuple(self.explain_pass(p, number) for p in records for number in observed_numbers(p) or [0])
        # The tail of an epoch is a step of another kind; it has no say in what explains the others.
        whole = [p for p in passes if p.step is not None and not p.nonfinite and not p.apart]
        forward = self._match([m for p in whole if (m := reported_losses(p.record, p.step, p.number))])
        gradients = [backward(p.record, p.step, self.hypothesis, p.number) for p in whole]
        complete = [g for g in gradients if g is not None]
        is_one_kind = len(complete) == len(gradients) and len({g.backward for g in complete}) == 1
        behind = self._match(complete) if is_one_kind else None
        codes = self._codes(passes, forward, behind)
        return FlagFinding(records[0].loss_kwargs, passes, forward, behind, self.hypothesis, codes)

    def explain_pass(self, record: PassRecord, number: int = 0) -> PassFinding:
        step, nonfinite = optimizer_step(record, self.oracle, self.hypothesis, number), is_nonfinite(record)
        ratio, noise = _grad_norm_ratio(record, self.oracle), SLACK * (self.oracle.noise.gradient_norm or 0.0)
        wrong = ratio is not None and abs(ratio - 1) > max(NORM_DIFFERS, noise)
        if step is None or nonfinite:
            return PassFinding(record, step, None, None, nonfinite, ratio, wrong, number=number)
        losses = reported_losses(record, step, number)
        gradient = backward(record, step, self.hypothesis, number)
        forward = self._match([losses] if losses else [])
        behind = self._match([gradient] if gradient else [])
        error = _gradient_error(record, forward)
        agrees = None if error is None else error <= max(GRADIENT_AGREES, noise)
        # Of a wrong log the weights in backward say whether the gradient is wrong too, and how.
        right = forward is not None and forward.rule is not None and forward.rule.right
        differs = right and error is not None and error > max(GRADIENT_DIFFERS, noise)
        return PassFinding(record, step, forward, behind, nonfinite, ratio, wrong, error, agrees, differs, number)

    def _match(self, measured: Sequence[Measurement]) -> Match | None:
        """Match losses, or weights, which an auxiliary loss does not reach."""
        if not measured:
            return None
        is_weight = measured[0].backward
        tolerance = self.tolerance.gradient if is_weight else self._loss_tolerance()
        if tolerance is None:
            return None
        rules = rule_table(
            world_size=self.world_size,
            num_processes=max(m.step.num_processes for m in measured),
            auxiliary=self.hypothesis == "auxiliary" and not is_weight,
        )
        return match(measured, tolerance, rules)

    def _loss_tolerance(self) -> float:
        """Return the tolerance of losses; those of another objective are as exact as the code that computes them."""
        noise, own = self.oracle.noise, self.oracle.noise.own_loss
        # Where the forward itself is exact, what grouping changes is the objective's nature and no noise.
        exact = (noise.regrouping or 0.0) <= noise.resolution
        if self.hypothesis != "own" or exact or own is None or own > MEANS_AGREE:
            return self.tolerance.loss
        return max(self.tolerance.loss, own)

    def _codes(self, passes: Sequence[PassFinding], forward: Match | None, backward: Match | None) -> tuple[str, ...]:
        """Collect what holds."""
        codes: set[str] = set()
        for finding in passes:
            if finding.nonfinite:
                codes.add("NONFINITE")
            if finding.record.error is not None and finding.record.error.rejects_num_items_in_batch:
                codes.add("LOSS_KWARGS_REJECTED")
        codes |= self._judge(forward, passes, "forward")
        # A gradient too coarse to judge takes nothing from what the loss shows.
        gradient = self._judge(backward, passes, "backward") - {"INCONCLUSIVE"}
        if "UNEXPLAINED" in gradient and not any(p.wrong_norm for p in passes):
            gradient -= {"UNEXPLAINED"}
        # A gradient that is not that of the rule is never explained away, whatever the weights at the logits say.
        if any(p.wrong_gradient for p in passes) and gradient <= {"OK", "OTHER_OBJECTIVE"}:
            gradient = {"UNEXPLAINED"}
        if not gradient and codes & {"OK", "OTHER_OBJECTIVE"} and any(p.wrong_norm for p in passes):
            gradient.add("UNEXPLAINED")
        codes |= gradient
        if not codes:
            codes.add("INCONCLUSIVE")
        if len(codes) > 1:
            codes -= {"OK", "OTHER_OBJECTIVE"}
        return gravest_first(codes)

    def _judge(self, joint: Match | None, passes: Sequence[PassFinding], side: str) -> set[str]:
        """Return the codes of one side; the joint match speaks where there is one, else each pass for itself."""
        found: list[Match] = []
        explained = joint is not None and joint.explained
        if joint is not None and explained:
            found.append(joint)
        single = [p for p in passes if p.apart or not explained]
        found += [m for p in single if (m := getattr(p, side)) is not None]
        return set().union(*(self._codes_of(m) for m in found)) if found else set()

    def _codes_of(self, found: Match) -> set[str]:
        if found.rule is None:
            return {"INCONCLUSIVE" if found.ambiguous else "UNEXPLAINED"}
        right = self.hypothesis != "plain" and found.rule.right
        return {"OTHER_OBJECTIVE"} if right else set(found.rule.codes)


def _grad_norm_ratio(record: PassRecord, oracle: OracleRecord) -> float | None:
    """Compare the norm with the right gradient's over the same number of rows."""
    first = record.steps[0] if record.steps else None
    if first is None or first.grad_norm is None or not math.isfinite(first.grad_norm):
        return None
    rows = [row for m in first.micro_batches if m.observation is not None for row in m.observation.rows]
    if sorted(rows) != sorted(row.fingerprint for row in oracle.rows[: len(rows)]):
        return None  # other rows than rehearsed
    right = oracle.gradient_norms.get(len(rows))
    return first.grad_norm / right if right else None


def _gradient_error(record: PassRecord, forward: Match | None) -> float | None:
    """Return how far the gradient is from the rule's; None where it was compared with that of another, or not.

    A norm that is off, and a direction that is, count alike: |‖g‖ / ‖g_rule‖ − 1| and 1 − cos(g, g_rule).
    """
    evidence = record.gradient
    if evidence is None or forward is None or forward.rule is None:
        return None
    if evidence.rule not in {rule.name for rule in (forward.rule, *forward.equivalent)}:
        return None
    return max(abs(evidence.norm_ratio - 1), 1 - evidence.cosine)
