"""A survey: what is meant by a name, and rows for what hangs, dies, eats memory or cannot be built."""

from __future__ import annotations

import time

import pytest
import transformers

from gacheck.errors import ConfigError, ModelError
from gacheck.measure.survey.catalogue import find_items
from gacheck.measure.survey.pool import Limits, judge_all
from gacheck.record.survey import SurveyItem, SurveyRow
from gacheck.words.survey import judge_row
from tests.measure import survey_workers

LIMITS = Limits(seconds=2, memory=1 << 30, jobs=2)


def item(name: str) -> SurveyItem:
    return SurveyItem(name=name, task="causal-lm", transformers=transformers.__version__)


@pytest.fixture(scope="module")
def rows() -> dict[str, SurveyRow]:
    items = [item(name) for name in ("right", "hangs", "dies", "raises", "eats", "right too")]
    return {row.item.name: row for row in judge_all(items, LIMITS, judge=survey_workers.judge)}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hangs", "It was not done within 2 s."),
        ("dies", "Its process ended itself with exit code 7."),
        ("raises", "RuntimeError: of its own."),
        ("eats", "MemoryError: MemoryError."),
        ("right", "right was judged in"),
        ("right too", "right too was judged in"),
    ],
)
def test_whatever_becomes_of_an_item_is_a_row(rows: dict[str, SurveyRow], name: str, reason: str) -> None:
    assert str(rows[name].reason).startswith(reason)


def test_every_item_has_a_process_of_its_own(rows: dict[str, SurveyRow]) -> None:
    assert rows["right"].reason.split()[-1] != rows["right too"].reason.split()[-1]


def test_a_survey_that_is_left_ends_its_workers() -> None:
    started = time.monotonic()
    found = judge_all([item("hangs"), item("right")], Limits(60, 1 << 30, 2), judge=survey_workers.judge)
    assert next(found).item.name == "right"
    found.close()
    assert time.monotonic() - started < 30


def test_stand_ins_are_judged_as_a_run_judges_them() -> None:
    limits = Limits(120, 4 << 30, 2)
    judged = {
        row.item.name: judge_row(row) for row in judge_all([item("llama"), item("xlnet"), item("nosuch")], limits)
    }

    assert (judged["llama"].code, judged["xlnet"].code) == ("OK", "SCALED_BY_ACCUMULATION")
    # k = 4, and the loss is k times too large.
    assert judged["xlnet"].ratio == pytest.approx(4, rel=0.01)
    assert judged["llama"].ratio == pytest.approx(1, rel=1e-5)
    assert judged["nosuch"].code is None
    assert "'nosuch' is unknown" in str(judged["nosuch"].reason)


def names(*asked: str, **options: bool) -> list[str]:
    return [found.name for found in find_items(asked, **options)]


def test_a_name_is_a_type_a_class_or_a_pattern_of_either() -> None:
    assert names("llama") == ["llama"]
    assert "llama" in names("LlamaForCausalLM")
    assert names("BertForMaskedLM") == ["BertForMaskedLM"]
    assert {"llama", "llama4"} <= set(names("llama*"))
    assert {"BertForMaskedLM", "BertForTokenClassification", "bert"} <= set(names("Bert*"))
    assert {"BertForMaskedLM", "bert"} <= set(names("bert", every_head=True))
    assert names("xlnet", "llama") == ["llama", "xlnet"]


def test_by_default_it_is_every_language_model() -> None:
    found = find_items()
    assert {"llama", "gemma3", "xlnet"} <= {each.name for each in found}
    assert {each.task for each in found} == {"causal-lm"}


def test_a_task_has_its_classes() -> None:
    found = find_items(task="token-classification")
    assert "BertForTokenClassification" in {each.name for each in found}
    assert {each.task for each in found} == {"token-classification"}


def test_what_nothing_is_called_is_refused() -> None:
    with pytest.raises(ModelError, match="'lama'") as raised:
        find_items(["lama"])
    assert "llama" in raised.value.fix
    with pytest.raises(ConfigError, match="no task"):
        find_items(task="token-clasification")
