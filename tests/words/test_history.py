"""A history in words: who broke it, who fixed it, and what was not seen."""

from __future__ import annotations

import pytest

from gacheck.core.history import State, Tried, history_of
from gacheck.words.history import absence, describe, headline, limits

BAD, WORSE, WARNED, RIGHT = "SUM", "SUM_OF_SUMS", "MEAN", "OK"
BROKE = "broke in 4.47.0 (4.46.0, the last before it, is right)"
STATES: dict[str, State] = {BAD: "fail", WORSE: "fail", WARNED: "warn", RIGHT: "ok", "?": "inconclusive"}


def history(*codes: str):  # type: ignore[no-untyped-def]
    found: dict[str, Tried] = {}
    for minor, code in enumerate(codes, 46):
        release = f"4.{minor}.0"
        found[release] = {
            "absent": Tried(release, "absent", reason=f"transformers {release} does not know it."),
            "unknown": Tried(release, "unknown", reason=f"{release} could not be installed."),
        }.get(code) or Tried(release, STATES[code], code)
    return history_of(list(found), found)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["absent", BAD, WARNED, RIGHT], "broken from the first release that has it, 4.47.0; fixed in 4.49.0"),
        ([RIGHT, BAD, RIGHT], f"{BROKE}; fixed in 4.48.0"),
        ([WARNED, BAD], "broke in 4.47.0 (4.46.0, the last before it, is MEAN); not fixed in 4.47.0"),
        ([BAD, RIGHT], "broken already in 4.46.0, the oldest that was tried; fixed in 4.47.0"),
        ([RIGHT, BAD, RIGHT, BAD], f"{BROKE}; fixed in 4.48.0; fails again in 4.49.0"),
        ([RIGHT, BAD, WORSE, WARNED, BAD, BAD, RIGHT], f"{BROKE}; fails again from 4.50.0 to 4.51.0; fixed in 4.52.0"),
        ([RIGHT, BAD, WARNED], f"{BROKE}; from 4.48.0 on a warning is left, MEAN"),
        ([RIGHT, BAD, "absent"], f"{BROKE}; no later release is known to be right"),
        ([RIGHT, WARNED, RIGHT], "no release that was tried fails; in 4.47.0 there is a warning, MEAN"),
        (["absent", RIGHT], "right in every release that was tried and can make the model"),
        ([RIGHT, "?"], "no release that was tried fails, but not every verdict is conclusive"),
    ],
)
def test_the_answer_is_one_sentence(codes: list[str], expected: str) -> None:
    assert headline(history(*codes)) == expected


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["absent", BAD], "4.47.0: the first release that has the model: SUM"),
        (["absent", RIGHT], "4.47.0: the first release that has the model: right"),
        ([BAD, RIGHT], "4.47.0: fixed; 4.46.0 is the last with SUM"),
        ([RIGHT, BAD], "4.47.0: SUM; 4.46.0 is the last that is right"),
        ([BAD, WARNED], "4.47.0: MEAN in place of SUM"),
        ([RIGHT, "absent"], "4.47.0: it cannot make the model any more"),
        (
            [BAD, "unknown", RIGHT],
            "4.48.0: fixed; 4.46.0 is the last with SUM. Or before it: 4.47.0 could not be tried",
        ),
    ],
)
def test_a_change_is_described(codes: list[str], expected: str) -> None:
    (change,) = history(*codes).changes

    assert describe(change) == expected


def test_a_release_that_makes_another_class_of_the_name_is_pointed_out() -> None:
    found = {
        "4.46.0": Tried("4.46.0", "warn", WARNED, class_name="ForCausalLM"),
        "4.47.0": Tried("4.47.0", "fail", BAD, class_name="ForConditionalGeneration"),
    }
    (change,) = history_of(list(found), found).changes

    assert describe(change) == (
        "4.47.0: SUM in place of MEAN. It is another class, ForConditionalGeneration in place of ForCausalLM"
    )


def test_more_than_one_change_is_said_to_be_not_monotone() -> None:
    assert "history" not in dict(limits(history(RIGHT, BAD)))
    assert dict(limits(history(RIGHT, BAD, RIGHT)))["history"] == "It is not monotone: the verdict changes twice."
    assert "3 times" in dict(limits(history("absent", BAD, WARNED, RIGHT)))["history"]


def test_what_could_not_be_tried_is_said_once_a_reason() -> None:
    told = limits(history(RIGHT, "unknown", "unknown", RIGHT))

    assert told == [("failed", "4.47.0, 4.48.0 could not be tried: it could not be installed.")]


def test_what_lies_beyond_an_end_that_could_not_be_tried_is_not_known() -> None:
    assert "4.47.0" in dict(limits(history(RIGHT, "unknown")))["unknown"]


def test_what_was_not_tried_lies_between_equals() -> None:
    found = {release: Tried(release, "ok", "OK") for release in ("4.46.0", "4.49.0")}

    told = dict(limits(history_of(["4.46.0", "4.47.0", "4.48.0", "4.49.0"], found)))

    assert told["untried"].startswith("2 of 4 releases: each lies between two with the same verdict.")


def test_the_newest_reason_why_the_model_cannot_be_made() -> None:
    assert absence(history("absent", "absent", RIGHT)) == "transformers 4.47.0 does not know it."
    assert absence(history(RIGHT)) == ""
