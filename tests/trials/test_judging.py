"""What counts as a false alarm, a miss, a wrong cause; and the page that says how many there were."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.makers import load_maker
from tests.trials.doors import DOORS, Door
from tests.trials.draw import Draw
from tests.trials.drawing import draw
from tests.trials.judging import (
    EXCEPTION,
    FALSE_ALARM,
    INCONCLUSIVE,
    MISS,
    RIGHT,
    WRONG_CAUSE,
    Trial,
    UnsoundTrial,
    _outcome,
    drawn_with_truth,
    try_seed,
)
from tests.trials.test_truth import PLAIN
from tests.trials.truth import BOUNDS, StepTruth, Truth

TIMES_4 = StepTruth(8.0, 2.0, 3.0, 3.0, "x", 4)
HALF = StepTruth(2.0, 2.0, 0.5, 0.7, "x", 4)
NOTHING = StepTruth(float("nan"), 2.0, float("nan"), float("nan"), "x", 4)
GOOD = StepTruth(2.0, 2.0, 0.0, 0.0, "x", 4)


def outcome(fault: str | None, step: StepTruth, code: str, affects: str, severity: str) -> str:
    return _outcome(replace(PLAIN, fault=fault), Truth((step,), BOUNDS["float32"]), code, affects, severity)


@pytest.mark.parametrize(
    ("fault", "step", "code", "affects", "severity", "expected"),
    [
        (None, GOOD, "OK", "none", "ok", RIGHT),
        (None, GOOD, "OTHER_OBJECTIVE", "none", "ok", RIGHT),
        (None, GOOD, "MEAN_OF_MEANS", "both", "warn", FALSE_ALARM),
        (None, GOOD, "INCONCLUSIVE", "none", "inconclusive", INCONCLUSIVE),
        ("the model drops the count", TIMES_4, "SCALED_BY_ACCUMULATION", "both", "fail", RIGHT),
        ("the model drops the count", TIMES_4, "SCALED_BY_ACCUMULATION", "log", "fail", WRONG_CAUSE),
        ("the model drops the count", TIMES_4, "DIVIDED_TWICE", "both", "fail", WRONG_CAUSE),
        ("the model drops the count", TIMES_4, "OK", "none", "ok", MISS),
        ("the model drops the count", TIMES_4, "OTHER_OBJECTIVE", "none", "ok", MISS),
        ("the model drops the count", TIMES_4, "INCONCLUSIVE", "none", "inconclusive", INCONCLUSIVE),
        ("gradient × 2", HALF, "UNEXPLAINED", "gradient", "fail", RIGHT),
        ("gradient × 2", HALF, "UNEXPLAINED", "both", "fail", WRONG_CAUSE),
        ("flag off: mean of means", HALF, "MEAN_OF_MEANS", "both", "warn", RIGHT),
        # What its data make of a fault, and what is an objective too.
        ("count of the first micro-batch", TIMES_4, "SCALED_BY_ACCUMULATION", "both", "fail", RIGHT),
        ("count of the first micro-batch", HALF, "SCALED_BY_ACCUMULATION", "both", "fail", WRONG_CAUSE),
        ("count of the next window", NOTHING, "NONFINITE", "both", "fail", RIGHT),
        ("ignored labels are scored", HALF, "OTHER_OBJECTIVE", "none", "ok", RIGHT),
        ("ignored labels are scored", HALF, "OK", "none", "ok", MISS),
    ],
)
def test_outcomes(fault: str | None, step: StepTruth, code: str, affects: str, severity: str, expected: str) -> None:
    assert outcome(fault, step, code, affects, severity) == expected


def test_a_training_that_breaks_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(drawn: Draw) -> Truth:
        raise ValueError("no gradient")

    monkeypatch.setitem(DOORS, draw(0).door, Door(2, broken, lambda drawn: None))

    with pytest.raises(UnsoundTrial, match=r"seed 0: .* cannot be trained: ValueError: no gradient"):
        try_seed(0)
    assert "no gradient" in MAKER.try_or_tell(0)


def test_what_the_data_cannot_tell_apart_is_no_wrong_cause_but_may_be_a_miss() -> None:
    drawn = replace(PLAIN, fault="flag off: mean of means")
    truth, alike = Truth((HALF,), BOUNDS["float32"]), frozenset({"MEAN_OF_MEANS"})

    assert _outcome(drawn, truth, "MISALIGNED_COUNT", "both", "fail", alike) == RIGHT
    assert _outcome(drawn, truth, "MISALIGNED_COUNT", "both", "fail") == WRONG_CAUSE
    assert _outcome(drawn, truth, "OK", "none", "ok", alike) == MISS


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_repeats_its_trial(seed: int) -> None:
    first, again = try_seed(seed), try_seed(seed)

    # In words: NaN equals nothing.
    assert repr(replace(first, seconds=0)) == repr(replace(again, seconds=0))
    assert (first.draw.fault is None) == (seed == 0)
    assert repr((first.draw, first.truth, first.attempts)) == repr(drawn_with_truth(seed))


MAKER = load_maker("make_accuracy")


def trial(seed: int, drawn: Draw, outcome: str, code: str = "OK", said: str = "") -> Trial:
    truth = Truth((GOOD,), BOUNDS["float32"])
    return Trial(seed, drawn, truth, outcome, code, "none", said, 0, 0.1)


def test_the_page_counts_by_every_condition_and_lists_what_failed() -> None:
    fault = "gradient × 2"
    trials = [
        trial(0, PLAIN, RIGHT),
        trial(2, PLAIN, FALSE_ALARM, "MEAN_OF_MEANS"),
        trial(1, replace(PLAIN, fault=fault), MISS),
        trial(3, replace(PLAIN, fault=fault), EXCEPTION, "", "ValueError: no"),
    ]

    page = MAKER.page(trials, ["seed 9: contradicts itself"])

    assert "| right: false alarm | 1 of 2 | 50.00% |" in page
    assert "| wrong: miss | 1 of 2 | 50.00% |" in page
    assert f"| {fault} | 2 | 1 | 0 | 0 | 1 |" in page
    assert "| Llama | 2 | 1 | 0 | 0 |" in page
    assert f"- miss: {fault}: OK (none): seed 1" in page
    assert f"- exception: {fault}: ValueError: no: seed 3" in page
    assert "- seed 9: contradicts itself" in page


def test_no_event_in_n_is_bounded_by_about_three_in_n() -> None:
    bound = MAKER.upper_bound

    assert bound(0, 2000) == pytest.approx(3 / 2000, rel=0.01)
    assert bound(10, 2000) > 10 / 2000
    assert bound(1000, 2000) == pytest.approx(0.519, abs=0.001)
    assert bound(5, 5) == 1


def test_one_trial_is_told_with_truth_and_verdict() -> None:
    told = MAKER.told(trial(0, replace(PLAIN, fault="gradient × 2"), MISS, "OK", "fine"))

    assert "fault: gradient × 2" in told
    assert "named by UNEXPLAINED, affects gradient" in told
    assert "verdict: OK (affects none): fine" in told
    assert "outcome: miss" in told
