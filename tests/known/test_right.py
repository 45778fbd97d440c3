"""What is right is ok, however easily it is accused, and trains as it does alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from gacheck.words.analysis import Analysis
from tests.known.cases import Right
from tests.known.doors import check, watch
from tests.known.right import RIGHT
from tests.measure.modelling import same_weights, weights_of
from tests.trials.truth import Truth

each_case = pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)


@cache
def alone(case: Right) -> tuple[Truth, Any]:
    """Train a case bare, once."""
    trainer = case.training.make()
    return case.training.truth_of(trainer, case.part, case.bounds, calls_matter=case.calls_matter), trainer


@cache
def watched(case: Right) -> tuple[Analysis, Any]:
    """Train a case under watch, once."""
    trainer = case.training.make()
    return watch(trainer), trainer


@each_case
def test_it_is_right(case: Right) -> None:
    truth, _ = alone(case)

    assert len(truth.steps) == 2
    assert truth.label == "right", truth
    if case.most_nats is not None:
        assert max(step.right for step in truth.steps) < case.most_nats


@pytest.mark.parametrize("door", ["check", "attach"])
@each_case
def test_it_is_ok(case: Right, door: str) -> None:
    analysis = check(case.training) if door == "check" else watched(case)[0]

    assert analysis.ok
    assert analysis.verdict.code == case.code
    assert analysis.verdict.affects == "none"
    assert analysis.verdict.words.fix.startswith("None.")


@each_case
def test_it_trains_as_it_does_alone(case: Right) -> None:
    (_, one), (_, other) = alone(case), watched(case)

    assert same_weights(weights_of(one.model), weights_of(other.model))
    assert getattr(one.model, "calls", 0) == getattr(other.model, "calls", 0)
