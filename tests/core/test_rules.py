"""The rule table, on numbers that a person can check, then on properties."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacheck.core.codes import SEVERITY
from gacheck.core.rules import RULES, RULES_BY_NAME, MicroBatch, OptimizerStep, Rule

PROPERTY = settings(derandomize=True, max_examples=60, deadline=None)

# S = (12, 10), n = (3, 5), u = (4, 6), k = 2; so N = 3 + 5 = 8 and U = 4 + 6 = 10.
BY_HAND = OptimizerStep((MicroBatch(12.0, 3, 4), MicroBatch(10.0, 5, 6)), 2)

#                        weights             contributions: 12 × the first, 10 × the second
EXPECTED = {
    "token_mean": ((1 / 8, 1 / 8), (1.5, 1.25)),  # 1/N; the sum is 22/8 = 2.75, the right answer
    "mean_of_means": ((1 / 6, 1 / 10), (2.0, 1.0)),  # 1/(2·3), 1/(2·5); the sum is (12/3 + 10/5)/2 = 3
    "unshifted_token_mean": ((1 / 10, 1 / 10), (1.2, 1.0)),  # 1/U; 2.2 is too small by (10 - 8)/10
    "token_mean_over_k": ((1 / 16, 1 / 16), (0.75, 0.625)),  # 1/(2·8); 1.375 is half of 2.75
    "sum_of_means": ((1 / 3, 1 / 5), (4.0, 2.0)),  # 12/3, 10/5; the sum is 6, twice the mean of means
}

MICRO_BATCH = st.tuples(st.floats(0.0, 1e4), st.integers(1, 500), st.integers(0, 20)).map(
    lambda t: MicroBatch(t[0], t[1], t[1] + t[2])
)
STEP = st.lists(MICRO_BATCH, min_size=1, max_size=8).map(lambda m: OptimizerStep(tuple(m), len(m)))
ANY_RULE = st.sampled_from(RULES)
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def close(values: object) -> object:
    return pytest.approx(values, rel=1e-12, abs=1e-300)


@every_rule
def test_by_hand(rule: Rule) -> None:
    weights, contributions = EXPECTED[rule.name]

    assert rule.weights(BY_HAND) == close(weights)
    assert rule.contributions(BY_HAND) == close(contributions)


def test_sums_of_the_step_by_hand() -> None:
    assert (BY_HAND.num_target_tokens, BY_HAND.num_label_tokens, BY_HAND.mean_nats) == (8, 10, 2.75)


def test_the_table_is_keyed_by_name_mildest_first() -> None:
    severity = {"ok": 0, "warn": 1, "fail": 2}
    ranks = [severity[SEVERITY[rule.code]] for rule in RULES]

    assert [rule.name for rule in RULES] == list(RULES_BY_NAME) == list(EXPECTED)
    assert ranks == sorted(ranks)
    assert len({rule.label for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("token_mean", 12 / 8),
        ("mean_of_means", 12 / (2 * 3)),  # the 2 that came, not the 4 configured
        ("token_mean_over_k", 12 / (4 * 8)),  # the 4 configured
        ("sum_of_means", 12 / 3),
    ],
)
def test_a_short_step_at_k_4_by_hand(name: str, first: float) -> None:
    short = OptimizerStep(BY_HAND.micro_batches, 4)

    assert RULES_BY_NAME[name].contributions(short)[0] == close(first)


@every_rule
def test_an_empty_micro_batch_weighs_nothing(rule: Rule) -> None:
    empty = OptimizerStep((*BY_HAND.micro_batches, MicroBatch(0.0, 0, 0)), 2)

    assert rule.contributions(empty)[2] == 0.0
    if rule.name != "mean_of_means":  # its divisor is how many micro-batches came, whatever they held
        assert rule.contributions(empty)[:2] == close(rule.contributions(BY_HAND))


@every_rule
def test_a_step_that_scores_nothing_is_zero(rule: Rule) -> None:
    nothing = OptimizerStep((MicroBatch(0.0, 0, 0), MicroBatch(0.0, 0, 0)), 2)

    assert rule.contributions(nothing) == (0.0, 0.0)
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
@given(sums=st.lists(st.floats(0.0, 1e4), min_size=1, max_size=8), count=st.integers(1, 500))
def test_equal_counts_make_mean_of_means_right(sums: list[float], count: int) -> None:
    step = OptimizerStep(tuple(MicroBatch(s, count, count + 1) for s in sums), len(sums))

    right, means = (RULES_BY_NAME[name].contributions(step) for name in ("token_mean", "mean_of_means"))
    assert means == close(right)


@PROPERTY
@given(step=STEP, rule=ANY_RULE, data=st.data())
def test_order_moves_contributions_and_changes_none(step: OptimizerStep, rule: Rule, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(step.micro_batches))))
    shuffled = OptimizerStep(tuple(step.micro_batches[i] for i in order), step.accumulation_steps)

    assert rule.contributions(shuffled) == close([rule.contributions(step)[i] for i in order])


@PROPERTY
@given(step=STEP, rule=ANY_RULE, factor=st.floats(1e-3, 1e3))
def test_scaling_the_losses_scales_contributions_alone(step: OptimizerStep, rule: Rule, factor: float) -> None:
    scaled = OptimizerStep(
        tuple(MicroBatch(m.sum_nats * factor, m.num_target_tokens, m.num_label_tokens) for m in step.micro_batches),
        step.accumulation_steps,
    )

    assert rule.weights(scaled) == rule.weights(step)
    assert rule.contributions(scaled) == close([c * factor for c in rule.contributions(step)])


@PROPERTY
@given(step=STEP, rule=ANY_RULE)
def test_weight_times_sum_is_contribution(step: OptimizerStep, rule: Rule) -> None:
    products = [w * m.sum_nats for w, m in zip(rule.weights(step), step.micro_batches, strict=True)]

    assert rule.contributions(step) == close(products)
    assert all(math.isfinite(w) and w > 0 for w in rule.weights(step))
