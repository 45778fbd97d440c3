"""Readings against measurements, on rows that a person can count."""

from __future__ import annotations

import pytest

from gacheck.lint.agreement import Disagreement, compare, measured_answer
from gacheck.lint.finding import Answer, Finding
from gacheck.rules.table import rule_table
from tests.makers import load_maker


def found(name: str, answer: Answer, *, counted: bool = True) -> tuple[str, Finding]:
    return name, Finding(name, None, "", answer, counted=counted)


READ = dict(
    [
        found("Uses", "reaches"),
        found("Drops", "dropped"),
        found("Wrong", "reaches"),
        found("TooStrict", "dropped"),
        found("Open", "unknown"),
        found("Positions", "unknown", counted=False),
    ]
)
ROWS = [
    ("Uses", "token_mean"),
    ("Uses", "unshifted_token_mean"),
    ("Drops", "sum_of_means"),
    ("Wrong", "sum_of_means"),
    ("TooStrict", "token_mean"),
    ("Open", "token_mean"),
    ("NotRead", "token_mean"),
    ("Drops", None),
    ("Uses", "mean_of_means"),
    ("Positions", "token_mean"),
]


def test_rows_are_sorted_by_what_they_say() -> None:
    agreement = compare(READ, ROWS)

    assert agreement.agreeing == ("Uses", "Uses", "Drops")
    assert agreement.disagreeing == (
        Disagreement("Wrong", "reaches", "dropped"),
        Disagreement("TooStrict", "dropped", "reaches"),
    )
    assert agreement.undecided == ("Open", "NotRead")
    assert agreement.unmeasured == ("Drops", "Uses")
    assert agreement.uncounted == ("Positions",)


def test_the_figures_are_those_of_the_rows() -> None:
    agreement = compare(READ, ROWS)

    assert (agreement.decided, agreement.share) == (5, 3 / 5)
    assert agreement.wrongly_reaches == ("Wrong",)


def test_of_nothing_there_is_no_share() -> None:
    assert compare(READ, []).share is None


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ("token_mean", "reaches"),
        ("token_mean*W", "reaches"),
        ("token_mean/W+aux_loss_sum/W", "reaches"),
        ("token_mean+aux_loss_sum", "reaches"),
        ("row_mean", "reaches"),
        ("sum_of_means", "dropped"),
        ("sum_of_means+aux_loss_sum*W", "dropped"),
        ("mean_of_means", None),
        ("sum", None),
        (None, None),
    ],
)
def test_a_rule_says_whether_the_count_was_used(rule: str | None, answer: Answer | None) -> None:
    assert measured_answer(rule) == answer


def test_the_rules_are_those_of_the_table() -> None:
    named = {rule.name for rule in rule_table(world_size=2, auxiliary=True)}

    assert {"token_mean", "unshifted_token_mean", "row_mean", "own_count_mean", "sum_of_means", "token_mean/W"} <= named


def test_the_table_of_the_page_has_a_row_for_a_release() -> None:
    maker = load_maker("make_lint_agreement")

    row = maker.line("5.24.0", compare(READ, ROWS))

    assert row == "| 5.24.0 | 8 | 5 | 3 (60.0%) | 1 | 2 | 1 |"
    assert row.count("|") == maker.HEAD.splitlines()[0].count("|")


def test_a_class_that_several_types_share_is_compared_once() -> None:
    maker = load_maker("make_lint_agreement")
    rows = [{"class": "Uses", "rule_on": "token_mean"}] * 2 + [{"class": None, "rule_on": None}]

    assert list(maker.measured(rows)) == [("Uses", "token_mean")]
