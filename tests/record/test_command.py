"""What repeats a measurement, parsed as a shell and the program would parse it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from gacheck.cli import app
from gacheck.config import ExperimentConfig, RunConfig, load_config
from gacheck.record.attach import AttachRecord
from gacheck.record.command import (
    ATTACH,
    CHECK_MODEL,
    CHECK_TRAINER,
    SMOKE,
    attach_command,
    fuller_command,
    repeating,
    run_command,
    smoke_command,
)
from gacheck.reporters.command import shell_line
from gacheck.rules.facts import Flag
from tests.builders import attached_run, full_run


def typed(line: str) -> list[str]:
    """Return the words that a shell makes of a line."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, timeout=20)
    return done.stdout.decode().split("\0")[:-1]


def flags_of(line: str) -> dict[str, Any]:
    """Return what the program makes of a line that is typed into a shell."""
    program, name, *arguments = typed(line)
    assert program == "gacheck"
    group: Any = typer.main.get_command(app)
    return dict(group.commands[name].make_context(name, list(arguments)).params)


def read(command: Sequence[str]) -> RunConfig:
    flags = flags_of(shell_line(command))
    config = flags.pop("config")
    assert config is None
    return load_config(None, flags)


# Every field away from its default, each value as hard to write as it may be.
HARD: dict[str, Any] = {
    "model": "./a folder/it's",
    "revision": "-main",
    "random_init": True,
    "tiny": True,
    "model_class": "package.module:Class",
    "trust_remote_code": True,
    "dataset": "--packing",
    "dataset_config": "en $HOME `id`",
    "split": "train[:10%]",
    "text_column": '"quoted"\\',
    "packing": True,
    "gradient_accumulation_steps": [8, 1],
    "loss_kwargs": ["off"],
    "per_device_train_batch_size": 3,
    "max_steps": 3,
    "max_length": 64,
    "learning_rate": 1e-06,
    "optim": "sgd",
    "low_memory": True,
    "processes": 3,
    "average_tokens": "off",
    "shard": "fsdp",
    "max_grad_norm": 0,
    "label_smoothing_factor": 0.1,
    "compute_loss_func": "my:loss",
    "trainer_class": "my:Trainer",
    "task": "token-classification",
    "short_last_step": True,
    "seed": 7,
    "dtype": "float64",
    "gradients": False,
    "bf16": True,
    "device": "cpu",
    "config_override": {
        "a": True,
        "text_config.b": 1e-06,
        "c": [1e-06, "x, y"],
        "d": "1e-6",
        "e": "true",
        "f": None,
        "g": "",
        "h": "two\nlines, ü",
        "i": {"j": [1, 2.5]},
    },
}


def test_every_field_is_tried() -> None:
    assert set(HARD) | {"effective_batch_size", "fp16"} == set(ExperimentConfig.model_fields)


@pytest.mark.parametrize(
    "options",
    [
        {},
        HARD,
        *({name: value} for name, value in HARD.items() if name not in ("tiny", "average_tokens", "shard")),
        {"tiny": True, "model": "organisation/name"},  # a stand-in is tiny already
        {"fp16": True, "effective_batch_size": 24},
        {"average_tokens": "on", "shard": "fsdp", "processes": 2},
    ],
)
def test_the_command_of_a_run_gives_its_options_again(options: dict[str, Any]) -> None:
    config = ExperimentConfig.model_validate(options)

    assert read(run_command(config)).experiment() == config


def test_only_what_is_not_the_default_is_written() -> None:
    assert shell_line(run_command(ExperimentConfig())) == "gacheck run --model tiny:gemma3"


