"""Which rule fits what was measured, and how surely.

Sums alone are weak evidence: on a random net the mean of means differs from the token-weighted mean by
a thousandth in the sum, by tens of per cent per micro-batch. So a rule is held against the vector of
micro-batches, and against the vectors of all k jointly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gacheck.rules.table import RULES, OptimizerStep, Rule

# The tolerance is the largest of a few dozen measured errors of correct arithmetic. Another error of the same
# origin can be a little larger than the largest seen; a fault worth naming is larger by orders of magnitude.
SLACK = 4.0

# Predictions that differ by less than float64 can hold are the same prediction.
SAME_PREDICTION = 1e-9


@dataclass(frozen=True)
class Measurement:
    """An optimizer step of a pass, forward or backward: a measured vector and what explains it.

    Attributes:
        step: S_m, n_m, u_m and k.
        values: Measurement, one per micro-batch: reported losses (nats) or weights (1 / tokens).
        backward: Whether `values` are weights.
        noise: Relative error that each value may have by itself, besides what all have; none: that of the losses.
    """

    step: OptimizerStep
    values: tuple[float, ...]
    backward: bool = False
    noise: tuple[float, ...] = ()

    def tolerances(self, tolerance: float, rule: Rule | None = None) -> tuple[float, ...]:
        """Return the relative error that correct arithmetic may show, per micro-batch.

        Args:
            tolerance: That all have.
            rule: That predicts it. An auxiliary loss is known to the rounding of the whole loss that it is a part of:
                a rule that multiplies it multiplies that.
        """
        times = rule.auxiliary_share(self.step) * len(self.step.micro_batches) if rule and not self.backward else 1.0
        own = self.noise or (tuple(m.noise for m in self.step.micro_batches) if not self.backward else ())
        return tuple(tolerance + max(1.0, times) * each for each in own) or (tolerance,) * len(self.values)

    def predict(self, rule: Rule) -> tuple[float, ...]:
        """Return what `rule` predicts for `values`."""
        return rule.weights(self.step) if self.backward else rule.contributions(self.step)


@dataclass(frozen=True)
class Match:
    """The rule that explains one or several passes.

    Attributes:
        rule: The mildest rule that fits; None if none does, or several that predict different things do.
        equivalent: Other rules that predict the same on this data.
        fitting: All rules that fit within the tolerance, mildest first.
        ambiguous: Several rules with different predictions fit within the tolerance.
        relative_error: Largest relative error over the micro-batches of the best rule.
        best: The rule with the smallest error, whether it fits or not.
        runner_up: The best rule that predicts something else; None if all predict the same.
        separation: Runner-up's error / max(own error, tolerance).
    """

    rule: Rule | None
    equivalent: tuple[Rule, ...]
    ambiguous: bool
    relative_error: float
    best: Rule
    runner_up: Rule | None
    runner_up_error: float | None
    separation: float | None
    fitting: tuple[Rule, ...] = ()

    @property
    def explained(self) -> bool:
        """Whether some rule fits, or more than one does."""
        return self.rule is not None or self.ambiguous


def relative_errors(measured: Sequence[float], predicted: Sequence[float]) -> tuple[float, ...]:
    """Return the error of every micro-batch, relative to its own prediction.

    A micro-batch that scores nothing is predicted as 0; its error is taken relative to the mean prediction.
    Infinite where the lengths differ or a value on either side is not finite.
    """
    if len(measured) != len(predicted) or not all(map(math.isfinite, (*measured, *predicted))):
        return (math.inf,)
    typical = sum(map(abs, predicted)) / len(predicted)
    return tuple(abs(value - wanted) / (abs(wanted) or typical or 1.0) for value, wanted in zip(measured, predicted))


def relative_error(measured: Sequence[float], predicted: Sequence[float]) -> float:
    """Return the largest of the relative errors."""
    return max(relative_errors(measured, predicted))


def _excess(measurement: Measurement, rule: Rule, tolerance: float) -> float:
    """Return the largest error of a micro-batch in units of what correct arithmetic may show there."""
    errors = relative_errors(measurement.values, measurement.predict(rule))
    allowed = measurement.tolerances(tolerance, rule)
    return max((e / t if t else (math.inf if e else 0.0)) for e, t in zip(errors, (*allowed, tolerance)))


def match(passes: Sequence[Measurement], tolerance: float, rules: Sequence[Rule] = RULES) -> Match:
    """Find the rule that explains all `passes` jointly.

    Args:
        passes: At least one.
        tolerance: Relative error that correct arithmetic shows, measured; beside that of each micro-batch by itself.
        rules: Mildest first.
    """
    # A rule that does not apply predicts NaN; where all do, a sum is not finite and nothing fits.
    rules = [r for r in rules if all(map(math.isfinite, (v for p in passes for v in p.predict(r))))] or list(rules)
    errors = {r.name: max(relative_error(p.values, p.predict(r)) for p in passes) for r in rules}
    excess = {r.name: max(_excess(p, r, tolerance) for p in passes) for r in rules}
    rules = _without_needless(rules, {name for name, each in excess.items() if each <= SLACK})
    best = min(rules, key=lambda r: (excess[r.name], errors[r.name]))
    own = errors[best.name]
    same = [r for r in rules if _same_prediction(passes, r, best)]
    others = [r for r in rules if r not in same]
    runner_up = min(others, key=lambda r: (excess[r.name], errors[r.name]), default=None)
    rival = errors[runner_up.name] if runner_up is not None else None
    fits = excess[best.name] <= SLACK
    ambiguous = fits and runner_up is not None and excess[runner_up.name] <= SLACK
    noise = max([own, *(max(p.tolerances(tolerance)) for p in passes)])
    return Match(
        rule=same[0] if fits and not ambiguous else None,
        equivalent=tuple(same[1:]),
        ambiguous=ambiguous,
        relative_error=own,
        best=same[0],
        runner_up=runner_up,
        runner_up_error=rival,
        separation=_separation(rival, noise),
        fitting=tuple(r for r in rules if excess[r.name] <= SLACK),
    )


def _without_needless(rules: Sequence[Rule], fitting: set[str]) -> list[Rule]:
    """Leave out a rule of several faults where the gravest of them by itself fits as well."""
    simple = {r.code for r in rules if r.name in fitting and not r.further_codes} - {"OK"}
    return [r for r in rules if not (r.further_codes and r.code in simple and r.name in fitting)]


def _separation(rival: float | None, noise: float) -> float | None:
    return rival / noise if rival is not None and noise > 0 and math.isfinite(noise) else None


def _same_prediction(passes: Sequence[Measurement], one: Rule, other: Rule) -> bool:
    return one is other or all(relative_error(p.predict(one), p.predict(other)) <= SAME_PREDICTION for p in passes)
