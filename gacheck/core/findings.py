"""What the measurements of one flag value show: which rule, forward and backward, and which codes follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gacheck.core.finding import GRADIENT_AGREES, FlagFinding, PassFinding, Tolerance, agrees
from gacheck.core.measured import (
    backward,
    is_nonfinite,
    observed_numbers,
    observed_step,
    optimizer_step,
    reported_losses,
    usable_spreads,
)
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.rules.facts import SUMS, Flag, MicroBatchRecord, Unit
from gacheck.rules.gradients import GradientError, gradient_error, multipliers
from gacheck.rules.matching import SLACK, Match, Measurement, match, relative_error
from gacheck.rules.steps import HYPOTHESES, Hypothesis
from gacheck.rules.table import RULES_BY_NAME, OptimizerStep, Rule, gravest_first, rule_table

RIGHT = frozenset({"OK", "OTHER_OBJECTIVE"})
"""The codes of what is right."""

# A norm is one number for all parameters, so it is weaker evidence than the gradients themselves: it speaks only
# where it is off by a per cent, and by more than regrouping the rows changes it.
NORM_DIFFERS = 0.01

# A router's loss changes by a few per mille with the grouping, a sum by a factor.
MEANS_AGREE = 0.1

# Multiples of a gradient are read to this at best: what rounds in float32 adds up over many terms.
LEAST_OF_GRADIENT = 1e-6

# A loss as near to cross-entropy as this is cross-entropy and something besides: it is meant per target token.
NEARLY_CROSS_ENTROPY = 0.2


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
    # float16's loss scale begins so large that the first gradients overflow; the Trainer leaves such a step out.
    may_overflow = record.hardware.autocast == "float16"
    plain, *others = (
        _Reader(record.oracle, tolerance, hypothesis, record.hardware.world_size, _unit(chosen), may_overflow)
        for hypothesis in HYPOTHESES
    )
    finding = plain.explain(chosen)
    # What is right as a mean over rows has to be one: by cross-entropy a sum of such means may come out alike.
    is_by_rows = plain.unit == "rows" and finding.codes == ("OTHER_OBJECTIVE",)
    asked = is_by_rows or _unexplained(finding) or not _num_matched(finding)
    readings = [reader.explain(chosen) for reader in others] if asked else []
    fitting = [f for f in readings if _num_matched(f) >= max(1, _num_matched(finding)) and _is_mean(f, plain.unit)]
    explained = [f for f in fitting if not _unexplained(f)]
    # Of losses that nothing explains the gradient may still be right, for what one of the readings means.
    followed = [f for f in (finding, *fitting) if any(p.gradients for p in f.passes) and not _is_strange(f)]
    both = [f for f in explained if f in followed]
    # Without labels there is no cross-entropy to be held against: what explains nothing is no proof of the contrary.
    only = fitting if not _num_matched(finding) else []
    finding = next(iter((*both, *explained, *followed, *only)), finding)
    missing = any(spec.loss_kwargs == flag for spec in record.missing) or any(p.unseen for p in chosen)
    return _without_proof(_with_alignment(finding, record.oracle), missing=missing)


def _is_strange(finding: FlagFinding) -> bool:
    return any(p.wrong_gradient for p in finding.passes)


def _unit(records: Sequence[PassRecord]) -> Unit | None:
    """Return what the own loss is a mean over, as one pass or another found out."""
    return next((p.own_loss.unit for p in records if p.own_loss.unit is not None), None)


def _with_alignment(finding: FlagFinding, oracle: OracleRecord) -> FlagFinding:
    """Add that the labels are not shifted, though the model's own loss shifts them and they are its inputs."""
    judged = any(p.forward is not None for p in finding.passes)
    if not judged or oracle.shifts or not oracle.model_shifts or not oracle.labels_are_inputs:
        return finding
    codes = {*finding.codes, "LABELS_NOT_SHIFTED"} - {"OK", "OTHER_OBJECTIVE", "INCONCLUSIVE"}
    return replace(finding, codes=gravest_first(codes))


