"""A gradient against a rule's, from inner products alone: two replays in the plane, so that a ruler can check it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gacheck.rules.facts import GradientProducts
from gacheck.rules.gradients import GradientError, gradient_error, multiple, multipliers
from gacheck.rules.steps import Hypothesis
from gacheck.rules.table import RULES_BY_NAME, MicroBatch, OptimizerStep, rule_table

Vector = tuple[float, ...]

# N = 8; the shares of its tokens are 3/8 and 5/8, of its rows 1/4 and 3/4.
STEP = OptimizerStep((MicroBatch(12.0, 3, 4, num_rows=1), MicroBatch(10.0, 5, 6, num_rows=3)), 2)
RULES = {rule.name: rule for rule in rule_table(world_size=2, auxiliary=True)} | RULES_BY_NAME


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def products(
    gradient: Vector, replays: Sequence[Vector], *, noise: float = 0.0, parameter: str | None = None
) -> GradientProducts:
    return GradientProducts(
        parameter=parameter,
        square=dot(gradient, gradient),
        with_replays=tuple(dot(gradient, v) for v in replays),
        among_replays=tuple(dot(replays[i], replays[j]) for i in range(len(replays)) for j in range(i + 1)),
        noise=noise,
    )


def error_of(gradient: Vector, replays: Sequence[Vector], multiplied: Sequence[float], **more: float) -> GradientError:
    found = gradient_error(products(gradient, replays, **more), multiplied)
    assert found is not None
    return found


# --- by what a rule multiplies each replay ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "multiplied"),
    [
        ("token_mean", (3 / 8, 5 / 8)),
        ("mean_of_means", (1 / 2, 1 / 2)),
        ("sum_of_means", (1, 1)),
        ("row_mean", (1 / 4, 3 / 4)),
        ("sum", (3, 5)),
        ("token_mean_over_k", (3 / 16, 5 / 16)),
        ("token_mean*W", (3 / 4, 5 / 4)),
        ("unshifted_token_mean", (3 / 10, 5 / 10)),
    ],
)
@pytest.mark.parametrize(
    ("hypothesis", "num_replays", "before", "after"),
    [
        # Cross-entropy is all there is, or there is none of it.
        ("plain", 2, 0, 0),
        ("own", 2, 0, 0),
        # Both were taken, the plain ones first.
        ("plain", 4, 0, 2),
        ("own", 4, 2, 0),
    ],
)
def test_multipliers(
    rule: str, multiplied: Vector, hypothesis: Hypothesis, num_replays: int, before: int, after: int
) -> None:
    plain_rule = replace(RULES[rule], auxiliary="absent")
    wanted = (0.0,) * before + multiplied + (0.0,) * after

    assert multipliers(plain_rule, STEP, hypothesis, num_replays) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("rule", "multiplied"), [("sum", (1, 1)), ("sum_over_k", (1 / 2, 1 / 2)), ("token_mean", (1 / 8, 1 / 8))]
)
def test_multipliers_of_a_loss_that_is_a_sum(rule: str, multiplied: Vector) -> None:
    # What the replay is the gradient of is the sum itself, and not the mean.
    assert multipliers(RULES_BY_NAME[rule], STEP, "own", 4, unit="sum") == pytest.approx((0, 0, *multiplied))
    # Of cross-entropy it is the mean, whatever the own loss is.
    plain = multipliers(RULES_BY_NAME[rule], STEP, "plain", 4)
    assert multipliers(RULES_BY_NAME[rule], STEP, "plain", 4, unit="sum") == plain


@pytest.mark.parametrize(
    ("rule", "multiplied"),
    [
        # With v of cross-entropy and w of all, w − v is the auxiliary loss's: n/N v + (w − v) / 2.
        ("token_mean", (3 / 8 - 1 / 2, 5 / 8 - 1 / 2, 1 / 2, 1 / 2)),
        ("token_mean+aux_loss_sum", (3 / 8 - 1, 5 / 8 - 1, 1, 1)),
        ("token_mean+aux_loss_sum*W", (3 / 8 - 2, 5 / 8 - 2, 2, 2)),
        # The mean of means of the whole is as good: the plain ones fall out.
        ("mean_of_means", (0, 0, 1 / 2, 1 / 2)),
    ],
)
def test_multipliers_of_an_auxiliary_loss(rule: str, multiplied: Vector) -> None:
    auxiliary = {each.name: each for each in rule_table(world_size=2, auxiliary=True)}[rule]

    assert multipliers(auxiliary, STEP, "auxiliary", 4) == pytest.approx(multiplied)
    # The loss's own gradient beside cross-entropy's was not taken.
    assert multipliers(auxiliary, STEP, "auxiliary", 2) is None


def test_several_processes_share_the_mean() -> None:
    # Two micro-batches, one a process: each mean counts half, and a sum of a process's means is its mean.
    step = replace(STEP, micro_batches=(STEP.micro_batches[0], replace(STEP.micro_batches[1], process=1)))

    assert multipliers(RULES_BY_NAME["token_mean"], step, "plain", 2) == pytest.approx((3 / 8, 5 / 8))
    assert multipliers(RULES_BY_NAME["sum_of_means"], step, "plain", 2) == pytest.approx((1 / 2, 1 / 2))


@pytest.mark.parametrize(
    ("rule", "num_replays"), [("token_mean", 1), ("token_mean", 3), ("token_mean", 0), ("misaligned_count", 2)]
)
def test_without_its_replays_a_rule_predicts_no_gradient(rule: str, num_replays: int) -> None:
    assert multipliers(RULES_BY_NAME[rule], STEP, "plain", num_replays) is None


def test_a_micro_batch_without_targets_is_multiplied_by_nothing() -> None:
    step = OptimizerStep((MicroBatch(0.0, 0, 0), MicroBatch(10.0, 5, 6)), 2)

    assert multipliers(RULES_BY_NAME["mean_of_means"], step, "plain", 2) == pytest.approx((0, 1 / 2))


# --- how far off it is --------------------------------------------------------------------------------------------

UPRIGHT: tuple[Vector, Vector] = ((1.0, 0.0), (0.0, 1.0))
ASLANT: tuple[Vector, Vector] = ((3.0, 0.0), (2.0, 2.0))


@pytest.mark.parametrize(
    ("gradient", "replays", "multiplied", "ratio", "cosine", "relative"),
    [
        ((3, 4), UPRIGHT, (3, 4), 1, 1, 0),
        ((6, 8), UPRIGHT, (3, 4), 2, 1, 1),
        ((-3, -4), UPRIGHT, (3, 4), 1, -1, 2),
        ((-4, 3), UPRIGHT, (3, 4), 1, 0, math.sqrt(2)),
        # The whole of the one and nothing of the other: 3 of 5, at cosine 3/5.
        ((3, 0), UPRIGHT, (3, 4), 3 / 5, 3 / 5, 4 / 5),
        # p = (3, 0) + 2 (2, 2) = (7, 4); g is right by the half, (3.5, 2).
        ((7, 4), ASLANT, (1, 2), 1, 1, 0),
        ((3.5, 2), ASLANT, (1, 2), 1 / 2, 1, 1 / 2),
        # p = (3, 0) − (2, 2) = (1, −2), and g is off by 4 along the second axis: 4 / √5, cosine (1 − 4) / 5.
        ((1, 2), ASLANT, (1, -1), 1, -3 / 5, 4 / math.sqrt(5)),
        # Nothing arrived.
        ((0, 0), UPRIGHT, (3, 4), 0, 0, 1),
        # What was not to arrive did: infinitely far off.
        ((3, 4), UPRIGHT, (0, 0), math.inf, 0, math.inf),
        # A replay that adds nothing.
        ((3, 0), ((1, 0), (0, 0)), (3, 4), 1, 1, 0),
    ],
)
def test_error_by_hand(
    gradient: Vector,
    replays: Sequence[Vector],
    multiplied: Vector,
    ratio: float,
    cosine: float,
    relative: float,
) -> None:
    found = error_of(gradient, replays, multiplied)

    assert (found.norm_ratio, found.cosine) == (pytest.approx(ratio), pytest.approx(cosine))
    assert found.relative == pytest.approx(relative, abs=1e-7)


def test_noise_is_relative_to_what_is_predicted() -> None:
    assert error_of((6, 8), UPRIGHT, (3, 4), noise=0.5).noise == pytest.approx(0.1)
    # Where nothing is predicted, what rounding may make of nothing is nothing; more than that is infinitely far off.
    assert gradient_error(products((0.3, 0.4), UPRIGHT, noise=0.5), (0, 0)) is None
    # Noise is that of a few roundings, and may be more: as where something is predicted.
    assert gradient_error(products((0.9, 1.2), UPRIGHT, noise=0.5), (0, 0)) is None
    more = error_of((1.5, 2.0), UPRIGHT, (0, 0), noise=0.5)
    assert (more.relative, more.noise) == (math.inf, 0)


@pytest.mark.parametrize("parameter", [None, "head.weight"])
def test_it_says_of_which_parameter(parameter: str | None) -> None:
    found = gradient_error(products((1, 0), UPRIGHT, parameter=parameter), (1, 0))

    assert found is not None
    assert found.parameter == parameter


@pytest.mark.parametrize(
    ("gradient", "replays", "multiplied"),
    [
        ((0, 0), UPRIGHT, (0, 0)),
        ((0, 0), ((0, 0), (0, 0)), (3, 4)),
        ((math.nan, 0), UPRIGHT, (3, 4)),
        ((math.inf, 0), UPRIGHT, (3, 4)),
        ((1, 0), ((math.nan, 0), (0, 1)), (3, 4)),
        ((1, 0), UPRIGHT, (math.nan, 1)),
    ],
    ids=["nothing of either", "no replay has any", "nan", "inf", "nan in a replay", "nan multiplier"],
)
def test_nothing_to_compare(gradient: Vector, replays: Sequence[Vector], multiplied: Vector) -> None:
    assert gradient_error(products(gradient, replays), multiplied) is None


def test_roundings_do_not_make_it_imaginary() -> None:
    # ‖g‖² − 2 ⟨g, p⟩ + ‖p‖² of equal vectors can come out a little below 0.
    tiny = replace(products((1, 0), UPRIGHT), square=1.0, with_replays=(1.0 + 1e-15, 0.0))
    found = gradient_error(tiny, (1.0, 0.0))

    assert found is not None
    assert found.relative < 1e-7


# --- by how much of a replay it grew ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gradient", "replay", "factor", "left"),
    [
        ((3, 4), (3, 4), 1, 0),
        ((1.5, 2), (3, 4), 1 / 2, 0),
        ((-3, -4), (3, 4), -1, 0),
        ((2, 1), (1, 0), 2, 1 / 2),  # 2 along it and 1 across
        ((0, 1), (1, 0), 0, math.inf),  # only across
    ],
)
def test_multiple_by_hand(gradient: Vector, replay: Vector, factor: float, left: float) -> None:
    found = multiple(products(gradient, [replay]))

    assert found == (pytest.approx(factor), pytest.approx(left, abs=1e-7))


def test_multiple_of_the_second_replay() -> None:
    # Of plain cross-entropy (1, 0), and of the own loss (3, 4): g is twice the latter.
    both = products((6, 8), [(1, 0), (3, 4)])

    assert multiple(both, 1) == (pytest.approx(2), pytest.approx(0, abs=1e-7))
    assert multiple(both, 0) == (pytest.approx(6), pytest.approx(8 / 6))


@pytest.mark.parametrize(
    ("gradient", "replay"),
    [((1, 0), (0, 0)), ((math.nan, 0), (1, 0)), ((1, 0), (math.inf, 0)), ((1, 0), (math.nan, 0))],
)
def test_no_multiple(gradient: Vector, replay: Vector) -> None:
    assert multiple(products(gradient, [replay])) is None
