"""Which rule fits: recovery of every rule from data that it made, and the ways in which none is named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gacheck.rules.matching import SLACK, Match, Measurement, match, relative_error
from gacheck.rules.table import RULES, RULES_BY_NAME, MicroBatch, OptimizerStep, Rule, rule_table
from tests.builders import optimizer_step

PROPERTY = settings(derandomize=True, max_examples=60, deadline=None)
TOLERANCE = 1e-6

# N = 8, U = 10: the numbers of test_rules.py.
STEP = OptimizerStep((MicroBatch(12.0, 3, 4), MicroBatch(10.0, 5, 6)), 2)
# Both 4 tokens: N = 8, U = 10; mean of means and token mean agree at S / 8.
EQUAL = OptimizerStep((MicroBatch(12.0, 4, 5), MicroBatch(10.0, 4, 5)), 2)
ALONE = OptimizerStep((MicroBatch(22.0, 8, 10),), 1)
ONE_ROW_EACH = replace(STEP, micro_batches=tuple(replace(m, num_rows=1) for m in STEP.micro_batches))
ONE_TARGET_EACH = OptimizerStep((MicroBatch(2.0, 1, 2), MicroBatch(3.0, 1, 2)), 2)
# With a count of 13 passed.
COUNTED = OptimizerStep((MicroBatch(12.0, 3, 4, 13.0), MicroBatch(10.0, 5, 6, 13.0)), 2)

# Two tokens at least, so that u = n + 1 < 2 n: else "counted before the shift" can equal "divided twice" at k = 2.
ROWS = st.lists(st.tuples(st.floats(0.5, 1e3), st.integers(2, 200)), min_size=8, max_size=8)
# Any rows: equal counts, one token, two rules that agree by chance.
ANY_ROWS = st.lists(st.tuples(st.floats(0.5, 1e3), st.integers(1, 12)), min_size=8, max_size=8)
ERRORS = st.lists(st.floats(-TOLERANCE, TOLERANCE), min_size=8, max_size=8).map(tuple)


def names(found: Match) -> tuple[str, ...]:
    return tuple(rule.name for rule in found.equivalent)


def made_by(rule: Rule, step: OptimizerStep, *, backward: bool = False, errors: tuple[float, ...] = ()) -> Measurement:
    values = rule.weights(step) if backward else rule.contributions(step)
    noise = (*errors, *[0.0] * len(values))
    return Measurement(step, tuple(v * (1 + e) for v, e in zip(values, noise, strict=False)), backward)


def steps_of(
    rows: Sequence[tuple[float, int]], ks: Sequence[int], *, short: bool, count: float | None, auxiliary: float = 0.0
) -> list[OptimizerStep]:
    """Return the first steps of passes at these k; short ones lack their last micro-batch."""
    return [
        optimizer_step(k, rows, num_micro_batches=k - 1 if short else None, count=count, auxiliary=auxiliary)
        for k in ks
        if k > 1 or not short
    ]


def of_rows(step: OptimizerStep) -> OptimizerStep:
    """Give every micro-batch a number of rows of its own."""
    return replace(step, micro_batches=tuple(replace(m, num_rows=1 + i) for i, m in enumerate(step.micro_batches)))


def of_counts(step: OptimizerStep) -> OptimizerStep:
    """Let somebody's own code count something else than rows and tokens."""
    counted = (replace(m, own_count=1.0 + (i * i) % 7) for i, m in enumerate(step.micro_batches))
    return replace(step, micro_batches=tuple(counted))


def foreign_count(rows: Sequence[tuple[float, int]]) -> float:
    """Return a count that is no N, no U and no multiple by 2, 4 or 8 of N."""
    return 2.0 * sum(n + 1 for _, n in rows) + 1


def applies(rule: Rule, steps: Sequence[OptimizerStep]) -> bool:
    return all(math.isfinite(w) for step in steps for w in rule.weights(step))