def _without_proof(finding: FlagFinding, *, missing: bool) -> FlagFinding:
    """Call nothing right of which a planned pass failed or has yet to run, or of which a gradient was not seen.

    And call nothing wrong that could not be asked what it means.
    """
    failed = any(p.record.status == "failed" for p in finding.passes)
    unseen = any(p.gradient_unseen for p in finding.passes)
    if any(p.record.own_loss.repeats is False for p in finding.passes):
        codes = tuple(code for code in finding.codes if code != "UNEXPLAINED")
        finding = replace(finding, codes=codes or ("INCONCLUSIVE",))
    if set(finding.codes) <= RIGHT and (failed or missing or unseen):
        return replace(finding, codes=("INCONCLUSIVE",))
    if set(finding.codes) <= RIGHT and finding.is_nothing:
        return replace(finding, codes=("INCONCLUSIVE",))
    asked = any(p.record.own_loss.is_asked is not False for p in finding.passes)
    # Where the gradient is cross-entropy's, that is what is meant.
    is_known = any(p.gradient_rule is not None for p in finding.passes)
    if finding.codes == ("UNEXPLAINED",) and not asked and not is_known and _unexplained(finding):
        return replace(finding, codes=("INCONCLUSIVE",))
    return finding


def _is_mean(finding: FlagFinding, unit: Unit | None) -> bool:
    """Whether what the code returns for a micro-batch is a mean, so that it can be weighed by target tokens.

    A mean over the same rows hardly depends on how they are grouped; a sum, or a sum over a fixed number, does.
    """
    if unit is not None:
        return True
    answers: dict[float, list[float]] = {}
    for p in finding.passes:
        if p.step is not None and not p.apart and p.number == 0:
            answers.setdefault(p.step.num_target_tokens, []).append(p.step.mean_nats)
    return all(max(each) - min(each) <= MEANS_AGREE * max(map(abs, each)) for each in answers.values())


def _num_matched(finding: FlagFinding) -> int:
    return len({p.record.id for p in finding.passes if p.forward is not None})


def _unexplained(finding: FlagFinding) -> bool:
    """Whether some pass's loss fits no rule; a gradient that fits none does not ask for another objective."""
    joint = finding.forward is not None and finding.forward.explained
    single = [p.forward for p in finding.passes if p.forward is not None and (p.apart or not joint)]
    return any(not found.explained for found in single)


MEANS_OF_OTHERS = ("token_mean", "mean_of_means", "row_mean")
"""What is right for objectives that mean something else than what their own code counts."""


