"""The verdict: code, severity, what is affected, the better flag, what remains."""

from __future__ import annotations

import pytest

from gacheck.rules.facts import Flag
from gacheck.rules.table import SEVERITY, gravest_first
from gacheck.words.analysis import analyse
from tests.builders import full_run, oracle, pass_record, run_record
from tests.core.cases import CASES, MEANS, RIGHT, verdict_of


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    verdict, (code, affects, better, remaining) = verdict_of(name), CASES[name][1]

    assert verdict.code == verdict.codes[0] == code
    # By its first micro-batch the gradient of a mean of means is 1.56 of the right one at k = 8: that does harm.
    harmful = code == MEANS and max(CASES[name][0]().accumulation_steps) == 8
    assert verdict.severity == ("fail" if harmful else SEVERITY[code])
    assert (verdict.better_flag, verdict.remaining) == (better, remaining)
    if name != "coarse":  # where nothing is known, neither is what is affected
        assert verdict.affects == affects


def test_every_code_has_a_case() -> None:
    # What the labels are shifted by, no rule says: the record does.
    assert {verdict_of(name).code for name in CASES} >= set(SEVERITY) - {"LABELS_NOT_SHIFTED"}


@pytest.mark.parametrize(
    ("name", "codes", "auto_rule"),
    [
        ("k differ", ("SCALED_BY_ACCUMULATION", MEANS), None),
        ("5.23.0", ("OK",), RIGHT),
        ("NaN at one k, step 2", ("NONFINITE",), RIGHT),
        ("nothing run", ("INCONCLUSIVE",), None),
        ("unexplained", ("UNEXPLAINED",), None),
        ("4.57.6 Gemma3", (MEANS,), "mean_of_means"),
        ("short last step", ("SHORT_LAST_STEP", MEANS), "mean_of_means"),
        ("count of another step", ("MISALIGNED_COUNT",), None),
        ("router loss × k", ("AUX_LOSS_SCALED",), "token_mean+aux_loss_sum"),
        ("two processes, × k and × W", ("SCALED_BY_ACCUMULATION", "WORLD_SIZE_SCALED"), "sum_of_means*W"),
    ],
)
def test_all_codes_are_listed(name: str, codes: tuple[str, ...], auto_rule: str | None) -> None:
    assert (verdict_of(name).codes, verdict_of(name).auto_rule) == (codes, auto_rule)


def test_codes_are_sorted_by_gravity() -> None:
    assert gravest_first(reversed(SEVERITY)) == tuple(SEVERITY)
    assert list(SEVERITY.values()) == ["fail"] * 11 + ["inconclusive"] + ["warn"] * 2 + ["ok"] * 2


@pytest.mark.parametrize(
    ("plain", "counted", "error", "used"),
    [(5.0, 2.5, None, True), (5.0, 5.0, None, False), (5.0, None, "TypeError", None), (None, None, None, None)],
)
def test_whether_the_model_uses_the_count(
    plain: float | None, counted: float | None, error: str | None, used: bool | None
) -> None:
    facts = {"plain_loss_nats": plain, "counted_loss_nats": counted, "counted_loss_error": error}
    record = run_record([pass_record(2, "off", RIGHT, auto=False)], oracle_record=oracle().model_copy(update=facts))

    flag = analyse(record).flag

    assert (flag.used_num_items_in_batch, flag.auto, flag.declared, flag.inferred) == (used, Flag.OFF, None, True)


def test_a_class_that_declares_itself_worse_than_it_is_is_told_so() -> None:
    passes = [*full_run(RIGHT, "mean_of_means", auto=False).passes]

    told, not_declared = (analyse(run_record(passes, declared=declared)).verdict for declared in (False, None))

    assert (told.code, told.better_flag) == (MEANS, "on")
    assert "accepts_loss_kwargs = False, though it normalises rightly" in told.words.cause
    assert "accepts_loss_kwargs" not in not_declared.words.cause
