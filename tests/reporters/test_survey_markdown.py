"""A survey as Markdown: every affected class by its name, since when, what to do, what shows it."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from gacheck.record.survey import SurveyRecord
from gacheck.reporters.survey_markdown import render_survey_markdown
from gacheck.words.survey import read_survey
from tests.reporters.survey_cases import SURVEYS
from tests.surveys import GEMMA3, LLAMA, MIDDLE, NEW, OLD, judged, survey


def render(record: SurveyRecord) -> str:
    return render_survey_markdown(read_survey(record))


def section(text: str, title: str) -> str:
    """Return what stands under a heading."""
    found = re.search(rf"^#### {title}$(.*?)(?=^####|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def test_every_affected_class_has_its_line() -> None:
    scaled = section(render(SURVEYS["releases"]), "SCALED_BY_ACCUMULATION")

    assert "**FAIL by default (the Trainer chooses the flag on)**, causal-lm, 2 classes, in 4.50.3" in scaled
    assert "(4.57.6: MEAN_OF_MEANS; 5.24.0: OK)" in scaled
    assert (
        "What to do: `trainer.model_accepts_loss_kwargs = False` before trainer.train(). "
        "Tried; still wrong after that: short micro-batches weigh too much."
    ) in scaled
    assert (
        "- `Gemma3ForConditionalGeneration` loss 4.142 times the right one at k = 4, gradient norm 4.167 times, "
        "cosine 0.958 (modeling_tiny.py:42): `gacheck survey gemma3 --transformers 4.50.3`"
    ) in scaled


def test_the_command_is_a_run_where_the_release_is_the_installed_one() -> None:
    record = survey([judged(GEMMA3, "sum_of_means")])
    assert "`gacheck survey gemma3 --transformers 5.24.0`" in render(record)

    packages = {**record.environment.packages, "transformers": NEW}
    here = record.model_copy(update={"environment": record.environment.model_copy(update={"packages": packages})})
    assert "`gacheck run tiny:gemma3`" in render(here)


def rows(*rules: str) -> SurveyRecord:
    """Make a survey of Llama under three releases, the newest first as `newest,4.57.6,4.50.3` has them."""
    return survey(
        [judged(LLAMA, rule, release=release) for rule, release in zip(rules, (NEW, MIDDLE, OLD), strict=True)]
    )


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (("sum_of_means", "sum_of_means", "sum_of_means"), "in 4.50.3, 4.57.6 and 5.24.0."),
        (("sum_of_means", "sum_of_means", "token_mean"), "since 4.57.6 (4.50.3: OK)."),
        (("token_mean", "sum_of_means", "token_mean"), "in 4.57.6 (4.50.3: OK; 5.24.0: OK)."),
        (("token_mean", "token_mean", "sum_of_means"), "in 4.50.3 (4.57.6: OK; 5.24.0: OK)."),
        (("sum_of_means", "token_mean", "sum_of_means"), "in 4.50.3 and 5.24.0 (4.57.6: OK)."),
    ],
)
def test_since_when_is_what_was_measured(rules: tuple[str, ...], told: str) -> None:
    assert f"1 class, {told}" in section(render(rows(*rules)), "SCALED_BY_ACCUMULATION")


def test_what_is_wrong_with_the_flag_on_alone_is_told_apart() -> None:
    text = render(SURVEYS["releases"])

    assert (
        "- SCALED_BY_ACCUMULATION under transformers 4.57.6, 2: `Gemma3ForCausalLM`, `Gemma3ForConditionalGeneration`"
    ) in section(text, "With the flag on only")
    assert "With the flag on only" not in render(SURVEYS["right"])


def test_what_is_right_and_what_is_open_close_it() -> None:
    text = render(SURVEYS["releases"])

    assert "Under 5.24.0, 3: `Gemma3ForCausalLM`, `Gemma3ForConditionalGeneration`, `LlamaForCausalLM`" in section(
        text, "Checked and right"
    )
    assert "- `its time ran out after 60 s` `Kosmos2ForConditionalGeneration (4.50.3, 4.57.6, 5.24.0)`" in section(
        text, "No verdict"
    )
    assert "**Incomplete: 2 of 5 are not measured yet.**" in render(SURVEYS["partial"])


@pytest.mark.parametrize("name", SURVEYS)
def test_no_class_is_left_out(name: str) -> None:
    analysis, text = read_survey(SURVEYS[name]), render(SURVEYS[name])
    names = {row.class_name or row.item.name for row in analysis.rows if "\n" not in row.item.name}

    assert [each for each in names if each.isidentifier() and f"`{each}" not in text] == []
    assert all(row.code is None or f"| {row.code} |" in text for row in analysis.rows)


def test_classes_are_counted_by_verdict_and_release() -> None:
    assert "| SCALED_BY_ACCUMULATION | 2 | 0 | 0 |\n| MEAN_OF_MEANS | 1 | 3 | 1 |" in render(SURVEYS["releases"])


def test_hostile_names_are_text() -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(render(SURVEYS["hostile"]))
    kinds = {child.type for token in tokens for child in token.children or []}

    assert kinds <= {"text", "code_inline", "strong_open", "strong_close", "softbreak", "html_inline"}
    assert [token.content for token in tokens if token.type == "html_block"] == []