@dataclass(frozen=True)
class _Reader:
    """Holds passes against the rules under one hypothesis."""

    oracle: OracleRecord
    tolerance: Tolerance
    hypothesis: Hypothesis
    world_size: int
    unit: Unit | None
    may_overflow: bool

    def explain(self, records: Sequence[PassRecord]) -> FlagFinding:
        passes = [self.explain_pass(p, number) for p in records for number in observed_numbers(p) or [0]]
        # The tail of an epoch is a step of another kind; it has no say in what explains the others.
        whole = [p for p in passes if p.step is not None and not p.nonfinite and not p.apart]
        forward = self._match([m for p in whole if (m := reported_losses(p.record, p.step, p.number))])
        gradients = [self._backward(p.record, p.step, p.number) for p in whole]
        complete = [g for g in gradients if g is not None]
        is_one_kind = len(complete) == len(gradients) and len({g.backward for g in complete}) == 1
        behind = self._match(complete) if is_one_kind else None
        passes = [self._with_gradient(p, forward, behind) for p in passes]
        codes = self._codes(passes, forward, behind)
        return FlagFinding(records[0].loss_kwargs, tuple(passes), forward, behind, self.hypothesis, codes)

    def explain_pass(self, record: PassRecord, number: int = 0) -> PassFinding:
        nonfinite = is_nonfinite(record)
        step = optimizer_step(record, self.oracle, self.hypothesis, number, unit=self.unit)
        ratio = _grad_norm_ratio(record, self.oracle, self.hypothesis) if number == 0 else None
        wrong = ratio is not None and abs(ratio - 1) > max(NORM_DIFFERS, self._regrouping)
        if step is None or nonfinite:
            return PassFinding(record, step, None, None, nonfinite, ratio, wrong, number=number)
        losses = reported_losses(record, step, number)
        gradient = self._backward(record, step, number)
        forward = self._match([losses] if losses else [])
        behind = self._match([gradient] if gradient else [])
        right_rule = self._right_rules(step)[0]
        right = self._compare(record, number, step, right_rule)
        whole = right[0] if right else None
        return PassFinding(
            record,
            step,
            forward,
            behind,
            nonfinite,
            ratio if ratio is not None or whole is None else whole.norm_ratio,
            wrong,
            right_gradient=whole,
            number=number,
            right_rule=right_rule,
        )

    def _backward(self, record: PassRecord, step: OptimizerStep | None, number: int) -> Measurement | None:
        return backward(record, step, self.hypothesis, number, unit=self.unit)

    @property
    def _regrouping(self) -> float:
        return SLACK * (self.oracle.noise.gradient_norm or 0.0)

    def _with_gradient(self, finding: PassFinding, forward: Match | None, behind: Match | None) -> PassFinding:
        """Find the rule whose gradient it is that reached the parameters: that of the losses, or else of backward."""
        step, number = finding.step, finding.number
        if step is None or finding.forward is None:
            return finding
        mine = finding.apart or forward is None or forward.rule is None
        losses, grown = (finding.forward, finding.backward) if mine else (forward, behind)
        rule = losses.rule if losses is not None else None
        fitting = (rule,) if rule is not None else losses.fitting if losses is not None else ()
        gradients = self._compare(finding.record, number, step, (*fitting, *self._right_rules(step))[0])
        is_right = any(self._codes_of_rule(each, finding) <= RIGHT for each in fitting)
        found = replace(finding, gradients=gradients, log_is_right=is_right)
        if not gradients:
            return found
        behind_rules = [m.rule for m in (grown, finding.backward) if m is not None and m.rule is not None]
        candidates = (*fitting, *behind_rules, *self._right_rules(step))
        followed = [each for each in candidates if self._follows(finding.record, number, step, each)]
        if not followed:
            return self._with_sum(found, self._right_rules(step)[0]) if _told_at_the_end(finding) else found
        if _differ([each for each in followed if each in fitting], step):
            return found
        is_right = self._codes_of_rule(followed[0], finding) <= RIGHT
        found = replace(found, gradient_rule=followed[0], gradient_is_right=is_right)
        return self._with_sum(found, followed[0])

    def _follows(self, record: PassRecord, number: int, step: OptimizerStep, rule: Rule) -> bool:
        errors = self._compare(record, number, step, rule)
        return bool(errors) and all(map(agrees, errors))

    def _with_sum(self, finding: PassFinding, rule: Rule) -> PassFinding:
        """Take losses for right whose sum is: some Trainers return a step's loss all at its end."""
        losses, step = finding.forward, finding.step
        measured = reported_losses(finding.record, step, finding.number)
        if losses is None or losses.explained or measured is None or rule not in self._right_rules(measured.step):
            return finding
        predicted = math.fsum(measured.predict(rule))
        error = abs(math.fsum(measured.values) - predicted) / abs(predicted) if predicted else math.inf
        # The errors of the micro-batches cancel in it: it is as near as any of them at their best.
        if error > max(measured.tolerances(self._loss_tolerance())):
            return finding
        whole = replace(losses, rule=rule, equivalent=(), best=rule, relative_error=error)
        return replace(finding, forward=whole, log_is_right=True)

    def _compare(
        self, record: PassRecord, number: int, step: OptimizerStep, rule: Rule | None
    ) -> tuple[GradientError, ...]:
        """Hold the gradient before clipping against a rule's."""
        seen = record.steps[number].gradients
        if rule is None or not seen:
            return ()
        multiplied = multipliers(rule, step, self.hypothesis, len(seen[0].with_replays), unit=self.unit)
        if multiplied is None:
            return ()
        whole = gradient_error(seen[0], multiplied)
        if whole is None:
            return ()
        single = [gradient_error(each, multiplied) for each in seen[1:]]
        return (whole, *(each for each in single if each is not None))

    def _right_rules(self, step: OptimizerStep) -> tuple[Rule, ...]:
        """Return the rules that are right for what the training is taken to minimise; that which it means first."""
        token_mean, row_mean = RULES_BY_NAME["token_mean"], RULES_BY_NAME["row_mean"]
        if self.hypothesis == "auxiliary":
            return (replace(token_mean, auxiliary="mean"),)
        if self.hypothesis == "plain" or self.unit in SUMS:
            return (token_mean,)
        own_count = RULES_BY_NAME["own_count_mean"]
        if all(map(math.isfinite, own_count.weights(step))):
            return (own_count,) if self.unit == "own count" else (own_count, token_mean)
        if self.unit == "tokens":
            return (token_mean,)
        by_rows = (row_mean,) if step.num_rows else ()
        return by_rows if by_rows and self.unit == "rows" else (token_mean, *by_rows, RULES_BY_NAME["mean_of_means"])

    def _match(self, measured: Sequence[Measurement]) -> Match | None:
        """Match losses, or weights, which an auxiliary loss does not reach."""
        if not measured:
            return None
        is_weight = measured[0].backward
        tolerance = max(self.tolerance.gradient or self.oracle.noise.resolution, LEAST_OF_GRADIENT)
        rules = rule_table(
            world_size=self.world_size,
            num_processes=max(m.step.num_processes for m in measured),
            auxiliary=self.hypothesis == "auxiliary" and not is_weight,
        )
        if self.hypothesis == "own" and self.unit == "own count":
            rules = tuple(rule for rule in rules if rule.name not in MEANS_OF_OTHERS)
        return match(measured, tolerance if is_weight else self._loss_tolerance(), rules)

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
        codes = set().union(*(self._codes_of_pass(p) for p in passes))
        codes |= self._judge(forward, passes, "forward")
        if any(p.forward is not None and not p.gradients for p in passes):
            codes |= self._by_weights(codes, passes, backward)
        if not codes:
            codes.add("INCONCLUSIVE")
        if len(codes) > 1:
            codes -= RIGHT
        return gravest_first(codes)

    def _codes_of_pass(self, finding: PassFinding) -> set[str]:
        """Return what a pass shows besides its losses: what is not finite, what was refused, its gradient."""
        codes = {"NONFINITE"} if finding.nonfinite else set()
        if finding.spoiled_gradient:
            codes.add("INCONCLUSIVE" if self.may_overflow else "NONFINITE")
        if finding.record.error is not None and finding.record.error.rejects_num_items_in_batch:
            codes.add("LOSS_KWARGS_REJECTED")
        if finding.gradient_rule is not None:
            codes |= self._codes_of_rule(finding.gradient_rule, finding)
        elif finding.wrong_gradient and finding.forward is not None:
            codes.add("UNEXPLAINED")
        return codes

    def _by_weights(self, codes: set[str], passes: Sequence[PassFinding], backward: Match | None) -> set[str]:
        """Judge a gradient of which only the weights at the logits were seen, or its norm."""
        # A gradient too coarse to judge takes nothing from what the loss shows.
        gradient = self._judge(backward, passes, "backward") - {"INCONCLUSIVE"}
        wrong_norm = any(p.wrong_norm for p in passes)
        if "UNEXPLAINED" in gradient and not wrong_norm:
            gradient -= {"UNEXPLAINED"}
        if not gradient and codes & RIGHT and wrong_norm:
            gradient.add("UNEXPLAINED")
        return gradient

    def _judge(self, joint: Match | None, passes: Sequence[PassFinding], side: str) -> set[str]:
        """Return the codes of one side; the joint match speaks where there is one, else each pass for itself."""
        explained = joint is not None and joint.explained
        single = [p for p in passes if p.apart or not explained]
        found = [(m, p) for p in single if (m := getattr(p, side)) is not None]
        if joint is not None and explained:
            found += [(joint, p) for p in passes if p.step is not None and not p.apart]
        return set().union(*(self._codes_of(m, p) for m, p in found)) if found else set()

    def _codes_of(self, found: Match, finding: PassFinding) -> set[str]:
        if found.rule is not None:
            return self._codes_of_rule(found.rule, finding)
        if not found.ambiguous:
            return {"UNEXPLAINED"}
        # What the losses do not tell apart, the gradient does.
        told = finding.gradient_rule if finding.gradient_rule in found.fitting else None
        return self._codes_of_rule(told, finding) if told is not None else {"INCONCLUSIVE"}

    def _codes_of_rule(self, rule: Rule, finding: PassFinding) -> set[str]:
        if self.hypothesis == "plain" and self.unit != "rows":
            return set(rule.codes)
        if rule.right or (self.hypothesis != "auxiliary" and self._is_mean_of_its_own(rule, finding)):
            return {"OTHER_OBJECTIVE"}
        return set(rule.codes)

    def _is_mean_of_its_own(self, rule: Rule, finding: PassFinding) -> bool:
        """Whether a rule is right for an objective that is no mean over target tokens.

        Of one whose unit is not known, the milder reading is taken: rows, or micro-batches.
        """
        step = finding.step
        if step is None or self.unit in SUMS:
            return False
        # Somebody's own count says what it is meant over.
        if _same_shares(rule, RULES_BY_NAME["own_count_mean"], step):
            return True
        if self.unit in ("tokens", "own count"):
            return False
        if self.unit == "rows":
            return _same_shares(rule, RULES_BY_NAME["row_mean"], step)
        near = _nearly_cross_entropy(finding)
        return not near and any(_same_shares(rule, RULES_BY_NAME[n], step) for n in ("row_mean", "mean_of_means"))


