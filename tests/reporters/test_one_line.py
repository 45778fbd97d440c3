"""The verdict on one line."""

from gacheck.reporters.one_line import render_one_line
from gacheck.reporters.reporter import PAGE
from gacheck.words.analysis import analyse
from tests.reporters.cases import RECORDS


def test_it_is_one_line() -> None:
    shown = {name: render_one_line(analyse(record), PAGE) for name, record in RECORDS.items()}

    assert {text.count(b"\n") for text in shown.values()} == {1}
    assert shown["scaled"] == b"SCALED_BY_ACCUMULATION: the loss is k times too large\n"
