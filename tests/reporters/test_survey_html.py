"""The page of a survey without a browser: every class on the map and in its table, small, alone, deaf to names."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

from gacheck.record.survey import SurveyRecord
from gacheck.reporters.html import render_survey_html
from gacheck.reporters.html.survey_tables import letters, mark_of
from gacheck.rules.table import SEVERITY
from gacheck.words.survey import read_survey
from tests.page.pages import SCRIPT
from tests.reporters.survey_cases import SURVEYS, many
from tests.reporters.test_html import Source
from tests.surveys import BERT, GEMMA3, LLAMA, NEW, OLD, Kind, judged, survey


class Page(Source):
    """The page of a survey, read strictly."""

    def __init__(self, record: SurveyRecord) -> None:
        super().__init__(render_survey_html(read_survey(record)).decode())

    def cells(self, anchor: str) -> list[list[str]]:
        """Return the rows of a class, without markup."""
        found = re.search(rf'<tbody id="{re.escape(anchor)}">(.*?)</tbody>', self.source, re.DOTALL)
        assert found is not None, anchor
        rows = re.findall(r"<tr>(.*?)</tr>", found[1], re.DOTALL)
        return [
            [re.sub("<br>|<p>", " | ", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows
        ]


@pytest.mark.parametrize("name", SURVEYS)
def test_every_page_is_whole_and_needs_nothing_else(name: str) -> None:
    shown = Page(SURVEYS[name])
    tags = {tag for tag, _ in shown.elements}
    ids = [each["id"] for _, each in shown.elements if "id" in each]
    links = [each["href"] for each in shown.of("a")]
    levels = [int(tag[1]) for tag, _ in shown.elements if re.fullmatch("h[1-6]", tag)]

    assert tags.isdisjoint({"script", "iframe", "object", "embed", "form", "base", "img"})
    assert [n for _, each in shown.elements for n in each if n.startswith("on") or n == "style"] == []
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if re.search(r"\s", each)] == []
    assert [link for link in links if link.removeprefix("#") not in ids] == []
    assert all("scope" in each for each in shown.of("th"))
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("name", SURVEYS)
def test_every_class_has_a_tile_and_a_row_for_every_release(name: str) -> None:
    record = SURVEYS[name]
    shown = Page(record)
    rows = sum(len(re.findall("<tr>", body)) for body in re.findall(r'<tbody id=".*?</tbody>', shown.source, re.DOTALL))

    assert len([a for a in shown.of("a") if "title" in a]) == rows == len(record.items)


def test_of_282_classes_it_is_small() -> None:
    assert len(Page(survey(many(282))).source.encode()) < 300_000


def test_a_row_says_all_of_a_class() -> None:
    (now, middle, old) = Page(SURVEYS["releases"]).cells("Gemma3ForConditionalGeneration")

    assert now == [
        *("Gemma3ForConditionalGeneration | gemma3, causal-lm</p>", NEW, "✓ OK", "token mean | mean of means", "1.000"),
        *("modeling_tiny.py:42", "Nothing.", "<code>gacheck survey gemma3 --transformers 5.24.0</code>"),
    ]
    assert middle[1] == "! WARN MEAN_OF_MEANS"
    assert old == [
        *(OLD, "✕ FAIL SCALED_BY_ACCUMULATION", "sum of means | mean of means", "4.142", "modeling_tiny.py:42"),
        "<code>trainer.model_accepts_loss_kwargs = False</code> before trainer.train(). "
        "Tried; still wrong after that: short micro-batches weigh too much.",
        "<code>gacheck survey gemma3 --transformers 4.50.3</code>",
    ]


def test_without_a_verdict_the_reason_is_said() -> None:
    assert "its time ran out after 60 s" in Page(SURVEYS["mixed"]).cells("Kosmos2ForConditionalGeneration")[0]


def test_classes_stand_under_their_newest_verdict_the_gravest_first() -> None:
    text = Page(
        survey([judged(LLAMA, "token_mean"), judged(GEMMA3, "sum_of_means"), judged(BERT, "mean_of_means")])
    ).text()

    assert re.search(r"✕ FAIL SCALED_BY_ACCUMULATION .* ! WARN MEAN_OF_MEANS .* ✓ OK ", text)
    assert "1 of 3 classes train wrongly, 1 more not quite rightly" in text


def test_a_class_without_an_auto_class_has_a_heading_too() -> None:
    shown = Page(survey([judged(LLAMA, "token_mean"), judged(replace(BERT, task=""), "token_mean")]))

    assert "no auto class" in shown.text()
    assert "<h4></h4>" not in shown.source


def test_two_classes_of_one_name_have_rows_of_their_own() -> None:
    shown = Page(survey([judged(LLAMA, "token_mean"), judged(replace(LLAMA, name="llama_too"), "sum_of_means")]))

    assert shown.cells("LlamaForCausalLM")[0][2] == "✓ OK"
    assert shown.cells("LlamaForCausalLM-llama_too")[0][2] == "✕ FAIL SCALED_BY_ACCUMULATION"


def test_no_two_verdicts_look_alike_without_colour() -> None:
    marks = {code: mark_of(code, severity) for code, severity in SEVERITY.items()}

    assert len({mark.letters for mark in marks.values()}) == len(SEVERITY)
    assert letters("SCALED_BY_ACCUMULATION") == "SA"
    assert mark_of(None, None).letters not in {mark.letters for mark in marks.values()}


def test_hostile_names_are_text() -> None:
    kind = Kind(SCRIPT, SCRIPT, SCRIPT)
    shown = Page(survey([judged(kind, "sum_of_means")]))

    assert SCRIPT in shown.text()
    assert SCRIPT not in shown.source
    assert "class-0" in {each.get("id") for _, each in shown.elements}
    assert all(char.isprintable() or char == "\n" for char in Page(SURVEYS["hostile"]).source)
