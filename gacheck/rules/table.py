"""The rule table: what each way of normalising a loss predicts for every micro-batch, and how grave it is.

A rule is the weight that it gives to each target token of micro-batch m. One formula then predicts two
independent measurements:

    forward    contribution of m to the reported loss  =  weight_m × S_m
    backward   gradient that each target of m received =  weight_m × (its own gradient)

with, for micro-batches m = 1..k of one optimizer step,

    S_m   summed negative log-likelihood, nats          N = Σ n_m
    n_m   target tokens: labels ≠ -100 that are scored  U = Σ u_m
    u_m   label tokens: labels ≠ -100 as given        W   world size
    r_m   rows                                        R = Σ r_m
    c_m   `num_items_in_batch` as the Trainer passed it
    a_m   an auxiliary loss (a router's) that the model adds to its mean over micro-batch m

With several processes the step has the micro-batches of all of them. The log is the mean over the processes, and so
is the gradient: what each of P processes returned counts 1 / P.

The right answer is the token-weighted mean Σ S_m / N, so the right weight is 1 / N, whatever k is. An auxiliary
loss is no sum over tokens; it is right as the mean over the step's micro-batches, a_m / k each.

A rule that does not apply to a step, since it would be another rule under another name, predicts NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

Auxiliary = Literal["absent", "mean", "sum"]
Severity = Literal["ok", "warn", "inconclusive", "fail"]

SEVERITY: dict[str, Severity] = {
    "NONFINITE": "fail",
    "LOSS_KWARGS_REJECTED": "fail",
    "UNEXPLAINED": "fail",
    "LABELS_NOT_SHIFTED": "fail",
    "NOT_NORMALISED": "fail",
    "SCALED_BY_ACCUMULATION": "fail",
    "WORLD_SIZE_SCALED": "fail",
    "DIVIDED_TWICE": "fail",
    "MISALIGNED_COUNT": "fail",
    "AUX_LOSS_SCALED": "fail",
    "SHORT_LAST_STEP": "fail",
    "INCONCLUSIVE": "inconclusive",
    "MEAN_OF_MEANS": "warn",
    "UNSHIFTED_TOKEN_COUNT": "warn",
    "OTHER_OBJECTIVE": "ok",
    "OK": "ok",
}
"""The verdict codes, gravest first: part of the JSON contract. Those without a rule are found otherwise."""

SEVERITY_RANK: dict[Severity, int] = {"ok": 0, "warn": 1, "inconclusive": 2, "fail": 3}

_ORDER = {code: place for place, code in enumerate(SEVERITY)}


def gravest_first(codes: Iterable[str]) -> tuple[str, ...]:
    """Sort codes; the first leads the verdict."""
    return tuple(sorted(codes, key=_ORDER.__getitem__))


def severity_of(code: str) -> Severity:
    """Return the severity of a code."""
    return SEVERITY[code]


SAME_COUNT = 0.01
"""By so little counts may differ, relative, that were rounded to half a precision: they add up."""


@dataclass(frozen=True)
class MicroBatch:
    """S_m, n_m, u_m, c_m, a_m and r_m of one micro-batch; r_m is 0 where it is not known."""

    sum_nats: float
    num_target_tokens: float
    num_label_tokens: int
    num_items_in_batch: float | None = None
    auxiliary_nats: float = 0.0
    process: int = 0
    num_rows: int = 0
    noise: float = 0.0
    """Relative error that rounding alone may give its loss."""
    own_count: float | None = None
    """What somebody's own code counts in it; None where the Trainer counts."""
    own_count_of_step: float | None = None
    """What it counts in the whole step as one micro-batch; None where that was not asked."""


