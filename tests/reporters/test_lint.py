"""What was read, shown: no line is too wide, the gravest stands last, and names from files are harmless."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.cells import cell_len

from gacheck.lint.finding import Finding, LintReport
from gacheck.reporters.lint_json import LintedClass, render_lint_json
from gacheck.reporters.lint_terminal import MOST_ROWS, render_lint
from gacheck.reporters.reporter import View
from gacheck.rules.facts import CodeLocation

MODEL = CodeLocation("/lib/transformers/models/tom/modeling_tom.py", 47, "forward")
LOSS = CodeLocation("/lib/transformers/loss/loss_utils.py", 11, "fixed_cross_entropy")

FINE = Finding("TomForCausalLM", "tom", MODEL.file, "reaches", "fine", (MODEL, LOSS), flag=True, takes_kwargs=True)
AFFECTED = replace(FINE, class_name="TomForMaskedLM", answer="dropped", effect="affected", trail=(MODEL,))
OFF = replace(AFFECTED, class_name="TomDeclaring", effect="mean_of_means", declared=False, flag=False)
UNKNOWN = replace(
    FINE, class_name="TomForTomographyWithAVeryLongNameThatGoesOnAndOn", answer="unknown", effect="unknown", why="so"
)
REPORT = LintReport("5.24.0", (AFFECTED, FINE, OFF, UNKNOWN))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_too_wide(width: int) -> None:
    lines = render_lint(REPORT, View(width=width)).splitlines()

    assert all(cell_len(line) <= width for line in lines if "gacheck run" not in line)


def test_the_gravest_stands_last() -> None:
    text = render_lint(REPORT)

    heads = [text.index(f"\n{each}  1 class") for each in ("fine", "mean of means", "unknown", "affected")]
    assert heads == sorted(heads)
    assert "transformers 5.24.0" in text.splitlines()[0]


def test_each_says_what_there_is_to_say() -> None:
    text = " ".join(render_lint(REPORT).split())

    assert "TomForCausalLM modeling_tom.py:47 → loss_utils.py:11" in text
    assert "TomForMaskedLM modeling_tom.py:47 " in text
    assert "flag off: the class declares accepts_loss_kwargs =" in text
    assert "gacheck run tiny:TomForMaskedLM" in text


def test_a_loss_for_class_labels_alone_is_said_to_be() -> None:
    text = render_lint(LintReport(None, (replace(FINE, apart=(LOSS,)),)))

    assert "for class labels alone" in text


def test_long_lists_are_cut_unless_all_is_asked_for() -> None:
    many = LintReport("5.24.0", tuple(replace(FINE, class_name=f"Tom{each}") for each in range(MOST_ROWS + 5)))

    assert "… and 5 more" in render_lint(many)
    assert f"Tom{MOST_ROWS + 4}" in render_lint(many, View(verbose=True))


def test_names_from_files_are_harmless_and_ascii_where_nothing_else_is_spoken() -> None:
    hostile = LintReport("5.24.0", (replace(FINE, class_name="A\x1b[2J", why="\u202e"),))

    assert "\x1b" not in render_lint(hostile)
    assert render_lint(REPORT, View(ascii=True)).isascii()
    assert "\x1b[1;31maffected" in render_lint(REPORT, View(color=True))


def test_json_has_the_keys_of_the_contract() -> None:
    document = json.loads(render_lint_json(REPORT))

    assert {*document} == {"kind", "schema_version", "transformers", "rows"}
    assert all({*row} == {*LintedClass.__annotations__} for row in document["rows"])
    row = document["rows"][1]
    assert (row["class"], row["trail"][1]["line"], row["why"]) == ("TomForCausalLM", 11, None)
