"""A comparison, shown: narrow enough, deaf to hostile names, Markdown that is a table."""

from __future__ import annotations

import json

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len

from gacheck.reporters import reporters
from gacheck.reporters.comparison.document import render_document
from gacheck.reporters.comparison.markdown import render_markdown
from gacheck.reporters.comparison.text import render_text
from gacheck.reporters.reporter import PAGE, View
from tests.reporters.comparison_cases import COMPARISONS


def test_the_formats() -> None:
    assert list(reporters("comparison")) == ["terminal", "json", "markdown"]


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("format", reporters("comparison"))
def test_a_format_is_whole_and_the_same_every_time(format: str, name: str) -> None:
    render = reporters("comparison")[format].render

    # Hostile words hold what no text can be encoded as; every format shows it as an escape.
    shown = render(COMPARISONS[name], PAGE)
    assert shown.endswith(b"\n")
    assert shown == render(COMPARISONS[name], PAGE)


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_too_wide_and_no_control_character_gets_through(name: str, width: int) -> None:
    lines = render_text(COMPARISONS[name], View(width=width)).split("\n")

    assert [line for line in lines if cell_len(line) > min(width, 80)] == []
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("name", COMPARISONS)
def test_it_can_be_spelled_in_ascii(name: str) -> None:
    text = render_text(COMPARISONS[name], View(ascii=True))

    assert text.isascii()
    assert "\\u2192" not in text


def test_two_releases_on_the_terminal() -> None:
    assert render_text(COMPARISONS["releases"]) == (
        "A  before@4.50.3   transformers 4.50.3 · torch 2.13.0\n"
        "B  after@4.57.6    transformers 4.57.6 · torch 2.13.0\n"
        "\n"
        "better: FAIL SCALED_BY_ACCUMULATION → WARN MEAN_OF_MEANS (2)\n"
        "    Gemma3ForConditionalGeneration  4.142 → 1.036\n"
        "    Gemma3ForCausalLM               4.142 → 1.036\n"
        "\n"
        "only in B: no verdict\n"
        "    NemotronHForCausalLM  the package timm is missing; install it with  pip\n"
        "                          install timm\n"
        "\n"
        "Figures: the loss over the right one, with the flag as the Trainer chooses it.\n"
        "\n"
        "6 compared: 2 better, 1 without a verdict in either, 3 the same; 1 only in B\n"
        "no regression in the 5 classes that are judged in both\n"
    )


def test_two_runs_on_the_terminal() -> None:
    assert render_text(COMPARISONS["regressed"]) == (
        "A  gacheck-runs/before   transformers 5.23.0 · torch 2.13.0\n"
        "B  gacheck-runs/after    transformers 5.23.0 · torch 2.13.0\n"
        "\n"
        "worse: OK → FAIL SCALED_BY_ACCUMULATION\n"
        "    k=2 on   ratio 1.000 → 2.011   grad 1.000 → 1.667\n"
        "    k=4 on   ratio 1.000 → 4.142   grad 1.000 → 4.167\n"
        "    k=8 on   ratio 1.000 → 8.163   grad 1.000 → 12.500\n"
        "    ratio, grad: this pass's loss, gradient norm / the right one\n"
        "    right → sum of means: k=2 on, k=4 on, k=8 on\n"
        "\n"
        "REGRESSION: OK → FAIL SCALED_BY_ACCUMULATION\n"
    )


def test_what_is_worse_is_listed_whole_and_the_rest_is_not() -> None:
    worse, moved = render_text(COMPARISONS["many worse"]), render_text(COMPARISONS["many"])

    assert [name for name in (f"    M{i} " for i in range(40)) if name not in worse] == []
    assert "more, which --json names" not in worse
    assert "    and 7 more, which --json names\n" in moved


def test_what_is_the_same_is_counted_and_not_listed() -> None:
    assert "Llama" not in render_text(COMPARISONS["releases"])


@pytest.mark.parametrize(
    ("name", "word"), [("regressed", "31mREGRESSION"), ("fixed", "32mno regression"), ("lost", "36m?")]
)
def test_the_last_line_has_the_colour_of_its_result(name: str, word: str) -> None:
    plain, painted = (render_text(COMPARISONS[name], View(color=color)) for color in (False, True))

    assert plain.count("\x1b") == 0
    assert f"\x1b[1;{word}\x1b[0m" in painted.splitlines()[-1]
    assert painted.count("\x1b") == 2


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_json_holds_every_change(name: str) -> None:
    document = json.loads(render_document(COMPARISONS[name]), parse_constant=pytest.fail)

    assert len(document["rows"]) == len(COMPARISONS[name].changes) == sum(document["counts"].values())
    assert document["result"] == COMPARISONS[name].result


def test_the_json_of_a_class() -> None:
    rows = {row["class"]: row for row in json.loads(render_document(COMPARISONS["releases"]))["rows"]}

    gemma3 = rows["Gemma3ForConditionalGeneration"]
    assert (gemma3["change"], gemma3["task"], gemma3["model_type"]) == ("better", "causal-lm", "gemma3")
    assert (gemma3["a"]["verdict"], gemma3["a"]["loss_kwargs"]) == ("SCALED_BY_ACCUMULATION", "on")
    assert (gemma3["b"]["verdict"], gemma3["b"]["loss_kwargs"]) == ("MEAN_OF_MEANS", "off")
    assert gemma3["a"]["ratio"] == pytest.approx(4.142394822, rel=1e-9)
    new = rows["NemotronHForCausalLM"]
    assert (new["change"], new["a"], new["b"]["verdict"]) == ("new", None, None)
    assert "timm" in new["b"]["reason"]


def test_no_loss_is_compared_or_shown() -> None:
    # The reported loss of the first step; another release has other weights and so another loss.
    document = render_document(COMPARISONS["fixed"])

    assert "reported_loss" not in document
    assert "5.255" not in render_text(COMPARISONS["fixed"])


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_markdown_is_a_heading_a_list_and_a_table(name: str) -> None:
    comparison = COMPARISONS[name]
    tokens = MarkdownIt("commonmark").enable("table").parse(render_markdown(comparison))

    opened = [token.type for token in tokens if token.nesting == 1 and token.level == 0]
    changed = sum(change.kind not in ("same", "unjudged") for change in comparison.changes)
    expected = ["heading_open", "bullet_list_open", *(["table_open"] if changed else [])]
    assert opened == [*expected, *(["paragraph_open"] if comparison.kind == "survey" else [])]
    assert sum(token.type == "tr_open" for token in tokens) == (changed + 1 if changed else 0)
    cells = sum(token.type in ("td_open", "th_open") for token in tokens)
    assert cells == 4 * (changed + 1 if changed else 0)
    html = {child.content for token in tokens for child in token.children or [] if child.type == "html_inline"}
    assert html <= {"<!-- -->", "<span>", "</span>"}
