"""Runs a training command twice, with `gacheck attach` in front of it and without, and reads what they left.

gacheck runs in the tests' own environment, the training in one that has no gacheck.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from gacheck.record.attach import AttachRecord
from gacheck.record.journal import load_record
from gacheck.rules.facts import Observation
from gacheck.words.analysis import Analysis, analyse
from tests.environments import integration

HERE = Path(__file__).resolve().parent
GACHECK = str(Path(sys.executable).parent / "gacheck")
ACCUMULATION_STEPS = 4
# The longest takes 40 on a busy machine.
MOST_SECONDS = 240
# SetFit's is named for what it trains.
LOSSES = ("loss", "embedding_loss")
TIMES = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "step_time")


@dataclass(frozen=True)
class Training:
    """One that has ended; it ran in `folder` and wrote to the folder `out` in it."""

    folder: Path
    exit_code: int
    stdout: str
    stderr: str

    @property
    def files(self) -> set[str]:
        """What it saved."""
        out = self.folder / "out"
        return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}

    @property
    def weights(self) -> dict[str, bytes]:
        """The weights that it saved, by file: of the model, of a head, of the adapter."""
        return {path.name: path.read_bytes() for path in (self.folder / "out").glob("*.safetensors")}

    @property
    def log(self) -> list[dict[str, Any]]:
        """What its Trainer logged, without what differs from one run to the next: how long it took."""
        state = json.loads((self.folder / "out" / "trainer_state.json").read_text())
        return [{name: value for name, value in entry.items() if name not in TIMES} for entry in state["log_history"]]

    @property
    def losses(self) -> list[float]:
        """What its Trainer logged as the loss of every step."""
        return [entry[name] for entry in self.log for name in LOSSES if name in entry]

    @property
    def printed_losses(self) -> list[str]:
        """The log as it was printed, step by step."""
        return [line for line in self.stdout.splitlines() if line.startswith("{'loss'")]

    @property
    def analysis(self) -> Analysis:
        """What gacheck found."""
        return analyse(load_record(self.folder / "check"))

    @property
    def observations(self) -> list[Observation]:
        """What gacheck saw of every micro-batch of the observed steps."""
        (only,) = self.analysis.record.passes
        seen = [m.observation for step in only.steps for m in step.micro_batches]
        return [observation for observation in seen if observation is not None]


@dataclass(frozen=True)
class Pair:
    """The same training, watched and not."""

    watched: Training
    alone: Training


def train(environment: str, folder: Path, *command: str, **variables: str) -> Training:
    """Run a command of an environment in a new folder; one that hangs is ended, with all that it started."""
    folder.mkdir(parents=True)
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={
            **os.environ,
            "PATH": f"{integration(environment)}{os.pathsep}{os.environ['PATH']}",
            "HF_HOME": str(folder / "cache"),
            "HF_HUB_OFFLINE": "1",
            # The models are tiny: more threads than one only get in each other's way.
            "OMP_NUM_THREADS": "1",
            **variables,
        },
    )
    try:
        stdout, stderr = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        stderr += f"\nended after {MOST_SECONDS} s"
    return Training(folder, process.returncode, stdout, stderr)


def attached(*command: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Put `gacheck attach` in front of a command."""
    return (GACHECK, "attach", "--out", "check", *options, "--", *command)


def train_both(environment: str, folder: Path, *command: str, **variables: str) -> Pair:
    """Run a command with gacheck in front of it and without, side by side."""
    commands = {"watched": attached(*command), "alone": command}
    return Pair(**train_side_by_side(environment, folder, commands, **variables))


def train_side_by_side(
    environment: str, folder: Path, commands: Mapping[str, tuple[str, ...]], **variables: str
) -> dict[str, Training]:
    """Run commands, each in the folder of its name, beside each other: most of their time they import."""
    with ThreadPoolExecutor() as pool:
        begun = {
            name: pool.submit(train, environment, folder / name, *each, **variables) for name, each in commands.items()
        }
    return {name: each.result() for name, each in begun.items()}


def check_same(watched: Training, alone: Training, *, prints_times: bool = False) -> None:
    """Check that the watched training went as it does alone, to the last bit; but for times, where it prints some."""
    for training in (watched, alone):
        assert training.exit_code == 0, training.stdout[-2000:] + training.stderr[-3000:]
    assert watched.weights, "no weights"
    assert watched.weights == alone.weights, "other weights"
    assert watched.files == alone.files, "other files"
    assert len(alone.log) > 2
    assert watched.log == alone.log, "another log"
    assert prints_times or watched.printed_losses == alone.printed_losses, "another log was printed"


def check_grouping(whole: Training, split: Training) -> None:
    """Check that trainings on the same rows, at once and in micro-batches, are the same but for rounding.

    Neither has dropout, and their optimizer is plain SGD: Adam makes much of a gradient of almost nothing.
    """
    for training in (whole, split):
        assert training.exit_code == 0, training.stdout[-2000:] + training.stderr[-3000:]
    assert len(whole.losses) > 2
    assert split.losses == pytest.approx(whole.losses, rel=1e-6)
    norms = [[entry["grad_norm"] for entry in training.log if "grad_norm" in entry] for training in (whole, split)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    (name,) = {"model.safetensors"} & whole.weights.keys()
    one, other = (load(training.weights[name]) for training in (whole, split))
    assert one.keys() == other.keys()
    assert max(float((one[each] - other[each]).abs().max()) for each in one) < 1e-6


def check_scaled(training: Training) -> None:
    """Check that the planted factor of k was found, in the log and in the gradient, and where it is."""
    assert training.exit_code == 0, training.stdout[-2000:] + training.stderr[-3000:]
    verdict = training.analysis.verdict
    assert (verdict.code, verdict.affects) == ("SCALED_BY_ACCUMULATION", "both"), verdict.words
    assert "TimesK.compute_loss" in verdict.words.cause


def check_seen(training: Training, *, num_processes: int = 1) -> None:
    """Check that everything was seen of both observed steps, of all processes."""
    record = training.analysis.record
    assert isinstance(record, AttachRecord)
    assert record.unseen == ()
    assert (record.num_steps, record.hardware.world_size) == (2, num_processes)
    assert record.num_processes_seen == num_processes
    assert len(training.observations) == 2 * ACCUMULATION_STEPS * num_processes
    # Rows of equal length would tell no rule from another.
    assert len({seen.num_target_tokens for seen in training.observations}) > 2