@dataclass(frozen=True)
class OptimizerStep:
    """The micro-batches of one optimizer step, and k as configured."""

    micro_batches: tuple[MicroBatch, ...]
    accumulation_steps: int

    @property
    def num_processes(self) -> int:
        """P: how many processes the micro-batches come from."""
        return len({m.process for m in self.micro_batches})

    def of_process(self, process: int) -> OptimizerStep:
        """Return the part of one process."""
        return replace(self, micro_batches=tuple(m for m in self.micro_batches if m.process == process))

    @property
    def short(self) -> bool:
        """Whether a process has fewer micro-batches than k: the tail of an epoch."""
        return len(self.micro_batches) < self.accumulation_steps * self.num_processes

    @property
    def num_target_tokens(self) -> float:
        """N."""
        return sum(m.num_target_tokens for m in self.micro_batches)

    @property
    def num_label_tokens(self) -> int:
        """U."""
        return sum(m.num_label_tokens for m in self.micro_batches)

    @property
    def num_rows(self) -> int:
        """R; 0 where the rows of a micro-batch are not known."""
        rows = [m.num_rows for m in self.micro_batches]
        return sum(rows) if all(rows) else 0

    @property
    def own_count(self) -> float | None:
        """What the training's own code counts in the step, as it would at k = 1; None where it does not count.

        That is what it counts in all micro-batches together, unless one of the whole step has another count: a constant
        has, or one that is kept from being small.
        """
        counts = [m.own_count for m in self.micro_batches]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return None
        scored = sum(m.own_count for m in self.micro_batches if m.own_count is not None and m.sum_nats)
        # A count of nothing may be kept from being 0: where the step's leaves that out, so does this.
        added = scored if {m.num_items_in_batch for m in self.micro_batches} == {scored} else sum(known)
        whole = self.micro_batches[0].own_count_of_step
        return added if whole is None or abs(whole - added) <= SAME_COUNT * added else whole

    @property
    def mean_nats(self) -> float:
        """The right answer: Σ S_m / N, and Σ a_m / k. Zero where nothing is scored."""
        auxiliary = _over(sum(m.auxiliary_nats for m in self.micro_batches), len(self.micro_batches))
        return _over(sum(m.sum_nats for m in self.micro_batches), self.num_target_tokens) + auxiliary


Weight = Callable[[OptimizerStep, MicroBatch], float]


@dataclass(frozen=True)
class Rule:
    """One way of normalising.

    Attributes:
        name: As in the JSON contract.
        label: The same in words, for tables.
        weight: (step, micro-batch) -> weight of each target token of the micro-batch.
        code: The verdict when this rule explains what was measured.
        auxiliary: How an auxiliary loss enters.
        further_codes: Other faults, of a combined rule.
        factor: By which the auxiliary loss is multiplied; where the rest is too, `weight` holds it already.
    """

    name: str
    label: str
    weight: Weight
    code: str
    auxiliary: Auxiliary = "absent"
    further_codes: tuple[str, ...] = ()
    factor: float = 1.0

    @property
    def right(self) -> bool:
        """Whether this is how it should be."""
        return self.code == "OK" and not self.further_codes

    @property
    def codes(self) -> frozenset[str]:
        """All faults that the rule stands for; `OK` alone if there is none."""
        found = frozenset((self.code, *self.further_codes))
        return found - {"OK"} or found

    def weights(self, step: OptimizerStep) -> tuple[float, ...]:
        """Predict the weight of a target token, per micro-batch (1 / tokens)."""
        return tuple(self.weight(step, m) for m in step.micro_batches)

    def auxiliary_share(self, step: OptimizerStep) -> float:
        """Predict the multiplier of each micro-batch's auxiliary loss."""
        shares = {"absent": 0.0, "mean": 1 / len(step.micro_batches), "sum": 1 / step.num_processes}
        return self.factor * shares[self.auxiliary]

    def contributions(self, step: OptimizerStep) -> tuple[float, ...]:
        """Predict what each micro-batch adds to the reported loss (nats)."""
        share = self.auxiliary_share(step)
        return tuple(self.weight(step, m) * m.sum_nats + share * m.auxiliary_nats for m in step.micro_batches)


def _over(numerator: float, denominator: float) -> float:
    """Divide; a micro-batch that scores nothing weighs nothing."""
    return numerator / denominator if denominator else 0.0


def _row_mean(step: OptimizerStep, m: MicroBatch) -> float:
    """Weigh each micro-batch's mean by its share of the rows."""
    if not step.num_rows:
        return math.nan
    return _over(m.num_rows, step.num_rows * m.num_target_tokens)


