"""Which rule fits: recovery of every rule from data that it made, and the ways in which none is named."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gacheck.core.matching import SLACK, Match, Measured, match, relative_error
from gacheck.core.rules import RULES, RULES_BY_NAME, MicroBatch, OptimizerStep, Rule
from tests.builders import optimizer_step

PROPERTY = settings(derandomize=True, max_examples=60, deadline=None)
TOLERANCE = 1e-6

# N = 8, U = 10: the numbers of test_rules.py.
STEP = OptimizerStep((MicroBatch(12.0, 3, 4), MicroBatch(10.0, 5, 6)), 2)
# Both 4 tokens: N = 8, U = 10; mean of means and token mean agree at S / 8.
EQUAL = OptimizerStep((MicroBatch(12.0, 4, 5), MicroBatch(10.0, 4, 5)), 2)
ALONE = OptimizerStep((MicroBatch(22.0, 8, 10),), 1)

# Two tokens at least, so that u = n + 1 < 2 n: else "counted before the shift" can equal "divided twice" at k = 2.
ROWS = st.lists(st.tuples(st.floats(0.5, 1e3), st.integers(2, 200)), min_size=8, max_size=8)


def names(found: Match) -> tuple[str, ...]:
    return tuple(rule.name for rule in found.equivalent)


def made_by(rule: Rule, step: OptimizerStep, *, backward: bool = False, errors: tuple[float, ...] = ()) -> Measured:
    values = rule.weights(step) if backward else rule.contributions(step)
    noise = (*errors, *[0.0] * len(values))
    return Measured(step, tuple(v * (1 + e) for v, e in zip(values, noise, strict=False)), backward)


@PROPERTY
@given(
    rule=st.sampled_from(RULES),
    rows=ROWS,
    ks=st.sets(st.sampled_from([1, 2, 4, 8]), max_size=4).map(lambda ks: sorted(ks | {8})),
    backward=st.booleans(),
    errors=st.lists(st.floats(-TOLERANCE, TOLERANCE), min_size=8, max_size=8).map(tuple),
)
def test_every_rule_is_recovered_from_its_own_data(
    rule: Rule, rows: list[tuple[float, int]], ks: list[int], backward: bool, errors: tuple[float, ...]
) -> None:
    assume(len({n for _, n in rows}) > 1)
    passes = [made_by(rule, optimizer_step(k, rows), backward=backward, errors=errors) for k in ks]

    found = match(passes, TOLERANCE)

    assert found.rule is rule
    assert found.equivalent == ()
    assert not found.ambiguous
    assert found.relative_error <= 2 * TOLERANCE
    assert found.separation is not None
    assert found.separation > SLACK


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_one_pass_is_enough_where_counts_differ(rule: Rule, backward: bool) -> None:
    assert match([made_by(rule, STEP, backward=backward)], TOLERANCE).rule is rule


@pytest.mark.parametrize(
    ("step", "made", "rule", "equivalent"),
    [
        # Equal counts: S/8 and S/(2·4) are one prediction; the mildest is taken, the other listed.
        (EQUAL, "mean_of_means", "token_mean", ("mean_of_means",)),
        (EQUAL, "token_mean", "token_mean", ("mean_of_means",)),
        (EQUAL, "sum_of_means", "sum_of_means", ()),
        # k = 1: one micro-batch is divided by its own 8 tokens under all but the unshifted rule.
        (ALONE, "sum_of_means", "token_mean", ("mean_of_means", "token_mean_over_k", "sum_of_means")),
        (ALONE, "unshifted_token_mean", "unshifted_token_mean", ()),
    ],
)
def test_rules_that_agree_name_the_mildest(
    step: OptimizerStep, made: str, rule: str, equivalent: tuple[str, ...]
) -> None:
    found = match([made_by(RULES_BY_NAME[made], step)], TOLERANCE)

    assert found.rule is RULES_BY_NAME[rule]
    assert found.best is found.rule
    assert names(found) == equivalent
    assert not found.ambiguous


def test_another_k_tells_apart_what_agrees_at_k_1() -> None:
    sums = RULES_BY_NAME["sum_of_means"]

    found = match([made_by(sums, ALONE), made_by(sums, STEP)], TOLERANCE)

    assert (found.rule, found.equivalent) == (sums, ())


def test_too_coarse_a_tolerance_names_no_rule() -> None:
    # Measured is exactly right, (1.5, 1.25). Off by 25 % are both mean of means, (2, 1): 0.5/2 and 0.25/1, and counted
    # before the shift, (1.2, 1.0): 0.3/1.2 and 0.25/1; the milder is named. 25 % is within 4 × 7 %.
    found = match([made_by(RULES_BY_NAME["token_mean"], STEP)], 0.07)

    assert found.ambiguous
    assert found.rule is None
    assert (found.best.name, found.runner_up and found.runner_up.name) == ("token_mean", "mean_of_means")
    # And just outside: 25 % > 4 × 6 %.
    assert match([made_by(RULES_BY_NAME["token_mean"], STEP)], 0.06).rule is RULES_BY_NAME["token_mean"]


def test_what_fits_nothing_is_not_ambiguous() -> None:
    # (1.8, 1.5) is 1.2 × the token mean, (1.5, 1.25); the nearest other, mean of means (2, 1), is 50 % off.
    found = match([Measured(STEP, (1.8, 1.5))], TOLERANCE)

    assert (found.rule, found.ambiguous, found.best.name) == (None, False, "token_mean")
    assert found.relative_error == pytest.approx(0.2)


def test_passes_that_follow_different_rules_have_no_joint_rule() -> None:
    passes = [made_by(RULES_BY_NAME[name], STEP) for name in ("mean_of_means", "sum_of_means")]

    found = match(passes, TOLERANCE)

    assert (found.rule, found.ambiguous) == (None, False)


def test_the_sum_alone_is_no_match() -> None:
    # 1.25 + 1.5 = 2.75 is the right answer in the sum, wrong in each micro-batch: 1.5 and 1.25 are due.
    assert match([Measured(STEP, (1.25, 1.5))], TOLERANCE).rule is None


@pytest.mark.parametrize(
    ("values", "tolerance", "own", "rival", "separation"),
    [
        # Exactly right: the runner-up, mean of means (2, 1), is 0.5/2 = 0.25/1 = 25 % off; 0.25 / 0.001.
        ((1.5, 1.25), 0.001, 0.0, 0.25, 250.0),
        # 2 % too large: (1.53 - 1.5) / 1.5 = 0.02 own; (1.275 - 1) / 1 = 0.275 rival; 0.275 / 0.02.
        ((1.53, 1.275), 0.01, 0.02, 0.275, 13.75),
        # Exactly right and no tolerance: nothing to divide by.
        ((1.5, 1.25), 0.0, 0.0, 0.25, None),
    ],
)
def test_separation_by_hand(
    values: tuple[float, ...], tolerance: float, own: float, rival: float, separation: float | None
) -> None:
    found = match([Measured(STEP, values)], tolerance)

    assert found.rule is RULES_BY_NAME["token_mean"]
    assert found.relative_error == pytest.approx(own)
    assert found.runner_up_error == pytest.approx(rival)
    assert found.separation == (pytest.approx(separation) if separation is not None else None)


def test_no_runner_up_where_all_rules_agree() -> None:
    same = OptimizerStep((MicroBatch(22.0, 8, 8),), 1)

    found = match([made_by(RULES[0], same)], TOLERANCE)

    assert (found.runner_up, found.runner_up_error, found.separation) == (None, None, None)
    assert len(found.equivalent) == len(RULES) - 1


@pytest.mark.parametrize(
    ("measured", "predicted", "error"),
    [
        ((1.5, 1.25), (1.5, 1.25), 0.0),
        ((1.65, 1.25), (1.5, 1.25), 0.1),  # 0.15 / 1.5; the largest counts
        ((1.5, 1.0), (1.5, 1.25), 0.2),  # 0.25 / 1.25
        ((0.0, 4.0), (0.0, 4.0), 0.0),
        ((1.0, 4.0), (0.0, 4.0), 0.5),  # nothing due: relative to the mean prediction, (0 + 4) / 2
        ((3.0, 0.0), (0.0, 0.0), 3.0),  # nothing due anywhere: absolute
        ((1.5,), (1.5, 1.25), math.inf),
        ((1.5, 1.25, 1.0), (1.5, 1.25), math.inf),
        ((math.nan, 1.25), (1.5, 1.25), math.inf),
        ((1.5, math.nan), (1.5, 1.25), math.inf),
        ((math.inf, 1.25), (1.5, 1.25), math.inf),
        ((1.5, 1.25), (1.5, math.nan), math.inf),
        ((1.5, 1.25), (math.nan, 1.25), math.inf),
        ((1.5, 1.25), (1.5, math.inf), math.inf),
    ],
)
def test_relative_error_by_hand(measured: tuple[float, ...], predicted: tuple[float, ...], error: float) -> None:
    assert relative_error(measured, predicted) == pytest.approx(error)


@pytest.mark.parametrize("values", [(math.nan, 1.25), (1.5,)], ids=["nan", "too few"])
def test_what_cannot_be_compared_fits_nothing(values: tuple[float, ...]) -> None:
    found = match([Measured(STEP, values)], TOLERANCE)

    assert (found.rule, found.ambiguous, found.relative_error, found.separation) == (None, False, math.inf, None)
