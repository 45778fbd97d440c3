"""What is asked of every wrong case: its truth, its verdict at every door, and what comes of each remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import pytest

from gacheck.words.analysis import Analysis
from tests.known.cases import OTHER_FLAG, Figures, Remedy, Wrong
from tests.known.doors import DOORS, check
from tests.known.training import lines_of
from tests.trials.truth import StepTruth, Truth

AS_WRITTEN = 0.015
"""Figures are written with two or three digits."""
AS_TOLD = 0.05
"""What a verdict tells of gradients comes from their sketches."""
_NORM = re.compile(r"norm ([\d.]+) of the right one")


def each_of(cases: Sequence[Wrong]) -> pytest.MarkDecorator:
    """Parametrize by the case, for its truth."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


def each_at_its_doors(cases: Sequence[Wrong]) -> pytest.MarkDecorator:
    """Parametrize by the case and the door, for its verdict."""
    asked = [(case, door) for case in cases for door in DOORS]
    params = [pytest.param(case, door, id=f"{case.name}-{door}", marks=_pending(case)) for case, door in asked]
    return pytest.mark.parametrize(("case", "door"), params)


def each_remedy(cases: Sequence[Wrong]) -> pytest.MarkDecorator:
    """Parametrize by the case and the remedy."""
    asked = [(case, remedy) for case in cases for remedy in case.remedies]
    params = [pytest.param(case, remedy, id=f"{case.name}-{remedy.says}") for case, remedy in asked]
    return pytest.mark.parametrize(("case", "remedy"), params)


def _pending(case: Wrong) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.xfail(reason=case.pending, strict=True),) if case.pending else ()


@cache
def judged(case: Wrong, door: str) -> Analysis:
    """Judge a case once at each door."""
    return DOORS[door](case.training)


@cache
def truth_of(case: Wrong) -> Truth:
    """Train a case bare, once."""
    return case.training.truth(case.part, reference=case.reference)


def assert_it_is_wrong(case: Wrong) -> None:
    """Check the truth of a case against the field's figures."""
    _assert_figures(truth_of(case), case.figures, late=case.late)
    if case.other_flag is not None:
        other = case.training.with_typed(OTHER_FLAG).truth(case.part, reference=case.reference)
        _assert_figures(other, case.other_flag, late=case.late)


def assert_verdict(case: Wrong, door: str) -> None:
    """Check what is said of a case."""
    verdict = judged(case, door).verdict
    assert (verdict.code, verdict.severity, verdict.affects) == (case.code, case.severity, case.affects)
    for words in case.cause:
        assert words in verdict.words.cause
    for line in lines_of(verdict.words.fix):
        assert any(remedy.is_in(line) for remedy in case.remedies), f"nobody tries {line}"
    if told := _NORM.search(verdict.words.impact):
        shown = truth_of(case).steps[1 if case.late else 0]
        assert float(told[1]) == pytest.approx(shown.norm_ratio, rel=AS_TOLD)


def assert_remedy(case: Wrong, remedy: Remedy) -> None:
    """Check that a remedy is advised, and that following it leaves what the advice says."""
    for door in DOORS:
        fix = judged(case, door).verdict.words.fix
        assert remedy.says in fix
        assert remedy.warns in fix
    followed = remedy.applied(case.training, fix)
    truth = followed.truth(remedy.leaves or case.part)
    assert truth.label == "right", truth
    assert len(truth.steps) == case.training.num_steps
    if case.training.num_steps == 1:
        return  # one more of a kind that is judged again elsewhere
    then = check(followed).verdict
    assert (then.severity == "ok") if remedy.then is None else (then.code == remedy.then)


def _assert_figures(truth: Truth, figures: Figures, *, late: bool) -> None:
    shown = truth.steps[1 if late else 0]
    if late:
        assert truth.first(1).label == "right", truth
    is_right = figures == Figures()
    assert (truth.label == "right") is is_right, truth
    for name, figure in (("loss", figures.loss), ("norm", figures.norm), ("cosine", figures.cosine)):
        assert figure is None or _measured(shown)[name] == pytest.approx(figure, rel=AS_WRITTEN), (name, shown)


def _measured(step: StepTruth) -> dict[str, float]:
    return {"loss": step.logged / step.right, "norm": step.norm_ratio, "cosine": step.cosine}
