"""The rule table, on numbers that a person can check, then on properties."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacheck.rules.table import (
    RULES,
    RULES_BY_NAME,
    SEVERITY,
    SEVERITY_RANK,
    MicroBatch,
    OptimizerStep,
    Rule,
    rule_table,
)
from tests.builders import rule_named

PROPERTY = settings(derandomize=True, max_examples=60, deadline=None)

# S = (12, 10), n = (3, 5), u = (4, 6), k = 2; so N = 3 + 5 = 8 and U = 4 + 6 = 10.
BY_HAND = OptimizerStep((MicroBatch(12.0, 3, 4), MicroBatch(10.0, 5, 6)), 2)
# The same with c = 16 passed, and as the tail of an epoch at k = 4.
COUNTED = OptimizerStep((MicroBatch(12.0, 3, 4, 16.0), MicroBatch(10.0, 5, 6, 16.0)), 2)
SHORT = OptimizerStep(BY_HAND.micro_batches, 4)
# The same with a = (0.5, 0.25): right is 2.75 + (0.5 + 0.25) / 2 = 3.125.
ROUTED = OptimizerStep((MicroBatch(12.0, 3, 4, None, 0.5), MicroBatch(10.0, 5, 6, None, 0.25)), 2)
# The same of 1 and 3 rows: R = 4.
OF_ROWS = OptimizerStep(
    (MicroBatch(12.0, 3, 4, num_rows=1), MicroBatch(10.0, 5, 6, num_rows=3)),
    2,
)
# The same where somebody's own code counts 1 and 4 of 5.
OWN_COUNTS = OptimizerStep((MicroBatch(12.0, 3, 4, own_count=1.0), MicroBatch(10.0, 5, 6, own_count=4.0)), 2)
STEPS = {
    "short_step_over_k": SHORT,
    "short_step_divided_twice": SHORT,
    "misaligned_count": COUNTED,
    **dict.fromkeys(("row_mean", "row_mean_over_k", "row_mean*k"), OF_ROWS),
    **dict.fromkeys(("own_count_mean", "own_count_mean_over_k", "own_count_mean*k"), OWN_COUNTS),
}

#                        weights             contributions: 12 × the first, 10 × the second
EXPECTED = {
    "token_mean": ((1 / 8, 1 / 8), (1.5, 1.25)),  # 1/N; the sum is 22/8 = 2.75, the right answer
    "mean_of_means": ((1 / 6, 1 / 10), (2.0, 1.0)),  # 1/(2·3), 1/(2·5); the sum is (12/3 + 10/5)/2 = 3
    "row_mean": ((1 / 12, 3 / 20), (1.0, 1.5)),  # 1/(4·3), 3/(4·5); the sum is (1·12/3 + 3·10/5)/4 = 2.5
    "own_count_mean": ((1 / 15, 4 / 25), (0.8, 1.6)),  # 1/(5·3), 4/(5·5); the sum is (1·12/3 + 4·10/5)/5 = 2.4
    "unshifted_token_mean": ((1 / 10, 1 / 10), (1.2, 1.0)),  # 1/U; 2.2 is too small by (10 - 8)/10
    "short_step_over_k": ((1 / 12, 1 / 20), (1.0, 0.5)),  # 1/(4·3), 1/(4·5): the configured 4, though 2 came
    "token_mean_over_k": ((1 / 16, 1 / 16), (0.75, 0.625)),  # 1/(2·8); 1.375 is half of 2.75
    "short_step_divided_twice": ((1 / 16, 1 / 16), (0.75, 0.625)),  # 1/(2·8): the 2 that came
    "unshifted_token_mean_over_k": ((1 / 20, 1 / 20), (0.6, 0.5)),  # half of 1/10
    "mean_of_means_over_k": ((1 / 12, 1 / 20), (1.0, 0.5)),  # half of 1/6, 1/10
    "row_mean_over_k": ((1 / 24, 3 / 40), (0.5, 0.75)),  # half of 1/12, 3/20
    "own_count_mean_over_k": ((1 / 30, 2 / 25), (0.4, 0.8)),  # half of 1/15, 4/25
    "sum_of_means": ((1 / 3, 1 / 5), (4.0, 2.0)),  # 12/3, 10/5; the sum is 6, twice the mean of means
    "token_mean*k": ((2 / 8, 2 / 8), (3.0, 2.5)),  # 2/8; 5.5 is twice 2.75
    "unshifted_token_mean*k": ((2 / 10, 2 / 10), (2.4, 2.0)),  # twice 1/10
    "row_mean*k": ((1 / 6, 3 / 10), (2.0, 3.0)),  # twice 1/12, 3/20
    "own_count_mean*k": ((2 / 15, 8 / 25), (1.6, 3.2)),  # twice 1/15, 4/25
    "sum_over_k": ((1 / 2, 1 / 2), (6.0, 5.0)),  # the 2 that came
    "sum": ((1.0, 1.0), (12.0, 10.0)),  # 22 is 8 times 2.75
    "misaligned_count": ((1 / 16, 1 / 16), (0.75, 0.625)),  # 1/c
}

MICRO_BATCH = st.tuples(st.floats(0.0, 1e4), st.integers(1, 500), st.integers(0, 20)).map(
    lambda t: MicroBatch(t[0], t[1], t[1] + t[2])
)
STEP = st.lists(MICRO_BATCH, min_size=1, max_size=8).map(lambda m: OptimizerStep(tuple(m), len(m)))
WORLD_SIZE = st.sampled_from([1, 2, 3])
ANY_RULE = st.sampled_from(RULES)
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def close(values: object) -> object:
    return pytest.approx(values, rel=1e-12, abs=1e-300)


def fit(step: OptimizerStep, rule: Rule) -> OptimizerStep:
    """Make the step one to which the rule applies: a short one, or of known rows with a count that is no N or U."""
    if rule.name.startswith("short_step"):
        return replace(step, accumulation_steps=len(step.micro_batches) + 1)
    count = 2.0 * step.num_label_tokens + 1
    changed = (
        replace(m, num_items_in_batch=count, num_rows=1 + i % 3, own_count=1.0 + i % 2)
        for i, m in enumerate(step.micro_batches)
    )
    return replace(step, micro_batches=tuple(changed))


@every_rule
def test_by_hand(rule: Rule) -> None:
    weights, contributions = EXPECTED[rule.name]
    step = STEPS.get(rule.name, BY_HAND)

    assert rule.weights(step) == close(weights)
    assert rule.contributions(step) == close(contributions)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("short_step_over_k", BY_HAND),  # a whole step: that is the mean of means
        ("short_step_divided_twice", BY_HAND),  # a whole step: that is dividing by k
        ("misaligned_count", BY_HAND),  # no count was passed
        ("misaligned_count", OptimizerStep((MicroBatch(12.0, 3, 4, 3.0),), 1)),  # c = N: that is right
        ("misaligned_count", OptimizerStep((MicroBatch(12.0, 3, 4, 4.0),), 1)),  # c = U: counted before the shift
        ("misaligned_count", OptimizerStep((MicroBatch(12.0, 3, 4, 0.0),), 1)),  # nothing to divide by
        ("row_mean", BY_HAND),  # nothing is known of the rows
        ("row_mean", replace(OF_ROWS, micro_batches=(*OF_ROWS.micro_batches, MicroBatch(9.0, 3, 4)))),  # nor of all
        ("own_count_mean", BY_HAND),  # the Trainer counts
        ("own_count_mean", replace(OWN_COUNTS, micro_batches=(*OWN_COUNTS.micro_batches, MicroBatch(9.0, 3, 4)))),
        ("own_count_mean", OptimizerStep((MicroBatch(12.0, 3, 4, own_count=0.0),), 1)),  # nothing to divide by
    ],
)
def test_a_rule_that_would_be_another_predicts_nothing(name: str, step: OptimizerStep) -> None:
    assert all(map(math.isnan, RULES_BY_NAME[name].contributions(step)))


def counted_itself(passed: float, *counts: float | None, nats: tuple[float, ...] = (12.0, 10.0)) -> OptimizerStep:
    pairs = zip(nats, counts, strict=True)
    return OptimizerStep(tuple(MicroBatch(s, 2, 0, passed, own_count=c) for s, c in pairs), 2)


def test_another_count_than_its_own_by_hand() -> None:
    # The means are 6 and 5, over 1 and 4 of what the code counts; 10 is passed instead of 5.
    rule = RULES_BY_NAME["misaligned_count"]

    assert rule.contributions(counted_itself(10.0, 1.0, 4.0)) == close((0.6, 2.0))
    assert all(map(math.isnan, rule.contributions(counted_itself(5.0, 1.0, 4.0))))


def test_a_count_of_nothing_that_is_kept_from_being_0_is_left_out_where_the_step_leaves_it_out() -> None:
    nothing = counted_itself(4.0, 1.0, 4.0, nats=(0.0, 10.0))

    assert nothing.own_count == 4.0
    assert RULES_BY_NAME["own_count_mean"].contributions(nothing) == close((0.0, 5.0))
    assert counted_itself(5.0, 1.0, 4.0, nats=(0.0, 10.0)).own_count == 5.0
    assert counted_itself(5.0, 1.0, None).own_count is None


def test_sums_of_the_step_by_hand() -> None:
    assert (BY_HAND.num_target_tokens, BY_HAND.num_label_tokens, BY_HAND.mean_nats) == (8, 10, 2.75)


def test_the_table_is_keyed_by_name_mildest_first() -> None:
    ranks = [SEVERITY_RANK[SEVERITY[rule.code]] for rule in RULES]

    assert [rule.name for rule in RULES] == list(RULES_BY_NAME) == list(EXPECTED)
    assert ranks == sorted(ranks)
    assert len({rule.label for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("token_mean", 12 / 8),
        ("mean_of_means", 12 / (2 * 3)),  # the 2 that came, not the 4 configured
        ("token_mean_over_k", 12 / (4 * 8)),  # the 4 configured
        ("token_mean*k", 4 * 12 / 8),  # the 4 configured
        ("short_step_over_k", 12 / (4 * 3)),  # the 4 configured
        ("sum_of_means", 12 / 3),
        ("sum_over_k", 12 / 2),  # the 2 that came
        ("sum", 12),
    ],
)
def test_a_short_step_at_k_4_by_hand(name: str, first: float) -> None:
    assert RULES_BY_NAME[name].contributions(SHORT)[0] == close(first)


def test_equally_many_rows_a_micro_batch_make_a_mean_of_means() -> None:
    step = replace(OF_ROWS, micro_batches=tuple(replace(m, num_rows=2) for m in OF_ROWS.micro_batches))

    assert RULES_BY_NAME["row_mean"].weights(step) == RULES_BY_NAME["mean_of_means"].weights(step)


def test_a_short_step_of_one_micro_batch_is_k_times_too_small() -> None:
    one = OptimizerStep((MicroBatch(12.0, 3, 4),), 4)

    assert RULES_BY_NAME["short_step_over_k"].contributions(one) == (1.0,)  # 12 / (4 · 3); 4 is right
    assert one.mean_nats == 4.0


@pytest.mark.parametrize(
    ("name", "contributions"),
    [
        ("token_mean", (1.5 + 0.25, 1.25 + 0.125)),  # a/2 each; the sum is 3.125, the right answer
        ("token_mean+aux_loss_sum", (1.5 + 0.5, 1.25 + 0.25)),  # a each; 3.5 is 0.375 too large
        ("mean_of_means", (2.0 + 0.25, 1.0 + 0.125)),
        ("sum_of_means+aux_loss_sum", (4.0 + 0.5, 2.0 + 0.25)),  # each micro-batch's own mean, the sum of both
    ],
)
def test_an_auxiliary_loss_by_hand(name: str, contributions: tuple[float, ...]) -> None:
    rule = rule_named(name)

    assert rule.contributions(ROUTED) == close(contributions)
    assert rule.weights(ROUTED) == rule_named(name.removesuffix("+aux_loss_sum")).weights(BY_HAND)
    assert ROUTED.mean_nats == 3.125


def test_each_micro_batch_is_divided_by_its_own_count() -> None:
    # A step that straddles two epochs: the first micro-batch came with its step's 8, the second with 20.
    straddling = OptimizerStep((MicroBatch(12.0, 3, 4, 8.0), MicroBatch(10.0, 5, 6, 20.0)), 2)

    assert RULES_BY_NAME["misaligned_count"].contributions(straddling) == close((1.5, 0.5))


def test_without_a_table_of_its_own_an_auxiliary_loss_is_left_out() -> None:
    assert RULES_BY_NAME["token_mean"].contributions(ROUTED) == (1.5, 1.25)


@pytest.mark.parametrize(
    ("name", "world_size", "contributions"),
    [
        ("token_mean*W", 2, (3.0, 2.5)),  # 2 × (1.5, 1.25)
        ("token_mean/W", 2, (0.75, 0.625)),
        ("sum_of_means*W", 3, (12.0, 6.0)),  # 3 × (4, 2)
        ("mean_of_means/W", 4, (0.5, 0.25)),
    ],
)
def test_world_size_by_hand(name: str, world_size: int, contributions: tuple[float, ...]) -> None:
    assert rule_named(name, world_size).contributions(BY_HAND) == close(contributions)


@pytest.mark.parametrize(
    ("name", "contributions"),
    [
        ("token_mean+aux_loss_sum", (2.0, 1.5)),  # 1.5 + 0.5, 1.25 + 0.25
        ("token_mean*W+aux_loss_sum*W", (4.0, 3.0)),  # 2 × these: the loss as the model returned it
        ("token_mean+aux_loss_sum*W", (2.5, 1.75)),  # 1.5 + 2 × 0.5, 1.25 + 2 × 0.25: cross-entropy is right
        ("token_mean/W+aux_loss_sum/W", (1.0, 0.75)),
        ("token_mean*W", (3.5, 2.75)),  # 2 × (1.5 + 0.25, 1.25 + 0.125)
    ],
)
def test_world_size_and_an_auxiliary_loss_by_hand(name: str, contributions: tuple[float, ...]) -> None:
    assert rule_named(name, 2).contributions(ROUTED) == close(contributions)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("sum_of_means*W+aux_loss_sum*W", {"SCALED_BY_ACCUMULATION", "AUX_LOSS_SCALED", "WORLD_SIZE_SCALED"}),
        ("token_mean+aux_loss_sum*W", {"AUX_LOSS_SCALED"}),
        ("sum", {"NOT_NORMALISED"}),
        ("token_mean", {"OK"}),
        ("sum_of_means", {"SCALED_BY_ACCUMULATION"}),
        ("token_mean*W", {"WORLD_SIZE_SCALED"}),
        ("token_mean+aux_loss_sum", {"AUX_LOSS_SCALED"}),
        ("sum_of_means/W", {"SCALED_BY_ACCUMULATION", "WORLD_SIZE_SCALED"}),
        ("mean_of_means+aux_loss_sum", {"MEAN_OF_MEANS", "AUX_LOSS_SCALED"}),
    ],
)
def test_a_combination_stands_for_both_faults(name: str, codes: set[str]) -> None:
    rule = rule_named(name, world_size=2)

    assert rule.codes == codes
    assert rule.right == (codes == {"OK"})


@pytest.mark.parametrize(
    ("world_size", "auxiliary", "size"), [(1, False, 1), (1, True, 2), (2, False, 3), (3, True, 7)]
)
def test_the_table_has_every_combination_once(world_size: int, auxiliary: bool, size: int) -> None:
    table = rule_table(world_size=world_size, auxiliary=auxiliary)

    assert len({rule.name for rule in table}) == len({rule.label for rule in table}) == len(table) == size * len(RULES)
    # What one fault explains is not explained by two.
    assert [rule.name for rule in table[: len(RULES)]] == list(RULES_BY_NAME)


@every_rule
def test_an_empty_micro_batch_weighs_nothing(rule: Rule) -> None:
    step = STEPS.get(rule.name, BY_HAND)
    count = step.micro_batches[0].num_items_in_batch
    rows = step.num_rows
    nothing = MicroBatch(0.0, 0, 0, count, num_rows=rows, own_count=0.0)
    empty = replace(step, micro_batches=(*step.micro_batches, nothing))

    assert rule.contributions(empty)[2] == 0.0
    if rule.name.startswith("row_mean"):  # its divisor is how many rows came, whatever they held: 8 in place of 4
        assert rule.contributions(empty)[:2] == close([each / 2 for each in rule.contributions(step)])
    elif rule.name not in (
        "mean_of_means",
        "mean_of_means_over_k",
        "short_step_divided_twice",
        "sum_over_k",
    ):  # likewise how many micro-batches came
        assert rule.contributions(empty)[:2] == close(rule.contributions(step))


@every_rule
def test_a_step_that_scores_nothing_is_zero(rule: Rule) -> None:
    nothing = OptimizerStep((MicroBatch(0.0, 0, 0), MicroBatch(0.0, 0, 0)), 2)

    assert rule.contributions(fit(nothing, rule)) == (0.0, 0.0)
    assert nothing.mean_nats == 0.0


@PROPERTY
@given(
    rows=st.lists(MICRO_BATCH, min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11), max_size=6),
)
def test_token_mean_is_the_same_for_any_split_of_any_rows(rows: list[MicroBatch], cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    groups = [rows[a:b] for a, b in pairwise(edges)]
    step = OptimizerStep(
        tuple(
            MicroBatch(
                sum(r.sum_nats for r in g), sum(r.num_target_tokens for r in g), sum(r.num_label_tokens for r in g)
            )
            for g in groups
        ),
        len(groups),
    )
    # Exact rational arithmetic: the right answer owes nothing to the code under test.
    exact = sum(Fraction(r.sum_nats) for r in rows) / sum(r.num_target_tokens for r in rows)

    assert sum(RULES_BY_NAME["token_mean"].contributions(step)) == close(float(exact))
    assert step.mean_nats == close(float(exact))


@PROPERTY
@given(
    sums=st.lists(st.floats(0.0, 1e4), min_size=1, max_size=8),
    count=st.integers(1, 500),
    world_size=WORLD_SIZE,
    a=st.floats(0.0, 10.0),
)
def test_equal_counts_make_means_right_in_every_combination(
    sums: list[float], count: int, world_size: int, a: float
) -> None:
    step = OptimizerStep(tuple(MicroBatch(s, count, count + 1, None, a) for s in sums), len(sums))
    table = {rule.name: rule for rule in rule_table(world_size=world_size, auxiliary=True)}

    for name, rule in table.items():
        if name.startswith("mean_of_means"):
            right = table[name.replace("mean_of_means", "token_mean")]
            assert rule.contributions(step) == close(right.contributions(step))


@PROPERTY
@given(step=STEP, rule=ANY_RULE, data=st.data())
def test_order_moves_contributions_and_changes_none(step: OptimizerStep, rule: Rule, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(step.micro_batches))))
    given_step = fit(step, rule)
    shuffled = replace(given_step, micro_batches=tuple(given_step.micro_batches[i] for i in order))

    assert rule.contributions(shuffled) == close([rule.contributions(given_step)[i] for i in order])


@PROPERTY
@given(step=STEP, rule=ANY_RULE)
def test_weight_times_sum_is_contribution(step: OptimizerStep, rule: Rule) -> None:
    given_step = fit(step, rule)
    products = [w * m.sum_nats for w, m in zip(rule.weights(given_step), step.micro_batches, strict=True)]

    assert rule.contributions(given_step) == close(products)
    assert all(math.isfinite(w) and w > 0 for w in rule.weights(given_step))


# Two processes, two micro-batches each: S = 12, 10 and 6, 20, n = 3, 5 and 2, 10, u = n + 1; N = 20, N_r = 8 and 12.
BY_TWO = OptimizerStep(
    (
        MicroBatch(12.0, 3, 4, num_rows=1),
        MicroBatch(10.0, 5, 6, num_rows=2),
        MicroBatch(6.0, 2, 3, process=1, num_rows=2),
        MicroBatch(20.0, 10, 11, process=1, num_rows=3),
    ),
    2,
)
# The same with a = 0.4 in each: right as Σ a / 4 = 0.4 in all.
ROUTED_BY_TWO = replace(BY_TWO, micro_batches=tuple(replace(m, auxiliary_nats=0.4) for m in BY_TWO.micro_batches))
OF_TWO = {rule.name: rule for rule in rule_table(world_size=2, num_processes=2)}


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("token_mean", (1 / 20, 1 / 20, 1 / 20, 1 / 20)),  # 1/N over both
        ("token_mean_per_process", (1 / 16, 1 / 16, 1 / 24, 1 / 24)),  # 1/(2·8), 1/(2·12)
        ("unshifted_token_mean", (1 / 24, 1 / 24, 1 / 24, 1 / 24)),  # 1/U: 4 + 6 + 3 + 11
        ("unshifted_token_mean_per_process", (1 / 20, 1 / 20, 1 / 28, 1 / 28)),  # 1/(2·10), 1/(2·14)
        ("mean_of_means", (1 / 12, 1 / 20, 1 / 8, 1 / 40)),  # 1/(4 n): over all four
        ("row_mean", (1 / 24, 2 / 40, 2 / 16, 3 / 80)),  # r/(8 n): 1, 2, 2 and 3 rows
        ("sum_of_means", (1 / 6, 1 / 10, 1 / 4, 1 / 20)),  # 1/(2 n): the sum in each process, the mean over both
        ("token_mean_over_k", (1 / 40,) * 4),
        ("sum_over_k", (1 / 4,) * 4),  # 1/2 in each process, the mean over both
        ("sum", (1 / 2,) * 4),
        ("token_mean*W", (1 / 10,) * 4),
        ("token_mean/W", (1 / 40,) * 4),
        ("token_mean_per_process*W", (1 / 8, 1 / 8, 1 / 12, 1 / 12)),
    ],
)
def test_several_processes_by_hand(name: str, weights: tuple[float, ...]) -> None:
    assert OF_TWO[name].weights(BY_TWO) == close(weights)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("token_mean", 2.4 + 0.4),  # 48/20, and the mean of four times 0.4
        ("token_mean+aux_loss_sum", 2.4 + 0.8),  # the sum in each process, the mean over both: k times
        ("token_mean+aux_loss_sum*W", 2.4 + 1.6),  # k·W times: the Trainer multiplies by W what it was returned
        ("token_mean*W+aux_loss_sum*W", 4.8 + 1.6),
    ],
)
def test_an_auxiliary_loss_of_several_processes_by_hand(name: str, total: float) -> None:
    rules = {rule.name: rule for rule in rule_table(world_size=2, num_processes=2, auxiliary=True)}

    assert sum(rules[name].contributions(ROUTED_BY_TWO)) == close(total)


def test_parts_of_several_processes_by_hand() -> None:
    assert (BY_TWO.num_processes, BY_TWO.num_target_tokens, BY_TWO.mean_nats) == (2, 20, 48 / 20)
    assert [BY_TWO.of_process(p).num_target_tokens for p in (0, 1)] == [8, 12]
    assert not BY_TWO.short
    assert replace(BY_TWO, micro_batches=BY_TWO.micro_batches[:3]).short


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ((7.0, 7.0, 7.0, 7.0), (1 / 7,) * 4),  # gathered, and wrong
        ((7.0, 7.0, 9.0, 9.0), (1 / 14, 1 / 14, 1 / 18, 1 / 18)),  # each its own, and wrong
        ((20.0,) * 4, (math.nan,) * 4),  # N: that is right
        ((8.0, 8.0, 12.0, 12.0), (math.nan,) * 4),  # N_r: that is the mean of the processes' means
    ],
)
def test_a_foreign_count_of_several_processes(counts: tuple[float, ...], weights: tuple[float, ...]) -> None:
    micro_batches = (replace(m, num_items_in_batch=c) for m, c in zip(BY_TWO.micro_batches, counts, strict=True))
    step = replace(BY_TWO, micro_batches=tuple(micro_batches))

    assert OF_TWO["misaligned_count"].weights(step) == pytest.approx(weights, nan_ok=True)


def test_rules_of_processes_are_for_several_alone() -> None:
    names = {rule.name for rule in rule_table(world_size=2)}

    assert not {name for name in names if "per_process" in name}
    assert {name for name in OF_TWO if name not in names} == {
        f"{unshifted}token_mean_per_process{w}" for unshifted in ("", "unshifted_") for w in ("", "*W", "/W")
    }