@PROPERTY
@given(
    rule=st.sampled_from(RULES),
    rows=ROWS,
    ks=st.sets(st.sampled_from([1, 2, 4, 8]), max_size=4).map(lambda ks: sorted(ks | {8})),
    short=st.booleans(),
    backward=st.booleans(),
    errors=ERRORS,
)
def test_every_rule_is_recovered_from_its_own_data(
    rule: Rule,
    rows: list[tuple[float, int]],
    ks: list[int],
    short: bool,
    backward: bool,
    errors: tuple[float, ...],
) -> None:
    # The last row is missing in a short step at k = 8.
    assume(len({n for _, n in rows[:7]}) > 1)
    # One k alone can make k / N what another rule predicts, 1 / k at N = k².
    assume(len(ks) > 1 or sum(n for _, n in rows) != 64)
    steps = steps_of(rows, ks, short=short or rule.name.startswith("short_step"), count=foreign_count(rows))
    if rule.name.startswith(("row_mean", "own_count_mean")):
        steps = [(of_rows if rule.name.startswith("row_mean") else of_counts)(step) for step in steps]
        assume(any(len(step.micro_batches) > 1 for step in steps))

    found = match([made_by(rule, step, backward=backward, errors=errors) for step in steps], TOLERANCE)

    assert found.rule is rule
    assert found.equivalent == ()
    assert not found.ambiguous
    assert found.relative_error <= 2 * TOLERANCE
    assert found.separation is not None
    assert found.separation > SLACK


@settings(PROPERTY, max_examples=200)
@given(
    world_size=st.sampled_from([1, 2, 3]),
    rows=ANY_ROWS,
    ks=st.sets(st.sampled_from([1, 2, 4, 8]), min_size=1).map(sorted),
    short=st.booleans(),
    count=st.none() | st.integers(1, 200).map(float),
    auxiliary=st.sampled_from([0.0, 1e-6, 0.02, 3.0]),
    backward=st.booleans(),
    errors=ERRORS,
    data=st.data(),
)
def test_no_combination_is_taken_for_one_that_predicts_something_else(
    world_size: int,
    rows: list[tuple[float, int]],
    ks: list[int],
    short: bool,
    count: float | None,
    auxiliary: float,
    backward: bool,
    errors: tuple[float, ...],
    data: st.DataObject,
) -> None:
    table = rule_table(world_size=world_size, auxiliary=True)
    steps = steps_of(rows, ks, short=short, count=count, auxiliary=auxiliary)
    possible = [rule for rule in table if steps and applies(rule, steps)]
    assume(possible)
    rule = data.draw(st.sampled_from(possible))

    found = match([made_by(rule, step, backward=backward, errors=errors) for step in steps], TOLERANCE, table)

    if found.rule is None:
        assert found.ambiguous
    else:
        # Of those that predict the same, the first of the table.
        assert table.index(found.rule) <= table.index(rule)
        if rule.name not in (found.rule.name, *names(found)):
            # The gravest of its faults alone predicts the same within the tolerance.
            assert rule.further_codes
            assert any(each.code == rule.code != "OK" and not each.further_codes for each in found.fitting)


def recovered(rule: Rule, table: Sequence[Rule], steps: Sequence[OptimizerStep], *, backward: bool = False) -> bool:
    """Whether what a rule made is explained by that rule alone."""
    found = match([made_by(rule, step, backward=backward) for step in steps], TOLERANCE, table)
    return found.rule is rule and not found.equivalent


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_combination_is_recovered_where_counts_differ(world_size: int) -> None:
    # Where k = W, sum of means / W is the mean of means; another k tells them apart.
    rows = [(12.0, 3), (10.0, 5), (7.0, 2), (30.0, 9), (11.0, 4), (26.0, 7), (9.0, 3), (40.0, 11)]
    table = rule_table(world_size=world_size, auxiliary=True)
    whole, short = (
        [of_counts(of_rows(step)) for step in steps_of(rows, [1, 2, 4, 8], short=short, count=101.0, auxiliary=0.5)]
        for short in (False, True)
    )

    assert [
        rule.name
        for rule in table
        if not recovered(rule, table, short if rule.name.startswith("short_step") else whole)
    ] == []


