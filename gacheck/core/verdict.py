"""From findings to a verdict: which code leads, what is affected, which value of the flag is better.

The verdict speaks of `auto`: what a user gets without touching the flag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gacheck.core.figures import PassFigures
from gacheck.core.finding import FlagFinding, PassFinding, Tolerance, agrees
from gacheck.record.attach import AttachRecord
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.rules.facts import Flag, Overrides
from gacheck.rules.matching import Match
from gacheck.rules.table import SEVERITY_RANK, Rule, Severity, rule_table, severity_of

Affects = Literal["log", "gradient", "both", "none"]

_TRAINER_FILE = "transformers/trainer.py"

# A mean of means does harm where the gradient is no longer about the right one, in size or in direction.
HARMFUL_NORM = 0.5
HARMFUL_COSINE = 0.7

RULE_CODES = frozenset(code for rule in rule_table(world_size=2, auxiliary=True) for code in rule.codes if code != "OK")
"""The codes that a rule can stand for."""


@dataclass(frozen=True)
class FlagFacts:
    """The flag, three ways and in use; None where unknown."""

    declared: bool | None
    inferred: bool
    auto: Flag | None
    used_num_items_in_batch: bool | None


@dataclass(frozen=True)
class Case:
    """All that the wording of a verdict needs.

    Attributes:
        code: The gravest code of `auto`.
        auto: What the flag value chosen by the Trainer shows; None if the Trainer's choice was not run.
        other: What the other value shows, if it was run.
        worst: The pass of `auto` with the largest k that has a ratio.
    """

    record: AnyTrainingRecord
    tolerance: Tolerance
    flag: FlagFacts
    figures: tuple[PassFigures, ...]
    code: str
    codes: tuple[str, ...]
    affects: Affects
    auto: FlagFinding | None
    other: FlagFinding | None
    worst: PassFigures | None
    better_flag: Flag | None
    remaining: str | None

    @property
    def severity(self) -> Severity:
        """Of the leading code; that of a mean of means depends on what it did to the gradient."""
        return "fail" if self.code == "MEAN_OF_MEANS" and self.does_harm else severity_of(self.code)

    @property
    def furthest_gradient(self) -> PassFigures | None:
        """The pass of `auto` whose gradient is furthest from the right one; None where none was measured."""
        seen = [f for f in self.figures if self.auto is not None and f.loss_kwargs == self.auto.flag]
        return max((f for f in seen if _distance(f)), key=_distance, default=None)

    @property
    def does_harm(self) -> bool:
        """Whether some gradient is no longer about the right one."""
        seen = [f for f in self.figures if self.auto is not None and f.loss_kwargs == self.auto.flag]
        norms = [f.grad_norm_ratio for f in seen if f.grad_norm_ratio is not None]
        cosines = [f.grad_cosine for f in seen if f.grad_cosine is not None]
        return any(abs(n - 1) > HARMFUL_NORM for n in norms) or any(c < HARMFUL_COSINE for c in cosines)

    @property
    def attached(self) -> AttachRecord | None:
        """The record of a training that was attached to; None of a run."""
        return self.record if isinstance(self.record, AttachRecord) else None

    @property
    def telling(self) -> PassFinding | None:
        """Return the first pass whose own losses, or else weights, carry the leading code."""
        passes = self.auto.passes if self.auto is not None else ()
        for found in ("forward", "backward"):
            for p in passes:
                each: Match | None = getattr(p, found)
                if each is not None and each.rule is not None and self.code in each.rule.codes:
                    return p
        return None

    @property
    def rule(self) -> Rule | None:
        """The rule that explains the losses of all passes, or else the gradient."""
        found = [self.auto.forward, self.auto.backward] if self.auto is not None else []
        rules = [each.rule for each in found if each is not None and each.rule is not None]
        return next((rule for rule in rules if self.code in rule.codes), rules[0] if rules else None)

    @property
    def first_nonfinite(self) -> PassFigures | None:
        """Return the first pass of `auto` that returned a loss which is no finite number."""
        flag = self.auto.flag if self.auto is not None else None
        return next((f for f in self.figures if f.nonfinite and f.loss_kwargs == flag), None)

    @property
    def gradient_unseen(self) -> bool:
        """Whether losses were judged of which nothing is known of the gradient."""
        return self.auto is not None and any(p.gradient_unseen for p in self.auto.passes)

    @property
    def strangest_gradient(self) -> PassFinding | None:
        """Return the pass whose gradient is furthest from that of the rule of its losses, where one is another."""
        wrong = [p for p in self.auto.passes if p.wrong_gradient] if self.auto is not None else []
        return max(wrong, key=lambda p: p.gradients[0].relative, default=None)

    @property
    def overrides(self) -> Overrides:
        """What the training's own code puts in the place of transformers'; nothing where that was not read."""
        return self.record.oracle.overrides or Overrides()

    @property
    def flag_changes_nothing(self) -> bool:
        """Whether the other value of the flag was tried and gave the same rule."""
        found = [f.forward if f is not None else None for f in (self.auto, self.other)]
        names = [each.rule.name if each is not None and each.rule is not None else None for each in found]
        return names[0] is not None and names[0] == names[1]

    @property
    def times_k(self) -> bool:
        """Whether the training's own code was seen to return k times as much at k as at 1."""
        return self.auto is not None and any(p.record.own_loss.times_k for p in self.auto.passes)

    @property
    def subclass(self) -> str | None:
        """Name the Trainer's subclass whose own `compute_loss` computes the loss; None where it is the model."""
        name = self.record.setup.trainer_class
        return name.rsplit(":", 1)[-1] if name is not None and self.is_own_computation else None

    @property
    def is_own_computation(self) -> bool:
        """Whether the loss was seen to be computed in a compute_loss that is not the Trainer's."""
        frames = self.record.oracle.loss_location
        return bool(frames) and frames[0].function == "compute_loss" and not frames[0].file.endswith(_TRAINER_FILE)

    @property
    def per_process(self) -> bool:
        """Whether each process takes its own mean, and the mean over the processes is what remains."""
        found = self.auto.forward if self.auto is not None else None
        return found is not None and found.rule is not None and "per_process" in found.rule.name

    @property
    def only_tails(self) -> bool:
        """Whether the leading fault shows at the end of an epoch alone."""
        return self.telling is not None and self.telling.apart

    def at(self, accumulation_steps: int, flag: Flag | None) -> PassFigures | None:
        """Return the figures of the pass at one (k, flag)."""
        for f in self.figures:
            if (f.accumulation_steps, f.loss_kwargs) == (accumulation_steps, flag) and f.ran:
                return f
        return None


