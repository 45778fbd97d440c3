"""sentence-transformers, newest: a loss over rows, and one over all pairs of a micro-batch; both right at every k."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.trainings import HERE, attached, check_same, check_scaled, train, train_both

pytestmark = pytest.mark.integrations

ENVIRONMENT = "sentence-transformers"
SCRIPT = str(HERE / "sentence_training.py")
LOSSES = ("CosineSimilarityLoss", "MultipleNegativesRankingLoss")


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_right_and_trains_as_it_does_alone(tmp_path: Path, loss: str) -> None:
    pair = train_both(ENVIRONMENT, tmp_path / "both", "python", SCRIPT, "model", loss)

    check_same(pair.watched, pair.alone)
    assert pair.watched.analysis.verdict.code == "OTHER_OBJECTIVE", pair.watched.analysis.verdict.words


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_that_is_k_times_too_large_is_caught(tmp_path: Path, loss: str) -> None:
    check_scaled(train(ENVIRONMENT, tmp_path / "wrong", *attached("python", SCRIPT, "model", loss, "--times-k")))
