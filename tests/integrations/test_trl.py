"""TRL's SFTTrainer, newest: its fused loss gives no logits, it logs metrics of its own, and it has a command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.sft_arguments import ARGUMENTS
from tests.integrations.trainings import (
    HERE,
    Pair,
    attached,
    check_grouping,
    check_same,
    check_scaled,
    check_seen,
    train,
    train_both,
    train_side_by_side,
)

pytestmark = pytest.mark.integrations

SCRIPT = str(HERE / "sft_training.py")
# Options of the script → verdict.
EXPECTED = {
    (): "OK",
    ("--lora",): "OK",
    ("--label-smoothing-factor", "0.1"): "OTHER_OBJECTIVE",
    ("--loss-type", "dft"): "OTHER_OBJECTIVE",
    ("--loss-type", "chunked_nll"): "OK",  # a name that will go; the loss is that of nll
}
LOSS_TYPES = ("nll", "dft", "chunked_nll")
# The same rows of every step, at once and in k micro-batches.
WHOLE, SPLIT = ("8", "1"), ("2", "4")
METRICS = {"loss", "entropy", "num_tokens", "mean_token_accuracy"}


@pytest.fixture(scope="module")
def trained(
    material: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[tuple[str, ...]], Pair]:
    @cache
    def train_it(options: tuple[str, ...]) -> Pair:
        command = ("python", SCRIPT, str(material("trl")), *options)
        return train_both("trl", tmp_path_factory.mktemp("sft") / "both", *command)

    return train_it


@pytest.mark.parametrize("options", EXPECTED, ids=lambda options: " ".join(options) or "full")
def test_the_training_and_its_metrics_are_the_same(trained: Any, options: tuple[str, ...]) -> None:
    pair = trained(options)
    check_same(pair.watched, pair.alone)
    assert pair.alone.log[0].keys() >= METRICS
    saved = "adapter_model.safetensors" if "--lora" in options else "model.safetensors"
    assert saved in pair.watched.files


@pytest.mark.parametrize("options", EXPECTED, ids=lambda options: " ".join(options) or "full")
def test_verdict(trained: Any, options: tuple[str, ...]) -> None:
    watched = trained(options).watched
    check_seen(watched)
    analysis = watched.analysis
    assert (analysis.verdict.code, analysis.verdict.auto_rule) == (EXPECTED[options], "token_mean")
    assert analysis.record.setup.trainer_class == "trl.trainer.sft_trainer:SFTTrainer"
    assert (analysis.record.model.adapter is not None) == ("--lora" in options)


def test_these_are_all_the_loss_types(tmp_path: Path) -> None:
    choices = "SFTConfig.__dataclass_fields__['loss_type'].metadata['choices']"
    told = train("trl", tmp_path / "run", "python", "-c", f"from trl import SFTConfig; print(*{choices})")
    assert told.stdout.split() == list(LOSS_TYPES), told.stderr[-3000:]


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_loss_does_not_depend_on_how_the_rows_are_grouped(
    material: Callable[[str], Path], tmp_path: Path, loss_type: str
) -> None:
    command = ("python", SCRIPT, str(material("trl")), "--loss-type", loss_type, "--grouped")
    commands = {"whole": (*command, *WHOLE), "split": (*command, *SPLIT)}
    check_grouping(**train_side_by_side("trl", tmp_path, commands))


@pytest.mark.parametrize("options", EXPECTED, ids=lambda options: " ".join(options) or "full")
def test_a_loss_that_is_k_times_too_large_is_caught(
    material: Callable[[str], Path], tmp_path: Path, options: tuple[str, ...]
) -> None:
    command = ("python", SCRIPT, str(material("trl")), *options, "--times-k")
    check_scaled(train("trl", tmp_path / "wrong", *attached(*command)))


@pytest.mark.parametrize("options", [(), ("--lora",)], ids=["full", "lora"])
def test_logits_of_a_fused_loss_come_from_a_forward_of_their_own(trained: Any, options: tuple[str, ...]) -> None:
    seen = trained(options).watched.observations
    assert all(o.sum_nats is not None and o.backward_loss_nats is not None for o in seen)
    # The loss knows nothing of them: no gradient passes through.
    assert {o.weight for o in seen} == {None}


@pytest.mark.parametrize("options", EXPECTED)
def test_every_micro_batch_is_repeated_with_its_gradient(trained: Any, options: tuple[str, ...]) -> None:
    seen = trained(options).watched.observations
    assert all(each.own_mean_nats is not None and each.gradient is not None for each in seen)


def test_command_line(material: Callable[[str], Path], trained: Any, tmp_path: Path) -> None:
    data, config = tmp_path / "data", tmp_path / "sft.yaml"
    data.mkdir()
    shutil.copy(material("trl") / "text.jsonl", data)
    arguments = {
        "model_name_or_path": str(material("trl") / "llama"),
        "dataset_name": str(data),
        "dtype": "float32",
        **ARGUMENTS,
    }
    config.write_text(json.dumps(arguments))
    watched = train("trl", tmp_path / "run", *attached("trl", "sft", "--config", str(config)))

    assert watched.exit_code == 0, watched.stderr[-3000:]
    alone = trained(()).alone
    assert watched.weights == alone.weights
    assert watched.printed_losses == alone.printed_losses
    # The command line does not save the state.
    assert watched.files == alone.files - {"trainer_state.json"}
    check_seen(watched)
    assert watched.analysis.verdict.code == "OK"