def _distance(figures: PassFigures) -> float:
    """Return how far a gradient is from the right one, in norm or in direction; 0 where that was not measured."""
    ratio, cosine = figures.grad_norm_ratio, figures.grad_cosine
    return max(0.0 if ratio is None else abs(ratio - 1), 0.0 if cosine is None else 1 - cosine)


def build_case(
    record: AnyTrainingRecord, findings: Sequence[FlagFinding], figures: tuple[PassFigures, ...], tolerance: Tolerance
) -> Case:
    """Decide everything about the verdict except its words."""
    flag = read_flag(record)
    by_flag = {f.flag: f for f in findings}
    chosen = flag.auto
    auto = by_flag.get(chosen) if chosen else None
    other = next((f for f in findings if f.flag != chosen), None) if chosen else None
    codes = auto.codes if auto is not None else ("INCONCLUSIVE",)
    figures_of_auto = [f for f in figures if f.loss_kwargs == chosen and f.ratio is not None]
    worst = max(figures_of_auto, key=lambda f: f.accumulation_steps, default=None)
    better = _better(auto, other, worst)
    return Case(
        record=record,
        tolerance=tolerance,
        flag=flag,
        figures=figures,
        code=codes[0],
        codes=codes,
        affects=_affects(auto),
        auto=auto,
        other=other,
        worst=worst,
        better_flag=better.flag if better else None,
        remaining=better.codes[0] if better and severity_of(better.codes[0]) != "ok" else None,
    )


