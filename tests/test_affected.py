"""The page of affected models, made from surveys by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gacheck.record.journal import save_record
from gacheck.words.survey import read_survey
from tests.makers import load_maker
from tests.reporters.survey_cases import SURVEYS
from tests.test_docs import anchors, unknown_words

MAKER = load_maker("make_affected")


@pytest.mark.parametrize("name", sorted({*SURVEYS} - {"hostile"}))
def test_the_page_is_as_the_docs_are_to_be(name: str) -> None:
    text = MAKER.page(read_survey(SURVEYS[name]))
    faults = anchors((MAKER.PAGE.parent / "faults.md").read_text(encoding="utf-8"))

    assert text.startswith("<!-- Made by docs/make_affected.py")
    assert list(unknown_words(text)) == []
    assert set(re.findall(r"\(faults\.md#([^)]*)\)", text)) <= faults
    assert max(map(len, text.split("\n\n| verdict")[0].splitlines())) <= 120


def test_the_head_says_what_was_measured() -> None:
    head = " ".join(MAKER.page(read_survey(SURVEYS["releases"])).split("| verdict")[0].split())

    assert "under transformers 4.50.3, 4.57.6 and 5.24.0" in head
    assert "15 of 20 pairs of class and release have a verdict" in head


def test_a_page_is_made_again_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "survey").mkdir()
    save_record(SURVEYS["releases"], tmp_path / "survey")
    monkeypatch.setattr(MAKER, "PAGE", tmp_path / "affected-models.md")
    monkeypatch.setattr(MAKER, "measure", lambda *given: pytest.fail("it measured"))
    monkeypatch.setattr("sys.argv", ["make_affected.py", "--from", str(tmp_path / "survey")])

    MAKER.main()

    assert "`Gemma3ForConditionalGeneration` loss 4.142 times" in (tmp_path / "affected-models.md").read_text()
    assert (tmp_path / "survey" / "affected.html").read_text().startswith("<!doctype html>")
    assert "affected.html" in capsys.readouterr().out
