"""`gacheck explain`: every code has a section, and a reader of a terminal sees no Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.commands.explain import PAGE, render_section, sections
from gacheck.reporters.reporter import View
from gacheck.words.faults import FAULTS

DOCS = Path(__file__).parents[2] / "docs"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["explain", *arguments])
    assert not caught.value.code
    return capsys.readouterr().out


def test_the_page_is_that_of_the_docs() -> None:
    import gacheck.commands

    shipped = Path(gacheck.commands.__file__).with_name(PAGE)
    assert shipped.read_bytes() == (DOCS / "faults.md").read_bytes()


@pytest.mark.parametrize("code", FAULTS)
def test_every_code_has_a_section_that_reads_as_text(code: str) -> None:
    text = render_section(code, sections()[code], View(width=70))

    lines = text.splitlines()
    assert lines[0].strip() == code
    assert "What it is." in text
    prose = re.split(r"^ \$ gacheck", text, flags=re.MULTILINE)[0]
    assert not re.search(r"\*\*[A-Z]|\]\(|<!--|\|---|^\| ", prose, re.MULTILINE)
    assert max(map(len, prose.splitlines())) <= 70


def test_what_a_table_held_is_all_there() -> None:
    page = "| place | fix |\n|---|---|\n| Trainer | `a.b = 1`, [see](#c) |\n"

    assert " ".join(render_section("X", page, View()).split()) == "X • Trainer: a.b = 1, see"


def test_a_code_may_be_typed_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "mean-of-means") == shown(capsys, "MEAN_OF_MEANS")


def test_without_a_code_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys)

    assert re.findall(r"^(?:FAIL|WARN|OK|\?) +([A-Z_]+)  ", text, re.MULTILINE) != []
    assert {each for each in FAULTS if each in text} == set(FAULTS)
    assert ":." not in text


@pytest.mark.parametrize(("typed", "meant"), [("SCALED", "SCALED_BY_ACCUMULATION"), ("mean_of_maens", "MEAN_OF_MEANS")])
def test_a_code_that_is_none_is_guessed(capsys: pytest.CaptureFixture[str], typed: str, meant: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["explain", typed])

    assert caught.value.code == 2
    assert f"did you mean  gacheck explain {meant}" in capsys.readouterr().err