def _told_at_the_end(finding: PassFinding) -> bool:
    """Whether the micro-batches report nothing but for the last."""
    *earlier, last = [m.reported_loss_nats for m in observed_step(finding.record, finding.number)] or [0.0]
    return bool(earlier and last) and not any(earlier)


def _differ(rules: Sequence[Rule], step: OptimizerStep) -> bool:
    """Whether rules predict losses that differ by more than a thousandth: noise alone lets all of them fit."""
    first, *others = [rule.contributions(step) for rule in rules] or [()]
    return any(relative_error(other, first) > GRADIENT_AGREES for other in others)


def _same_shares(rule: Rule, other: Rule, step: OptimizerStep) -> bool:
    return rule.weights(step) == other.weights(step)


def _nearly_cross_entropy(finding: PassFinding) -> bool:
    """Whether the own loss is cross-entropy with something besides, which is meant per target token."""
    pairs = _own_and_plain(observed_step(finding.record, finding.number))
    return bool(pairs) and all(abs(own - plain) <= NEARLY_CROSS_ENTROPY * abs(plain) for own, plain in pairs)


def _own_and_plain(micro_batches: Sequence[MicroBatchRecord]) -> list[tuple[float, float]]:
    """Return the own mean loss of every micro-batch beside its cross-entropy, where both are known."""
    seen = [m.observation for m in micro_batches if m.observation is not None]
    return [
        (o.own_mean_nats, o.sum_nats / o.num_target_tokens)
        for o in seen
        if o.own_mean_nats is not None and o.sum_nats is not None and o.num_target_tokens
    ]