def test_options_of_a_file_are_written_out_and_those_of_the_output_are_not(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("max_steps: 3\nconfig_override: {a: yes}\nout: here\nquiet: true\n")
    settings = load_config(tmp_path / "run.yaml", {"model": "tiny:llama", "strict": True, "json": True})

    line = shell_line(run_command(settings.experiment()))
    assert line == "gacheck run --model tiny:llama --max-steps 3 --config-override a=true"


def test_the_command_that_goes_on_keeps_what_was_asked_of_the_result() -> None:
    asked = {"model": "tiny:llama", "out": "my runs", "json": True, "strict": True, "exit_zero": True, "quiet": True}
    settings = RunConfig.model_validate(asked)

    assert read((*run_command(settings), "--resume")) == settings.model_copy(update={"resume": True})


@pytest.mark.parametrize("options", [{}, {"model": "a b", "seed": 3, "effective_batch_size": 12, "gradients": False}])
def test_a_smoke_check_is_repeated_by_itself(options: dict[str, Any]) -> None:
    config = ExperimentConfig.model_validate({**options, **SMOKE})
    command = smoke_command(config)

    flags = flags_of(shell_line(command))
    del flags["config"]
    assert command[1] == "smoke"
    assert load_config(None, {**flags, **SMOKE}).experiment() == config


@pytest.mark.parametrize("other", [{"optim": "sgd", "loss_kwargs": ["on"]}, {"gradient_accumulation_steps": [2]}])
def test_what_smoke_has_no_option_for_is_repeated_by_a_run(other: dict[str, Any]) -> None:
    config = ExperimentConfig.model_validate({**SMOKE, **other})
    command = smoke_command(config)

    assert command[1] == "run"
    assert read(command).experiment() == config


@pytest.mark.parametrize(("rows", "ks"), [(None, (1, 2, 4, 8)), (16, (1, 2, 4, 8)), (12, (1, 2, 4))])
def test_the_fuller_run_is_one_that_can_be_typed(rows: int | None, ks: tuple[int, ...]) -> None:
    checked = ExperimentConfig.model_validate({"seed": 3, "effective_batch_size": rows, "loss_kwargs": ["on"], **SMOKE})

    fuller = read(fuller_command(checked))
    assert fuller.gradient_accumulation_steps == ks
    assert (fuller.loss_kwargs, fuller.max_steps, fuller.seed) == ((Flag.ON, Flag.OFF), 8, 3)


@pytest.mark.parametrize("training", [["python", "train.py"], ["trl", "--steps", "9", "--", "--out", "a b"]])
@pytest.mark.parametrize("steps", [2, 3])
def test_an_attached_training_is_repeated_as_it_was_typed(training: list[str], steps: int) -> None:
    flags = flags_of(shell_line(attach_command(training, steps, 2)))

    # Older releases of Typer hand a tuple over.
    assert (list(flags["command"]), flags["steps"], flags["out"]) == (training, steps, None)


def with_command(record: Any, *command: str) -> Any:
    return record.model_copy(update={"command": command})


RUN = full_run("token_mean", "mean_of_means")
ATTACHED: AttachRecord = attached_run("token_mean")


@pytest.mark.parametrize(
    ("record", "repeated"),
    [
        (with_command(RUN, "gacheck", "run", "--out", "x", "--force"), run_command(RUN.config)),
        (with_command(RUN, "gacheck", "-q", "tests"), CHECK_MODEL),
        (with_command(RUN, CHECK_MODEL), CHECK_MODEL),
        (with_command(ATTACHED, "gacheck", "attach", "--", "train"), ("gacheck", "attach", "--", "train")),
        (with_command(ATTACHED, CHECK_TRAINER), CHECK_TRAINER),
        (with_command(ATTACHED, ATTACH), ATTACH),
        (with_command(ATTACHED, "train.py", "--lr", "1"), ATTACH),
    ],
)
def test_what_repeats_a_record(record: Any, repeated: object) -> None:
    assert repeating(record) == repeated


def test_without_ascii_names_stay_exact() -> None:
    assert shell_line(["gacheck", "tiny:ü\n"]) == "gacheck $'tiny:ü\\x0a'"
    assert shell_line(["gacheck", "tiny:ü"], ascii=True) == "gacheck $'tiny:\\u00fc'"
