"""TRL's trainers without labels, newest: right ones are ok and train as they do alone; a planted × k is caught."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.trainings import HERE, Pair, Training, attached, check_same, check_scaled, train, train_both

pytestmark = pytest.mark.integrations

SCRIPT = str(HERE / "label_free_training.py")
KINDS = ("DPO", "KTO", "Reward", "ORPO", "CPO", "GRPO", "RLOO")
GENERATE = ("GRPO", "RLOO")
QUIET = {"TRL_EXPERIMENTAL_SILENCE": "1"}


@pytest.fixture(scope="module")
def trained(material: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    @cache
    def train_it(kind: str) -> Pair:
        command = ("python", SCRIPT, str(material("trl")), kind)
        return train_both("trl", tmp_path_factory.mktemp(kind) / "both", *command, **QUIET)

    return train_it


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_as_it_does_alone(trained: Any, kind: str) -> None:
    pair = trained(kind)

    check_same(pair.watched, pair.alone, prints_times=kind in GENERATE)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_right(trained: Any, kind: str) -> None:
    watched: Training = trained(kind).watched
    analysis = watched.analysis

    assert analysis.ok, analysis.verdict.words
    assert analysis.record.num_steps == 2
    assert len(watched.observations) == 8
    assert all(each.own_mean_nats is not None for each in watched.observations)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_k_times_too_large_is_caught(material: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    command = ("python", SCRIPT, str(material("trl")), kind, "--times-k")
    check_scaled(train("trl", tmp_path / "wrong", *attached(*command), **QUIET))
