"""SetFit, newest: the Trainer of its embeddings is watched, found right, and caught where it multiplies by k."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.trainings import (
    ACCUMULATION_STEPS,
    HERE,
    attached,
    check_grouping,
    check_same,
    check_scaled,
    train,
    train_both,
    train_side_by_side,
)

pytestmark = pytest.mark.integrations

ENVIRONMENT = "setfit"
COMMAND = ("python", str(HERE / "setfit_training.py"), "model")


def test_it_is_right_and_trains_as_it_does_alone(tmp_path: Path) -> None:
    pair = train_both(ENVIRONMENT, tmp_path / "both", *COMMAND)
    watched = pair.watched

    check_same(watched, pair.alone)
    analysis = watched.analysis
    assert (analysis.verdict.code, analysis.ok) == ("OTHER_OBJECTIVE", True), analysis.verdict.words
    assert analysis.record.setup.trainer_class == "setfit.trainer:BCSentenceTransformersTrainer"
    assert len(watched.observations) == 2 * ACCUMULATION_STEPS
    assert all(each.own_mean_nats is not None and each.gradient is not None for each in watched.observations)


def test_a_loss_that_is_k_times_too_large_is_caught(tmp_path: Path) -> None:
    check_scaled(train(ENVIRONMENT, tmp_path / "wrong", *attached(*COMMAND, "--times-k")))


def test_the_loss_does_not_depend_on_how_the_rows_are_grouped(tmp_path: Path) -> None:
    commands = {"whole": (*COMMAND, "--grouped", "16", "1"), "split": (*COMMAND, "--grouped", "4", "4")}

    check_grouping(**train_side_by_side(ENVIRONMENT, tmp_path, commands))
