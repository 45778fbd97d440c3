"""Trainings with transformers' own Trainer: newest, and one with the reported fault."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.environments import INTEGRATIONS, integration
from tests.integrations.trainings import GACHECK, HERE, Pair, attached, check_same, check_seen, train, train_both

pytestmark = pytest.mark.integrations

SCRIPT = str(HERE / "plain_training.py")
WITH_REPORTED_FAULT = "llamafactory-0.9.3"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    @cache
    def train_it(trainer: str) -> Pair:
        return train_both("trl", tmp_path_factory.mktemp(trainer) / "both", "python", SCRIPT, trainer)

    return train_it


@pytest.mark.parametrize("environment", INTEGRATIONS)
def test_gacheck_is_not_installed_where_the_trainings_run(environment: str, tmp_path: Path) -> None:
    command = [str(integration(environment) / "python"), "-c", "import gacheck"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No module named 'gacheck'" in done.stderr


@pytest.mark.parametrize("trainer", ["right", "micro_batch_means"])
def test_the_training_is_the_same(trained: Any, trainer: str) -> None:
    check_same(trained(trainer).watched, trained(trainer).alone)


@pytest.mark.parametrize(
    ("trainer", "code", "rule"),
    [("right", "OK", "token_mean"), ("micro_batch_means", "SCALED_BY_ACCUMULATION", "sum_of_means")],
)
def test_verdict(trained: Any, trainer: str, code: str, rule: str) -> None:
    watched = trained(trainer).watched
    check_seen(watched)
    verdict = watched.analysis.verdict
    assert (verdict.code, verdict.auto_rule) == (code, rule)
    assert code in watched.stderr
    # Other programs read the same.
    command = [GACHECK, "report", str(watched.folder / "check"), "--format", "json"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(told.stdout)["verdict"]["code"] == code


def test_the_trainer_of_the_reported_fault(
    material: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = str(material(WITH_REPORTED_FAULT) / "gemma3")
    command = ("python", SCRIPT, "right", "--gemma3", folder)
    pair = train_both(WITH_REPORTED_FAULT, tmp_path_factory.mktemp("gemma3") / "both", *command)
    check_same(pair.watched, pair.alone)
    check_seen(pair.watched)
    analysis = pair.watched.analysis
    assert (analysis.verdict.code, analysis.verdict.auto_rule) == ("SCALED_BY_ACCUMULATION", "sum_of_means")
    assert analysis.record.environment.packages["transformers"] == "4.50.3"
    assert any(Path(at.file).name == "modeling_gemma3.py" for at in analysis.record.oracle.loss_location)


def test_a_failing_verdict_ends_a_check_with_1_and_nothing_is_saved(trained: Any, tmp_path: Path) -> None:
    options = ("--fail-on", "fail", "--stop-after-check")
    stopped = train("trl", tmp_path / "run", *attached("python", SCRIPT, "micro_batch_means", options=options))
    assert stopped.exit_code == 1
    assert stopped.files == set()
    check_seen(stopped)
    assert stopped.analysis.verdict.code == "SCALED_BY_ACCUMULATION"
    assert "the training was ended after the check; nothing of it was saved" in stopped.stderr
    # It ended in its second step, before that was logged.
    assert stopped.printed_losses == trained("micro_batch_means").alone.printed_losses[:1]


def test_a_right_training_that_was_stopped_ends_with_0(tmp_path: Path) -> None:
    options = ("--fail-on", "warn", "--stop-after-check")
    stopped = train("trl", tmp_path / "run", *attached("python", SCRIPT, "right", options=options))
    assert (stopped.exit_code, stopped.files) == (0, set())
    assert stopped.analysis.verdict.code == "OK"


def test_without_fail_on_a_check_ends_with_0_whatever_the_verdict(tmp_path: Path) -> None:
    options = ("--stop-after-check",)
    stopped = train("trl", tmp_path / "run", *attached("python", SCRIPT, "micro_batch_means", options=options))
    assert (stopped.exit_code, stopped.files) == (0, set())
    assert stopped.analysis.verdict.code == "SCALED_BY_ACCUMULATION"


def test_a_python_that_lets_nobody_in_trains_to_its_end_and_that_is_said(trained: Any, tmp_path: Path) -> None:
    missed = train("trl", tmp_path / "run", *attached("python", "-I", SCRIPT, "right"))
    assert missed.exit_code == 3
    assert "No Python process of the command let gacheck in." in missed.stderr
    assert not (missed.folder / "check" / "record.json").exists()
    alone = trained("right").alone
    assert (missed.weights, missed.files, missed.log) == (alone.weights, alone.files, alone.log)


def test_the_comparison_sees_another_training(trained: Any) -> None:
    with pytest.raises(AssertionError, match="other weights"):
        check_same(trained("micro_batch_means").watched, trained("right").alone)
