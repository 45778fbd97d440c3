"""The confirmation by a bare Trainer: nothing of gacheck is in it, it trains what was saved, and it can disagree."""

from __future__ import annotations

import ast
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import transformers

from gacheck.record.survey import SurveyItem
from gacheck.words.survey import JudgedRow, judge_row, read_survey
from tests.makers import DOCS, load_maker
from tests.reporters.survey_cases import SURVEYS, many
from tests.surveys import LLAMA, judged, survey

MAKER = load_maker("make_confirmation")
BARE = load_maker("bare_trainer")


def imported(source: str) -> set[str]:
    """Return the packages that a source imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_nothing_of_gacheck_is_in_it() -> None:
    names = imported((DOCS / "bare_trainer.py").read_text(encoding="utf-8")) - set(sys.stdlib_module_names)

    assert names == {"torch", "transformers", "numpy", "pebble"}


def bare(loss: float, *fits: str, adds_up: bool = False, **more: Any) -> dict[str, Any]:
    """Return what a bare Trainer may have said: a step of 4 micro-batches whose means add up to 20, 5 over tokens."""
    expected = {"mean over tokens": 5.0, "mean of means": 5.1, "sum of means": 20.4, "tokens / labels": 4.8}
    expected |= dict.fromkeys(fits, loss)
    return {
        "flag": True,
        "adds_up": adds_up,
        "loss": [5.0, loss],
        "norm": [1.0, loss / 5],
        "gradient_error": abs(loss / 5 - 1),
        "expected": {name: {"loss": e, "gradient_error": 0.5 * (name not in fits)} for name, e in expected.items()},
        **more,
    }


def row(on: str, *, auto: bool = True) -> JudgedRow:
    return judge_row(judged(LLAMA, on, auto=auto))


@pytest.mark.parametrize(
    ("rule", "auto", "said", "agrees"),
    [
        ("token_mean", True, bare(5.0, "mean over tokens"), True),
        ("token_mean", True, bare(20.4, "sum of means"), False),
        ("token_mean", True, bare(5.1, "mean of means"), False),
        ("token_mean", True, bare(5.0), False),  # the loss alone is not enough
        ("sum_of_means", True, bare(20.4, "sum of means"), True),
        ("sum_of_means", True, bare(5.0, "mean over tokens"), False),
        ("sum_of_means", True, bare(15.0), False),
        ("mean_of_means", False, bare(5.1, "mean of means"), True),
        ("mean_of_means", False, bare(20.4, "sum of means"), False),
        ("mean_of_means", False, bare(5.0, "mean of means", "mean over tokens"), False),  # and so nothing is wrong
        ("unshifted_token_mean", True, bare(4.8, "tokens / labels"), True),
        ("unshifted_token_mean", True, bare(5.0, "mean over tokens"), False),
        ("sum_of_means", True, {"expected": {}, "error": "TypeError: x"}, False),
        ("sum_of_means", True, {"expected": {}, "failed": "TimeoutError: x"}, None),
    ],
)
def test_a_verdict_is_held_against_it(rule: str, auto: bool, said: dict[str, Any], agrees: bool | None) -> None:
    assert MAKER.confirm(row(rule, auto=auto), said).agrees is agrees


def test_all_that_is_not_ok_and_the_same_thirty_that_are() -> None:
    analysis = read_survey(survey(many(140)))
    chosen = MAKER.chosen(analysis, ())

    assert chosen == MAKER.chosen(analysis, ())
    assert sum(each.code == "OK" for each in chosen) == 30
    assert {each.item.id for each in chosen} >= {each.item.id for each in analysis.rows if each.code != "OK"}
    assert [each.item.name for each in MAKER.chosen(analysis, ["model_00[12]"])] == ["model_001", "model_002"]
    assert MAKER.chosen(read_survey(SURVEYS["none judged"]), ()) == []


def test_the_page_lists_what_does_not_agree_first() -> None:
    said = [(row("token_mean"), bare(5.0, "mean over tokens")), (row("sum_of_means"), bare(5.0, "mean over tokens"))]
    text = MAKER.page([MAKER.line_of(MAKER.confirm(*each)) for each in said])
    rows = [line for line in text.splitlines() if line.startswith("| `")]

    assert "**1 of 2 agree.**" in text
    assert rows[0].endswith("| mean over tokens, k = 1 | **no** |")
    assert rows[1].endswith("| mean over tokens, k = 1 | yes |")
    assert "| SCALED_BY_ACCUMULATION | 0 | 1 | 0 |" in text


def test_what_is_tried_anew_takes_the_place_of_what_was_said() -> None:
    before, after = (
        MAKER.line_of(MAKER.confirm(row("token_mean"), bare(*said)))
        for said in ((20.4, "sum of means"), (5.0, "mean over tokens"))
    )
    other = ("`Another`", *before[1:])

    assert MAKER.lines_of(MAKER.page([before, other])) == sorted([other, before])
    assert MAKER.updated([other, before], [after]) == [other, after]
    assert "**1 of 2 agree.**" in MAKER.page([other, after])


def fate(thing: str) -> None:
    if thing == "raises":

        class Local(Exception):
            """Cannot be handed to another process."""

        raise Local("of its own")
    if thing == "hangs":
        time.sleep(60)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_fails_or_hangs_is_told() -> None:
    told = dict(BARE.in_processes(fate, ["raises", "hangs", "works"], 2, 2))

    assert told["raises"] == "Local: of its own"
    assert str(told["hangs"]).startswith("TimeoutError")
    assert told["works"] is None


@pytest.mark.parametrize(
    ("name", "fits", "rule"),
    [("llama", "mean over tokens", "token_mean"), ("xlnet", "sum of means", "sum_of_means")],
)
def test_what_was_saved_is_trained(name: str, fits: str, rule: str, tmp_path: Path) -> None:
    MAKER.save(SurveyItem(name=name, task="causal-lm", transformers=transformers.__version__), tmp_path)
    BARE.answer_in(tmp_path)
    said = json.loads((tmp_path / "bare.json").read_text())

    assert fits in MAKER.fitting(said)
    assert said["loss"][1] / said["loss"][0] == pytest.approx(4 if name == "xlnet" else 1, rel=2e-2)
    assert MAKER.confirm(row(rule), said).agrees
    assert not MAKER.confirm(row("mean_of_means"), said).agrees
