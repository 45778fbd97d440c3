"""A step's gradient against the one that a rule predicts, from their inner products alone.

With g the gradient that reached the parameters, v_m that of micro-batch m's replay and c_m the rule's multiplier of it,
the rule predicts p = Σ c_m v_m, and

    ⟨g, p⟩ = Σ c_m ⟨g, v_m⟩        ‖p‖² = Σ c_m c_n ⟨v_m, v_n⟩        ‖g − p‖² = ‖g‖² − 2 ⟨g, p⟩ + ‖p‖²
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gacheck.rules.facts import SUMS, GradientProducts, Unit
from gacheck.rules.matching import SLACK
from gacheck.rules.steps import Hypothesis
from gacheck.rules.table import OptimizerStep, Rule


@dataclass(frozen=True)
class GradientError:
    """How far a gradient is from the one that a rule predicts.

    Attributes:
        parameter: Of one parameter; None: of all of them.
        norm_ratio: Its norm over the predicted one's.
        cosine: Between the two.
        relative: Norm of the difference over the predicted norm; infinite where none was predicted.
        noise: What rounding may make of that.
    """

    parameter: str | None
    norm_ratio: float
    cosine: float
    relative: float
    noise: float


def multipliers(
    rule: Rule, step: OptimizerStep, hypothesis: Hypothesis, num_replays: int, *, unit: Unit | None = None
) -> tuple[float, ...] | None:
    """Return a rule's multiplier of each replay's gradient; None if the replays do not tell.

    Args:
        rule: That explains the losses, say.
        step: Of k micro-batches.
        hypothesis: What the training is taken to minimise.
        num_replays: k where every replay is of plain cross-entropy, or all of the own loss; 2 k where there are both,
            first the plain ones.
        unit: What a replay of the own loss is the gradient of is a mean over, or that it is a sum.
    """
    count = len(step.micro_batches)
    is_sum = unit in SUMS and hypothesis == "own"
    weights = [w * (1 if is_sum else m.num_target_tokens) for w, m in zip(rule.weights(step), step.micro_batches)]
    share = rule.auxiliary_share(step)
    if not all(map(math.isfinite, weights)) or num_replays not in (count, 2 * count):
        return None
    nothing = [0.0] * count
    if num_replays == count:
        return None if share else tuple(weights)
    if hypothesis == "plain":
        return (*weights, *nothing)
    if hypothesis == "own":
        return (*nothing, *weights)
    return (*(w - share for w in weights), *[share] * count)


def gradient_error(products: GradientProducts, multiplied: Sequence[float]) -> GradientError | None:
    """Compare a gradient with Σ c_m v_m; None where there is nothing of either, or it is not finite."""
    size = len(products.with_replays)
    with_rule = math.fsum(c * each for c, each in zip(multiplied, products.with_replays))
    gram = products.among_replays
    rule_square = math.fsum(
        multiplied[i] * multiplied[j] * gram[i * (i + 1) // 2 + j] * (1 if i == j else 2)
        for i in range(size)
        for j in range(i + 1)
    )
    square = products.square
    if not all(map(math.isfinite, (square, with_rule, rule_square))):
        return None
    norm, predicted = math.sqrt(max(square, 0.0)), math.sqrt(max(rule_square, 0.0))
    difference = math.sqrt(max(square - 2 * with_rule + rule_square, 0.0))
    if not predicted:
        if norm <= SLACK * products.noise:
            return None
        return GradientError(products.parameter, math.inf, 0.0, math.inf, 0.0)
    return GradientError(
        parameter=products.parameter,
        norm_ratio=norm / predicted,
        cosine=with_rule / (norm * predicted) if norm else 0.0,
        relative=difference / predicted,
        noise=products.noise / predicted,
    )


def multiple(products: GradientProducts, replay: int = 0) -> tuple[float, float] | None:
    """Return b with which b v is nearest to the gradient, and the norm of what is left over that of b v.

    None where the replay has no gradient.
    """
    square = products.among_replays[replay * (replay + 1) // 2 + replay]
    if not square or not math.isfinite(square) or not math.isfinite(products.square):
        return None
    factor = products.with_replays[replay] / square
    left = max(products.square - factor * factor * square, 0.0)
    explained = abs(factor) * math.sqrt(square)
    return factor, math.sqrt(left) / explained if explained else math.inf