def _multiple_of_plain(micro_batches: Sequence[MicroBatchRecord]) -> float:
    """Return how many times the cross-entropy the own loss is, in every micro-batch; 1 where it is no multiple."""
    multiples = [own / plain for own, plain in _own_and_plain(micro_batches) if plain]
    if not multiples or max(multiples) - min(multiples) > GRADIENT_AGREES * abs(multiples[0]):
        return 1.0
    return math.fsum(multiples) / len(multiples)


def _grad_norm_ratio(record: PassRecord, oracle: OracleRecord, hypothesis: Hypothesis) -> float | None:
    """Compare the norm with the right gradient's over the same number of rows.

    The norm that is known is of the own loss: what that multiplies cross-entropy by is no part of what is right.
    """
    first = record.steps[0] if record.steps else None
    if first is None or first.grad_norm is None or not math.isfinite(first.grad_norm):
        return None
    rows = [row for m in first.micro_batches if m.observation is not None for row in m.observation.rows]
    if sorted(rows) != sorted(row.fingerprint for row in oracle.rows[: len(rows)]):
        return None  # other rows than rehearsed
    right = oracle.gradient_norms.get(len(rows))
    multiple = _multiple_of_plain(first.micro_batches) if hypothesis == "plain" else 1.0
    return first.grad_norm / right * multiple if right else None