def read_flag(record: AnyTrainingRecord) -> FlagFacts:
    """Read the flag's four values from the record."""
    oracle, model = record.oracle, record.model
    chosen = [p.auto_loss_kwargs for p in record.passes if p.auto_loss_kwargs is not None]
    used = None
    if oracle.counted_loss_error is None and oracle.counted_loss_nats is not None and oracle.plain_loss_nats:
        # The count handed over was twice the target tokens: a model that divides by it returns half its mean.
        used = oracle.counted_loss_nats / oracle.plain_loss_nats < 0.75
    return FlagFacts(model.accepts_loss_kwargs_declared, model.forward_has_kwargs, chosen[0] if chosen else None, used)


def _better(auto: FlagFinding | None, other: FlagFinding | None, worst: PassFigures | None) -> FlagFinding | None:
    """Return the other value's finding where it is known to be milder."""
    if auto is None or other is None or _rank(other) >= SEVERITY_RANK["inconclusive"]:
        return None
    # Of what nothing explains, nobody knows what another value mends, unless all is right with it.
    if auto.codes[0] == "INCONCLUSIVE" or (auto.codes[0] == "UNEXPLAINED" and _rank(other) > SEVERITY_RANK["ok"]):
        return None
    tried = {p.record.accumulation_steps for p in other.passes if p.forward is not None}
    if worst is not None and worst.accumulation_steps not in tried:
        return None
    return other if _rank(other) < _rank(auto) else None


def _rank(finding: FlagFinding) -> float:
    """Rank by severity; a fault of the last step of an epoch alone is milder than one of every step."""
    if finding.codes[0] == "SHORT_LAST_STEP":
        return (SEVERITY_RANK["warn"] + SEVERITY_RANK["inconclusive"]) / 2
    return SEVERITY_RANK[severity_of(finding.codes[0])]


def _affects(auto: FlagFinding | None) -> Affects:
    """Say where the leading fault shows: a lesser one may stand in the log beside a graver one in the gradient."""
    if auto is None:
        return "none"
    code = auto.codes[0]
    if severity_of(code) == "ok":
        return "none"
    if code == "NONFINITE":
        return "both" if any(p.nonfinite for p in auto.passes) else "gradient"
    if code == "LABELS_NOT_SHIFTED":
        return "both"
    explained = auto.forward is not None and auto.forward.rule is not None
    in_log = any(_log_shows(code, p, p.forward if p.apart or not explained else auto.forward) for p in auto.passes)
    in_gradient = any(_gradient_shows(code, p, auto) for p in auto.passes)
    if in_log:
        return "both" if in_gradient else "log"
    return "gradient" if in_gradient else "none"


def _shows(code: str, found: Match | None) -> bool:
    """Whether a match is one of the faults that the code names; of any, where the code names none of the table."""
    if found is None or found.rule is None:
        return found is not None
    return _shows_rule(code, found.rule)


def _log_shows(code: str, finding: PassFinding, found: Match | None) -> bool:
    return finding.forward is not None and _shows(code, found) and (code in RULE_CODES or not finding.log_is_right)


def _shows_rule(code: str, rule: Rule) -> bool:
    return code in rule.codes if code in RULE_CODES else not rule.right


def _gradient_shows(code: str, finding: PassFinding, auto: FlagFinding) -> bool:
    if finding.gradients:
        rule, right = finding.gradient_rule, finding.right_gradient
        if finding.gradient_is_right or (rule is not None and right is not None and agrees(right)):
            return False  # at k = 1 it is that of most rules, the right one among them
        # Of losses that nothing explains, the gradient is what nothing explains either.
        return code == "UNEXPLAINED" if rule is None else _shows_rule(code, rule)
    joint = auto.forward is not None and auto.forward.rule is not None and not finding.apart
    forward, backward = (auto.forward, auto.backward) if joint else (finding.forward, finding.backward)
    if finding.forward is None:
        return False
    if code == "UNEXPLAINED" and (backward is None or backward.rule is None):
        return True
    rule = forward.rule if forward is not None else None
    # The weights of the logits say nothing of an auxiliary loss.
    seen = rule is None or rule.auxiliary != "sum"
    if backward is not None and backward.rule is not None and (seen or not backward.rule.right):
        return _shows(code, backward)
    return finding.wrong_norm