def _own_count_mean(step: OptimizerStep, m: MicroBatch) -> float:
    """Weigh each micro-batch's mean by its share of what the training's own code counts."""
    total = step.own_count
    if m.own_count is None or not total:
        return math.nan
    return _over(m.own_count, total * m.num_target_tokens)


def _short_step_over_k(step: OptimizerStep, m: MicroBatch) -> float:
    """Divide by the configured k though the step, the last of an epoch, has fewer micro-batches."""
    if not step.short:
        return math.nan
    return _over(1, step.num_processes * step.accumulation_steps * m.num_target_tokens)


def _short_step_divided_twice(step: OptimizerStep, m: MicroBatch) -> float:
    """Divide once more by how many micro-batches the last step of an epoch has; of a whole step that is by k."""
    return _over(1, len(step.micro_batches) * step.num_target_tokens) if step.short else math.nan


def _misaligned_count(step: OptimizerStep, m: MicroBatch) -> float:
    """Divide by the count that was passed, which is none of this step: not its targets, labels, or own count."""
    if not m.num_items_in_batch or _is_aligned(step) or _is_aligned(step.of_process(m.process)):
        return math.nan
    gathered = len({each.num_items_in_batch for each in step.micro_batches}) == 1
    passed = m.num_items_in_batch * (1 if gathered else step.num_processes)
    # What the training's own code counts in a micro-batch is what its mean is over.
    return 1 / passed if m.own_count is None else _over(m.own_count, passed * m.num_target_tokens)


def _is_aligned(step: OptimizerStep) -> bool:
    counts = {each.num_items_in_batch for each in step.micro_batches}
    if step.own_count is not None:
        return counts == {step.own_count}
    return counts in ({step.num_target_tokens}, {step.num_label_tokens})


def _per_process(step: OptimizerStep, num_tokens: float) -> float:
    """Divide by a process's own count; the mean over the processes follows."""
    return _over(1, step.num_processes * num_tokens)


def _mean_of_means(step: OptimizerStep, m: MicroBatch) -> float:
    return _over(1, len(step.micro_batches) * m.num_target_tokens)


def _scaled_by_k(name: str, label: str, weight: Weight, power: int, *further_codes: str) -> Rule:
    """Return a mean over something else than targets that is k times too large, or too small."""
    code, suffix, words = _BY_K[power]
    return Rule(
        name + suffix,
        label + words,
        lambda step, m: weight(step, m) * step.accumulation_steps**power,
        code,
        further_codes=further_codes,
    )


_BY_K = {1: ("SCALED_BY_ACCUMULATION", "*k", " × k"), -1: ("DIVIDED_TWICE", "_over_k", " / k")}


def _unshifted(step: OptimizerStep, m: MicroBatch) -> float:
    """Divide by the labels as given; of what is counted without labels there are none."""
    if step.num_target_tokens and not step.num_label_tokens:
        return math.nan
    return _over(1, step.num_label_tokens)


# Up to transformers 5.14 a fault of scale finds this one there already.
_UNSHIFTED = ("unshifted_token_mean", "counted before the shift", _unshifted)

# Right for what is meant so. The first times k is the sum of means.
_MEANS: tuple[tuple[str, str, Weight], ...] = (
    ("mean_of_means", "mean of means", _mean_of_means),
    ("row_mean", "mean over rows", _row_mean),
    ("own_count_mean", "mean over a count of its own", _own_count_mean),
)