@PROPERTY
@given(
    rule=st.sampled_from(rule_table(world_size=2, auxiliary=True)),
    rows=ROWS,
    short=st.booleans(),
    backward=st.booleans(),
    errors=ERRORS,
    factor=st.sampled_from([2.0**-7, 0.5, 2.0, 1024.0]),
    data=st.data(),
)
def test_order_and_scale_change_nothing_about_the_match(
    rule: Rule,
    rows: list[tuple[float, int]],
    short: bool,
    backward: bool,
    errors: tuple[float, ...],
    factor: float,
    data: st.DataObject,
) -> None:
    (step,) = steps_of(rows, [8], short=short, count=foreign_count(rows), auxiliary=0.25)
    assume(applies(rule, [step]))
    made = made_by(rule, step, backward=backward, errors=errors)
    order = data.draw(st.permutations(range(len(step.micro_batches))))
    table = rule_table(world_size=2, auxiliary=True)

    shuffled = Measurement(
        replace(step, micro_batches=tuple(step.micro_batches[i] for i in order)),
        tuple(made.values[i] for i in order),
        backward,
    )
    # Powers of two round nothing; the weights of the backward pass do not know of the losses' scale.
    scaled = Measurement(
        replace(
            step,
            micro_batches=tuple(
                replace(m, sum_nats=m.sum_nats * factor, auxiliary_nats=m.auxiliary_nats * factor)
                for m in step.micro_batches
            ),
        ),
        made.values if backward else tuple(v * factor for v in made.values),
        backward,
    )

    found = match([made], TOLERANCE, table)
    for changed in (match([shuffled], TOLERANCE, table), match([scaled], TOLERANCE, table)):
        assert [changed.rule, *names(changed), changed.ambiguous] == [found.rule, *names(found), found.ambiguous]
        # The mean of a step's predictions sums them in another order; nothing else does.
        assert changed.relative_error == pytest.approx(found.relative_error, rel=1e-6, abs=1e-15)
        assert changed.runner_up_error == pytest.approx(found.runner_up_error, rel=1e-6)


@pytest.mark.parametrize("backward", [False, True])
def test_one_pass_is_enough_where_counts_differ(backward: bool) -> None:
    steps = {
        "short_step_over_k": replace(STEP, accumulation_steps=4),
        "short_step_divided_twice": replace(STEP, accumulation_steps=4),
        "misaligned_count": COUNTED,
        **{name: of_rows(STEP) for name in RULES_BY_NAME if name.startswith("row_mean")},
        **{name: of_counts(STEP) for name in RULES_BY_NAME if name.startswith("own_count_mean")},
    }

    assert [r.name for r in RULES if not recovered(r, RULES, [steps.get(r.name, STEP)], backward=backward)] == []


