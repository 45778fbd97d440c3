"""What explains the losses of one step: the rule, and what the training means to minimise, simplest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gacheck.rules.explain import Explanation, explain
from gacheck.rules.facts import MicroBatchRecord, Observation
from gacheck.rules.steps import Hypothesis
from tests.builders import failed_pass, pass_record

TOLERANCE = 1e-6

# Cross-entropy of 12 and 10 nats over 3 and 5 targets of 4 and 6 labels, in 1 and 3 rows: means 4 and 2.
NATS, TARGETS, LABELS, NUM_ROWS = (12.0, 10.0), (3, 5), (4, 6), (1, 3)


def micro_batches(
    losses: Sequence[float], own: Sequence[float | None] = (4.0, 2.0), *, noise: float = 0.0, has_labels: bool = True
) -> list[MicroBatchRecord]:
    """Make the two micro-batches of a step that reported these losses, and mean these by themselves."""
    return [
        MicroBatchRecord(
            reported_loss_nats=losses[i],
            num_items_in_batch=None,
            observation=Observation(
                rows=(),
                num_target_tokens=TARGETS[i] if has_labels else 0,
                num_label_tokens=LABELS[i] if has_labels else 0,
                sum_nats=NATS[i] if has_labels else None,
                own_mean_nats=own[i],
                weight=None,
                weight_spread=None,
                num_rows=NUM_ROWS[i],
                noise_nats=noise,
            ),
        )
        for i in range(2)
    ]


def explained(losses: Sequence[float], *args: Sequence[float | None], k: int = 2, **options: float) -> Explanation:
    found = explain(micro_batches(losses, *args, **options), k, TOLERANCE)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("losses", "rule"),
    [
        ((12 / 8, 10 / 8), "token_mean"),
        ((4 / 2, 2 / 2), "mean_of_means"),
        ((4.0, 2.0), "sum_of_means"),
        ((4 * 1 / 4, 2 * 3 / 4), "row_mean"),
        ((12.0, 10.0), "sum"),
        ((12 / 10, 10 / 10), "unshifted_token_mean"),
    ],
)
def test_plain_cross_entropy(losses: Sequence[float], rule: str) -> None:
    found = explained(losses)

    assert (found.hypothesis, found.rule.name) == ("plain", rule)
    assert found.found.relative_error < TOLERANCE
    assert [m.sum_nats for m in found.step.micro_batches] == [12, 10]


@pytest.mark.parametrize(
    ("losses", "rule"),
    [
        ((7 * 3 / 8, 4 * 5 / 8), "token_mean"),
        ((7 / 2, 4 / 2), "mean_of_means"),
        ((7.0, 4.0), "sum_of_means"),
        ((7 * 1 / 4, 4 * 3 / 4), "row_mean"),
    ],
)
def test_another_objective(losses: Sequence[float], rule: str) -> None:
    # By itself each means 7 and 4, which is no cross-entropy.
    found = explained(losses, (7.0, 4.0))

    assert (found.hypothesis, found.rule.name) == ("own", rule)
    assert [m.sum_nats for m in found.step.micro_batches] == [21, 20]


@pytest.mark.parametrize(
    ("share", "rule"), [(1 / 2, "token_mean"), (1.0, "token_mean+aux_loss_sum")], ids=["mean", "sum"]
)
def test_cross_entropy_and_something_besides(share: float, rule: str) -> None:
    # 0.5 and 0.7 beside it: weighed as the mean over the micro-batches, or added in full.
    found = explained((12 / 8 + share * 0.5, 10 / 8 + share * 0.7), (4.5, 2.7))

    assert (found.hypothesis, found.rule.name) == ("auxiliary", rule)
    assert [m.auxiliary_nats for m in found.step.micro_batches] == pytest.approx([0.5, 0.7])


def test_the_simplest_that_explains_is_taken() -> None:
    # The own loss is cross-entropy: all three say the same.
    assert explained((12 / 8, 10 / 8)).hypothesis == "plain"
    # Each one's own mean in full is the own loss's sum of means as well as cross-entropy's and the router's.
    assert explained((4.5, 2.7), (4.5, 2.7)).hypothesis == "own"


def test_without_labels_rows_are_counted() -> None:
    # Shares of 1 and 3 of 4 rows.
    found = explain(micro_batches((7 / 4, 4 * 3 / 4), (7.0, 4.0), has_labels=False), 2, TOLERANCE)

    assert found is not None
    assert found.hypothesis == "own"
    assert [m.num_target_tokens for m in found.step.micro_batches] == [1, 3]
    assert found.rule.name == "token_mean"
    assert [rule.name for rule in found.found.equivalent] == ["row_mean"]


@pytest.mark.parametrize(
    "own", [(None, None), (7.0, None), (float("nan"), 2.0)], ids=["not asked", "not of all", "no number"]
)
def test_what_no_rule_explains(own: Sequence[float | None]) -> None:
    assert explain(micro_batches((2.05, 1.71), own), 2, TOLERANCE) is None


def test_what_was_not_observed_is_not_explained() -> None:
    seen, unseen = micro_batches((1.5, 1.25))

    assert explain([seen, replace(unseen, observation=None)], 2, TOLERANCE) is None
    assert explain([], 2, TOLERANCE) is None


def test_of_several_rules_that_explain_the_mildest_is_taken_until_the_gradient_tells() -> None:
    # Off by 25 % are both the mean of means and what was counted before the shift, in test_matching.py's numbers.
    losses = micro_batches((12 / 8, 10 / 8), (None, None))
    coarse, fine = (explain(losses, 2, tolerance) for tolerance in (0.07, 0.01))

    assert coarse is not None
    assert fine is not None
    assert (coarse.rule.name, coarse.found.rule, coarse.found.ambiguous) == ("token_mean", None, True)
    assert [rule.name for rule in coarse.found.fitting] == ["token_mean", "mean_of_means", "unshifted_token_mean"]
    assert (fine.rule, [rule.name for rule in fine.found.fitting]) == (fine.found.rule, ["token_mean"])


def test_noise_is_each_micro_batch_s_own() -> None:
    # The first is off by 1 %, which is 0.04 nats of its mean of 4.
    losses = (1.01 * 12 / 8, 10 / 8)

    assert explain(micro_batches(losses, (None, None)), 2, TOLERANCE) is None
    assert explain(micro_batches(losses, (None, None), noise=0.02), 2, TOLERANCE) is not None


def test_a_short_step_divided_by_the_configured_k() -> None:
    assert explained((4 / 3, 2 / 3), k=3).rule.name == "short_step_over_k"
    assert explained((4 / 2, 2 / 2), k=3).rule.name == "mean_of_means"


@pytest.mark.parametrize("factor", [1, 2])
def test_of_two_processes_the_losses_are_a_mean(factor: int) -> None:
    # Each returned twice the share, for the mean over the two; twice that is off by the number of processes.
    first, second = micro_batches((2 * factor * 12 / 8, 2 * factor * 10 / 8))
    found = explain([first, replace(second, process=1)], 1, TOLERANCE)

    assert found is not None
    assert found.rule.name == ("token_mean" if factor == 1 else "token_mean*W")


@pytest.mark.parametrize(
    ("rule", "auxiliary", "hypothesis"),
    [
        ("token_mean", 0.0, "plain"),
        ("sum_of_means", 0.0, "plain"),
        ("sum_of_means+aux_loss_sum", 0.5, "own"),
        ("token_mean+aux_loss_sum", 0.5, "auxiliary"),
    ],
)
def test_a_pass_is_explained(rule: str, auxiliary: float, hypothesis: Hypothesis) -> None:
    [step, *_] = pass_record(4, "on", rule, auxiliary=auxiliary).steps
    found = explain(step.micro_batches, 4, TOLERANCE)

    assert found is not None
    assert found.hypothesis == hypothesis
    assert found.rule.name == (rule if hypothesis != "own" else "sum_of_means")
    assert len(found.step.micro_batches) == 4


def test_a_pass_that_no_rule_explains() -> None:
    [step, *_] = pass_record(4, "on", "token_mean", scale=1.37).steps

    assert explain(step.micro_batches, 4, TOLERANCE) is None
    assert failed_pass(4, "on").steps == ()