# Mildest first: where the data cannot tell two rules apart, the first is taken (and a note says so).
RULES: tuple[Rule, ...] = (
    Rule("token_mean", "right", lambda step, m: _over(1, step.num_target_tokens), "OK"),
    *(Rule(*each, "MEAN_OF_MEANS") for each in _MEANS),
    Rule(*_UNSHIFTED, "UNSHIFTED_TOKEN_COUNT"),
    # Of a step with one micro-batch it predicts what dividing twice does.
    Rule("short_step_over_k", "mean of means over the configured k", _short_step_over_k, "SHORT_LAST_STEP"),
    Rule(
        "token_mean_over_k",
        "divided twice",
        lambda step, m: _over(1, step.accumulation_steps * step.num_target_tokens),
        "DIVIDED_TWICE",
    ),
    Rule(
        "short_step_divided_twice",
        "divided twice, by the micro-batches that came",
        _short_step_divided_twice,
        "DIVIDED_TWICE",
    ),
    _scaled_by_k(*_UNSHIFTED, -1, "UNSHIFTED_TOKEN_COUNT"),
    *(_scaled_by_k(*each, -1) for each in _MEANS),
    Rule(
        "sum_of_means",
        "sum of means",
        lambda step, m: _over(1, step.num_processes * m.num_target_tokens),
        "SCALED_BY_ACCUMULATION",
    ),
    Rule(
        "token_mean*k",
        "k times the right loss",
        lambda step, m: _over(step.accumulation_steps, step.num_target_tokens),
        "SCALED_BY_ACCUMULATION",
    ),
    _scaled_by_k(*_UNSHIFTED, 1, "UNSHIFTED_TOKEN_COUNT"),
    *(_scaled_by_k(*each, 1) for each in _MEANS[1:]),
    Rule("sum_over_k", "sum over the tokens / k", lambda step, m: 1 / len(step.micro_batches), "NOT_NORMALISED"),
    Rule("sum", "sum over the tokens", lambda step, m: 1 / step.num_processes, "NOT_NORMALISED"),
    Rule("misaligned_count", "counted over another step", _misaligned_count, "MISALIGNED_COUNT"),
)

RULES_BY_NAME = {rule.name: rule for rule in RULES}

# Of several processes only: in one, they are token_mean and unshifted_token_mean.
PROCESS_RULES: tuple[Rule, ...] = (
    Rule(
        "token_mean_per_process",
        "mean of the processes' means",
        lambda step, m: _per_process(step, step.of_process(m.process).num_target_tokens),
        "MEAN_OF_MEANS",
    ),
    Rule(
        "unshifted_token_mean_per_process",
        "counted before the shift, per process",
        lambda step, m: _per_process(step, step.of_process(m.process).num_label_tokens),
        "MEAN_OF_MEANS",
        further_codes=("UNSHIFTED_TOKEN_COUNT",),
    ),
)


def rule_table(*, world_size: int = 1, num_processes: int = 1, auxiliary: bool = False) -> tuple[Rule, ...]:
    """Return the rules and their combinations, simplest and mildest first.

    Args:
        world_size: W; above 1 every rule can also be off by W, and the auxiliary loss alone.
        num_processes: From how many the micro-batches come.
        auxiliary: Whether the model adds an auxiliary loss.
    """
    rules = (RULES[0], *PROCESS_RULES, *RULES[1:]) if num_processes > 1 else RULES
    combined = rules
    if auxiliary:
        combined = tuple(replace(rule, auxiliary="mean") for rule in rules)
        combined += tuple(_summed_auxiliary(rule) for rule in rules)
    if world_size == 1:
        return combined
    world = float(world_size)
    alone = tuple(_summed_auxiliary(rule, world) for rule in rules) if auxiliary else ()
    times = tuple(_scaled(rule, world, "*W", "× world size") for rule in combined)
    over = tuple(_scaled(rule, 1 / world, "/W", "/ world size") for rule in combined)
    return combined + alone + times + over


def _summed_auxiliary(rule: Rule, factor: float = 1.0) -> Rule:
    """Add the auxiliary loss of every micro-batch, by itself times `factor`."""
    return replace(
        rule,
        name=f"{rule.name}+aux_loss_sum{'' if factor == 1 else '*W'}",
        label=f"{rule.label} + auxiliary loss per micro-batch{'' if factor == 1 else ' × world size'}",
        auxiliary="sum",
        further_codes=(*rule.further_codes, "AUX_LOSS_SCALED"),
        factor=factor,
    )


def _scaled(rule: Rule, factor: float, suffix: str, label: str) -> Rule:
    """Multiply all that the rule adds up."""
    weight = rule.weight
    is_sum = rule.auxiliary == "sum"
    return replace(
        rule,
        name="+".join(part + suffix for part in rule.name.split("+")),
        label=f"({rule.label}) {label}" if is_sum else f"{rule.label} {label}",
        weight=lambda step, m: weight(step, m) * factor,
        further_codes=(*rule.further_codes, "WORLD_SIZE_SCALED"),
        factor=factor,
    )
