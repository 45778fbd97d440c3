"""`gacheck selftest`: what it prints and where, and its exit code. The measurements are made by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gacheck.cli import main
from gacheck.measure.selftest import outcomes as module
from gacheck.measure.selftest.mutants import MUTANTS, TWIN
from gacheck.measure.selftest.outcomes import Outcome
from gacheck.words.analysis import analyse
from tests.reporters.cases import RECORDS

SCALED = next(each for each in MUTANTS if each.code == "SCALED_BY_ACCUMULATION" and each.affects == "both")


def made(*, is_missed: bool) -> Iterator[Outcome]:
    yield Outcome(TWIN, "float32", analyse(RECORDS["right"]))
    yield Outcome(SCALED, "float32", analyse(RECORDS["right" if is_missed else "scaled"]))


@pytest.mark.parametrize("is_missed", [False, True])
def test_what_is_missed_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_missed: bool
) -> None:
    monkeypatch.setattr(module, "outcomes", lambda: made(is_missed=is_missed))
    monkeypatch.setattr(module, "NUM_OUTCOMES", 2)
    with pytest.raises(SystemExit) as caught:
        main(["selftest"])

    shown = capsys.readouterr()
    assert int(caught.value.code or 0) == is_missed
    assert f"{2 - is_missed} of 2 as expected: 1 right models and 1 faults" in shown.out
    assert ("MISSED" in shown.out) is is_missed
    # How far it is stands on stderr, and is no part of the result.
    assert shown.err.splitlines() == [f"1 of 2  float32 {TWIN.name}", f"2 of 2  float32 {SCALED.name}"]


def test_verbose_has_a_line_for_each_on_stdout_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "outcomes", lambda: made(is_missed=False))
    with pytest.raises(SystemExit):
        main(["selftest", "-v"])

    shown = capsys.readouterr()
    assert re.findall(r"^caught float32", shown.out, re.MULTILINE) == ["caught float32"] * 2
    assert shown.err == ""
