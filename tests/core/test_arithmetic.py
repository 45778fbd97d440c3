"""The arithmetic of a verdict, against numbers worked out by hand from the two halves of the rows in tests/builders.py.

micro-batch 1   S = 40 + 100 + 12 + 150 = 302, n = 8 + 16 + 4 + 32 = 60, ℓ = 5.0333…
micro-batch 2   S = 30 + 90 + 60 + 33 = 213, n = 5 + 20 + 10 + 5 = 40, ℓ = 5.325
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from gacheck.core.arithmetic import StepArithmetic, step_arithmetic
from gacheck.rules.facts import Flag
from gacheck.words.analysis import analyse
from tests.builders import Gradient, pass_record, run_record
from tests.reporters.cases import RECORDS


def worked(name: str, flag: Flag = Flag.ON) -> StepArithmetic:
    analysis = analyse(RECORDS[name])
    finding = next(f for f in analysis.findings if f.flag is flag)
    found = step_arithmetic(finding, analysis.verdict.code)
    assert found is not None
    return found


def test_sum_of_means_by_hand() -> None:
    step = worked("scaled")
    first, second = step.micro_batches

    assert (step.rule.name, step.right.name, step.fits) == ("sum_of_means", "token_mean", True)
    assert step.finding.record.accumulation_steps == 2  # of one micro-batch all rules say the same
    assert [(m.number, m.num_targets) for m in step.micro_batches] == [(1, 60), (2, 40)]
    assert [m.mean_nats for m in step.micro_batches] == pytest.approx([302 / 60, 5.325])
    assert (first.share, second.share) == pytest.approx((0.6, 0.4))
    assert (first.right_nats, second.right_nats) == pytest.approx((3.02, 2.13))
    assert (first.factor, second.factor) == pytest.approx((1, 1))
    assert (first.predicted_nats, second.predicted_nats) == pytest.approx((302 / 60, 5.325))
    assert [m.reported_nats for m in step.micro_batches] == pytest.approx([302 / 60, 5.325])
    assert [m.gradient_factor for m in step.micro_batches] == pytest.approx([1, 1])
    assert (step.num_targets, step.share, step.factor) == pytest.approx((100, 1, 2))
    assert (step.right_nats, step.reported_nats) == pytest.approx((5.15, 302 / 60 + 5.325))
    assert step.predicted_nats == pytest.approx(step.reported_nats)
    assert step.gradient_factor == pytest.approx(2)


def test_a_tail_is_worked_out_where_it_carries_the_code() -> None:
    step = worked("tail", Flag.OFF)

    assert (step.rule.name, step.finding.record.tail) == ("short_step_over_k", True)
    # Two rows each: 140 / 24, 162 / 36, 120 / 25; three of four micro-batches.
    assert [m.mean_nats for m in step.micro_batches] == pytest.approx([140 / 24, 4.5, 4.8])
    assert [m.factor for m in step.micro_batches] == pytest.approx([0.25] * 3)
    assert step.reported_nats == pytest.approx((140 / 24 + 4.5 + 4.8) / 4)
    assert step.right_nats == pytest.approx((140 + 162 + 120) / 85)


def test_an_auxiliary_loss_has_factors_of_its_own() -> None:
    step = worked("router")

    assert (step.auxiliary_share, step.auxiliary_factor) == (0.5, 1)
    assert [m.auxiliary_nats for m in step.micro_batches] == pytest.approx([0.5, 0.55])
    assert step.right_nats == pytest.approx(5.15 + 0.525)
    assert step.reported_nats == pytest.approx(5.15 + 1.05)


def test_micro_batches_are_counted_within_their_process() -> None:
    made = pass_record(4, "on", "sum_of_means")
    first = made.steps[0]
    shared = tuple(replace(m, process=i % 2) for i, m in enumerate(first.micro_batches))
    record = run_record([made.model_copy(update={"steps": (replace(first, micro_batches=shared),)})])
    step = step_arithmetic(analyse(record).findings[0], "SCALED_BY_ACCUMULATION")

    assert step is not None
    assert [(m.process, m.number) for m in step.micro_batches] == [(0, 1), (1, 1), (0, 2), (1, 2)]
    # What each of two processes returned counts half.
    assert step.reported_nats == pytest.approx((140 / 24 + 4.5 + 4.8 + 93 / 15) / 2)


@pytest.mark.parametrize("name", RECORDS)
def test_a_rule_that_fits_predicts_what_was_returned(name: str) -> None:
    analysis = analyse(RECORDS[name])
    for finding in analysis.findings:
        step = step_arithmetic(finding, analysis.verdict.code)
        if step is not None and step.fits:
            predicted = [m.predicted_nats for m in step.micro_batches]
            assert predicted == pytest.approx([m.reported_nats for m in step.micro_batches])
            assert step.right_nats == pytest.approx(step.finding.step.mean_nats)


def test_what_nothing_explains_has_its_nearest_rule() -> None:
    step = worked("rules by row")

    # At k = 2 the mean of means holds; at k = 4 nothing does.
    assert (step.finding.record.accumulation_steps, step.fits) == (4, False)
    assert step.predicted_nats != pytest.approx(step.reported_nats)


def test_a_gradient_that_follows_no_rule_leads_to_its_step() -> None:
    gradient = Gradient("token_mean", norm_ratio=2.0)
    record = run_record(
        [pass_record(2, "on", "token_mean"), pass_record(4, "on", "token_mean", gradient=gradient)],
    )
    analysis = analyse(record)
    step = step_arithmetic(analysis.findings[0], analysis.verdict.code)

    assert analysis.verdict.code == "UNEXPLAINED"
    assert step is not None
    assert step.finding.record.accumulation_steps == 4


def test_what_could_not_be_judged_has_none() -> None:
    for name in ("refused", "nan", "inf", "all failed"):
        analysis = analyse(RECORDS[name])
        judged = next(f for f in analysis.findings if f.flag is Flag.ON)
        assert step_arithmetic(judged, analysis.verdict.code) is None, name