@pytest.mark.parametrize(
    ("step", "made", "rule", "equivalent"),
    [
        # Equal counts: S/8 and S/(2·4) are one prediction; the mildest is taken, the other listed.
        (EQUAL, "mean_of_means", "token_mean", ("mean_of_means",)),
        (EQUAL, "token_mean", "token_mean", ("mean_of_means",)),
        # k times too large either way: S/4, and 2 S/8.
        (EQUAL, "sum_of_means", "sum_of_means", ("token_mean*k",)),
        # k = 1: one micro-batch is divided by its own 8 tokens under all but the unshifted rule.
        (
            ALONE,
            "sum_of_means",
            "token_mean",
            ("mean_of_means", "token_mean_over_k", "mean_of_means_over_k", "sum_of_means", "token_mean*k"),
        ),
        (
            ALONE,
            "unshifted_token_mean",
            "unshifted_token_mean",
            ("unshifted_token_mean_over_k", "unshifted_token_mean*k"),
        ),
        # 1 row in each: a share of the rows is one of the micro-batches.
        (ONE_ROW_EACH, "row_mean", "mean_of_means", ("row_mean",)),
        # 1 target in each: its mean is its sum.
        (ONE_TARGET_EACH, "sum", "sum_of_means", ("token_mean*k", "sum")),
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
    # Measurement is exactly right, (1.5, 1.25). Off by 25 % are both mean of means, (2, 1): 0.5/2 and 0.25/1, and
    # counted before the shift, (1.2, 1.0): 0.3/1.2 and 0.25/1; the milder is named. 25 % is within 4 × 7 %.
    found = match([made_by(RULES_BY_NAME["token_mean"], STEP)], 0.07)

    assert found.ambiguous
    assert found.rule is None
    assert (found.best.name, found.runner_up and found.runner_up.name) == ("token_mean", "mean_of_means")
    # And just outside: 25 % > 4 × 6 %.
    assert match([made_by(RULES_BY_NAME["token_mean"], STEP)], 0.06).rule is RULES_BY_NAME["token_mean"]


def test_what_fits_nothing_is_not_ambiguous() -> None:
    # (1.8, 1.5) is 1.2 × the token mean, (1.5, 1.25); the nearest other, mean of means (2, 1), is 50 % off.
    found = match([Measurement(STEP, (1.8, 1.5))], TOLERANCE)

    assert (found.rule, found.ambiguous, found.best.name) == (None, False, "token_mean")
    assert found.relative_error == pytest.approx(0.2)


def test_passes_that_follow_different_rules_have_no_joint_rule() -> None:
    passes = [made_by(RULES_BY_NAME[name], STEP) for name in ("mean_of_means", "sum_of_means")]

    found = match(passes, TOLERANCE)

    assert (found.rule, found.ambiguous) == (None, False)


def test_the_sum_alone_is_no_match() -> None:
    # 1.25 + 1.5 = 2.75 is the right answer in the sum, wrong in each micro-batch: 1.5 and 1.25 are due.
    assert match([Measurement(STEP, (1.25, 1.5))], TOLERANCE).rule is None


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
    found = match([Measurement(STEP, values)], tolerance)

    assert found.rule is RULES_BY_NAME["token_mean"]
    assert found.relative_error == pytest.approx(own)
    assert found.runner_up_error == pytest.approx(rival)
    assert found.separation == (pytest.approx(separation) if separation is not None else None)


def test_the_gravest_of_several_faults_is_taken_alone_where_it_fits() -> None:
    # Counted before the shift, 200 and 202 are one per cent apart; the tolerance is coarser.
    step = OptimizerStep((MicroBatch(300.0, 90, 91), MicroBatch(330.0, 110, 111)), 2)
    coarse, fine = 0.01, 1e-6

    for made in ("token_mean*k", "unshifted_token_mean*k"):
        found = match([made_by(RULES_BY_NAME[made], step)], coarse)
        assert found.rule is RULES_BY_NAME["token_mean*k"]
        assert match([made_by(RULES_BY_NAME[made], step)], fine).rule is RULES_BY_NAME[made]
    # What is right and what is not are told apart, or neither is taken.
    assert match([made_by(RULES_BY_NAME["unshifted_token_mean"], step)], coarse).ambiguous


def test_no_runner_up_where_all_rules_agree() -> None:
    same = OptimizerStep((MicroBatch(22.0, 1, 1),), 1)

    found = match([made_by(RULES[0], same)], TOLERANCE)

    assert (found.runner_up, found.runner_up_error, found.separation) == (None, None, None)
    # All that apply: the step is not short, no count was passed, nothing is known of rows or of counts of one's own.
    assert {rule.name for rule in RULES} - {RULES[0].name, *names(found)} == {
        "short_step_over_k",
        "short_step_divided_twice",
        "misaligned_count",
        *(name for name in RULES_BY_NAME if name.startswith(("row_mean", "own_count_mean"))),
        # Of several faults, where one by itself predicts the same.
        *(rule.name for rule in RULES if rule.further_codes),
    }


def test_a_rule_that_does_not_apply_to_one_pass_explains_none_jointly() -> None:
    # Right at k = 1, where c = N; divided by 13 at k = 2, where N = 8. Each for itself has its rule.
    alone = replace(ALONE, micro_batches=(MicroBatch(22.0, 8, 10, 8.0),))
    passes = [made_by(RULES[0], alone), made_by(RULES_BY_NAME["misaligned_count"], COUNTED)]

    assert match(passes, TOLERANCE).rule is None
    assert [found.rule.name for p in passes if (found := match([p], TOLERANCE)).rule] == [
        "token_mean",
        "misaligned_count",
    ]


def test_a_short_step_by_hand() -> None:
    # 12/(4·3) and 10/(4·5). The next best, the mean over tokens divided by the 2 that came, says (0.75, 0.625).
    found = match([Measurement(replace(STEP, accumulation_steps=4), (1.0, 0.5))], TOLERANCE)

    assert (found.rule, found.equivalent) == (RULES_BY_NAME["short_step_over_k"], ())
    assert found.runner_up is not None
    assert (found.runner_up.name, found.runner_up_error) == ("short_step_divided_twice", pytest.approx(1 / 3))


def test_a_short_step_of_one_micro_batch_has_two_names() -> None:
    one = OptimizerStep((MicroBatch(12.0, 3, 4),), 4)

    found = match([made_by(RULES_BY_NAME["short_step_over_k"], one)], TOLERANCE)

    assert {found.rule and found.rule.name, *names(found)} == {
        "short_step_over_k",
        "token_mean_over_k",
        "mean_of_means_over_k",
    }


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


def test_sums_that_are_not_finite_fit_nothing() -> None:
    step = OptimizerStep((MicroBatch(math.nan, 3, 4), MicroBatch(10.0, 5, 6)), 2)

    found = match([Measurement(step, (1.5, 1.25))], TOLERANCE)

    assert (found.rule, found.ambiguous, found.relative_error) == (None, False, math.inf)


@pytest.mark.parametrize("values", [(math.nan, 1.25), (1.5,)], ids=["nan", "too few"])
def test_what_cannot_be_compared_fits_nothing(values: tuple[float, ...]) -> None:
    found = match([Measurement(STEP, values)], TOLERANCE)

    assert (found.rule, found.ambiguous, found.relative_error, found.separation) == (None, False, math.inf, None)


@pytest.mark.parametrize("backward", [False, True])
def test_every_rule_of_several_processes_is_recovered(backward: bool) -> None:
    # Three processes with four micro-batches each, no two counts alike; three, lest W and k be mistaken.
    micro_batches = tuple(
        MicroBatch(
            10.0 + 3 * i,
            3 + i * i,
            5 + i * i + i,
            1001.0 + process,
            process=process,
            num_rows=1 + i % 5,
            own_count=1.0 + i % 3,
        )
        for process in range(3)
        for i in range(4 * process, 4 * process + 4)
    )
    table = rule_table(world_size=3, num_processes=3)
    whole, short = (OptimizerStep(tuple(m for i, m in enumerate(micro_batches) if i % 4 < n), 4) for n in (4, 2))

    assert [
        rule.name
        for rule in table
        if not recovered(rule, table, [short if rule.name.startswith("short") else whole], backward=backward)
    ] == []


# --- the tolerance of each micro-batch by itself ------------------------------------------------------------------

# Cross-entropy of 12 and 10 nats over 3 and 5 targets, and a third that is nearly known by heart: 2 targets cost
# 0.002 nats, of which rounding may change a tenth. N = 10: shares 1.2, 1.0 and 0.0002.
HARD = (MicroBatch(12.0, 3, 4), MicroBatch(10.0, 5, 6))
BY_HEART = MicroBatch(0.002, 2, 3, noise=0.1)
MEMORISED = OptimizerStep((*HARD, BY_HEART), 3)
SHARES = (1.2, 1.0, 0.0002)


@pytest.mark.parametrize("error", [-0.39, -0.1, 0.0, 0.1, 0.39])
def test_a_row_that_is_known_by_heart_does_not_accuse(error: float) -> None:
    found = match([Measurement(MEMORISED, (1.2, 1.0, 0.0002 * (1 + error)))], TOLERANCE)

    assert found.rule is RULES_BY_NAME["token_mean"]
    # The error itself is told as it is.
    assert found.relative_error == pytest.approx(abs(error))


def test_off_by_more_than_its_noise_it_does() -> None:
    # Slack is 4 times a tenth.
    assert match([Measurement(MEMORISED, (1.2, 1.0, 0.0002 * 1.41))], TOLERANCE).rule is None
    # And without noise it is as exact as the others.
    exact = replace(MEMORISED, micro_batches=(*HARD, replace(BY_HEART, noise=0.0)))
    assert match([Measurement(exact, (1.2, 1.0, 0.0002 * 1.01))], TOLERANCE).rule is None


@pytest.mark.parametrize("other", [0, 1])
def test_it_does_not_hide_what_is_wrong_elsewhere(other: int) -> None:
    # 1 % off in a micro-batch of which rounding may change a millionth.
    losses = [loss * (1.01 if i == other else 1) for i, loss in enumerate(SHARES)]

    found = match([Measurement(MEMORISED, tuple(losses))], TOLERANCE)

    assert (found.rule, found.ambiguous) == (None, False)


def test_nor_what_is_wrong_in_another_step() -> None:
    right, wrong = made_by(RULES_BY_NAME["token_mean"], MEMORISED), Measurement(STEP, (1.515, 1.25))

    assert match([right], TOLERANCE).rule is not None
    assert match([right, wrong], TOLERANCE).rule is None


@pytest.mark.parametrize("name", ["mean_of_means", "sum_of_means", "unshifted_token_mean", "sum"])
def test_the_others_tell_the_rules_apart(name: str) -> None:
    # The third alone could not tell what was counted before the shift, 13/10 off, from the right one.
    made = made_by(RULES_BY_NAME[name], MEMORISED, errors=(0.0, 0.0, 0.3))

    found = match([made], TOLERANCE)

    assert (found.rule, found.equivalent, found.ambiguous) == (RULES_BY_NAME[name], (), False)


def test_noise_of_all_micro_batches_makes_it_ambiguous() -> None:
    step = replace(STEP, micro_batches=tuple(replace(m, noise=0.07) for m in STEP.micro_batches))

    assert match([made_by(RULES_BY_NAME["token_mean"], step)], TOLERANCE).ambiguous


def test_weights_have_a_noise_of_their_own() -> None:
    # What the losses may be off by says nothing of the gradient, and the other way round.
    rule = RULES_BY_NAME["token_mean"]
    off = tuple(w * (1 + e) for w, e in zip(rule.weights(MEMORISED), (0.0, 0.0, 0.1), strict=True))

    assert match([Measurement(MEMORISED, off, True)], TOLERANCE).rule is None
    assert match([Measurement(MEMORISED, off, True, noise=(0.0, 0.0, 0.05))], TOLERANCE).rule is rule
    assert match([Measurement(MEMORISED, off, True, noise=(0.05, 0.0, 0.0))], TOLERANCE).rule is None


def test_separation_is_over_the_largest_noise() -> None:
    # The runner-up, counted before the shift, is 3/10 off; a tenth may be rounding.
    found = match([made_by(RULES_BY_NAME["token_mean"], MEMORISED)], TOLERANCE)

    assert found.runner_up is not None
    assert found.runner_up_error is not None
    assert found.separation == pytest.approx(found.runner_up_error / (0.1 + TOLERANCE))


def test_without_any_tolerance_only_what_is_exact_fits() -> None:
    exact = made_by(RULES_BY_NAME["token_mean"], STEP)

    assert match([exact], 0.0).rule is RULES_BY_NAME["token_mean"]
    assert match([Measurement(STEP, (1.5 * (1 + 1e-12), 1.25))], 0.0).rule is None


def test_an_auxiliary_loss_is_known_to_the_rounding_of_the_whole() -> None:
    # Four micro-batches in each of four processes: what each adds is a sixteenth of what its own loss rounds.
    noise, off = 1e-7, 1e-6
    known = tuple(
        MicroBatch(5.0 * 10, 10, 10, 160.0, 0.002, process, noise=noise) for process in range(4) for _ in "kkkk"
    )
    step = OptimizerStep(known, 4)
    table = rule_table(world_size=4, auxiliary=True)
    rule = next(each for each in table if each.name == "token_mean+aux_loss_sum*W")
    values = tuple(value * (1 + off) for value in rule.contributions(step))

    found = match([Measurement(step, values)], noise, table)

    assert found.explained
    assert rule in found.fitting
    # Where nothing multiplies the auxiliary loss, nothing multiplies its rounding.
    right = RULES_BY_NAME["token_mean"]
    assert (
        right
        not in match(
            [Measurement(step, tuple(value * (1 + off) for value in right.contributions(step)))], noise, table
        ).fitting
    )
