"""Trainings in two processes, started by torchrun and by accelerate, with k unlike the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.trainings import (
    ACCUMULATION_STEPS,
    HERE,
    Pair,
    attached,
    check_same,
    check_seen,
    train,
    train_both,
)

pytestmark = pytest.mark.integrations

NUM_PROCESSES = 2
SCRIPT = str(HERE / "plain_training.py")
TORCHRUN = ("torchrun", "--standalone", "--nproc_per_node", str(NUM_PROCESSES))
# With --cpu it starts one process. The script itself keeps to the processor.
ACCELERATE = (
    *("accelerate", "launch", "--multi_gpu", "--num_processes", str(NUM_PROCESSES), "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)
# Arguments of the script → verdict, rule.
EXPECTED = {
    ("right",): ("OK", "token_mean"),
    ("right", "--per-process"): ("MEAN_OF_MEANS", "token_mean_per_process"),
    ("world_size",): ("WORLD_SIZE_SCALED", "token_mean*W"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Pair]:
    @cache
    def train_it(arguments: tuple[str, ...]) -> Pair:
        return train_both("trl", tmp_path_factory.mktemp("torchrun") / "both", *TORCHRUN, SCRIPT, *arguments)

    return train_it


def test_k_is_not_the_number_of_processes() -> None:
    assert ACCUMULATION_STEPS != NUM_PROCESSES


def test_the_training_is_the_same(trained: Any) -> None:
    # One is enough: what is planted in the others changes nothing of the watching.
    check_same(trained(("right",)).watched, trained(("right",)).alone)


@pytest.mark.parametrize("arguments", EXPECTED, ids=" ".join)
def test_verdict(trained: Any, arguments: tuple[str, ...], tmp_path: Path) -> None:
    if arguments == ("right",):
        watched = trained(arguments).watched
    else:
        watched = train("trl", tmp_path / "watched", *attached(*TORCHRUN, SCRIPT, *arguments))
    check_seen(watched, num_processes=NUM_PROCESSES)
    verdict = watched.analysis.verdict
    assert (verdict.code, verdict.auto_rule) == EXPECTED[arguments]


def test_accelerate_launch(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("accelerate") / "watched"
    watched = train("trl", folder, *attached(*ACCELERATE, SCRIPT, "right"))
    check_same(watched, trained(("right",)).alone)
    check_seen(watched, num_processes=NUM_PROCESSES)
    assert watched.analysis.verdict.code == "OK"


def test_all_processes_end_after_a_check_and_nothing_is_saved(tmp_path: Path) -> None:
    command = attached(*TORCHRUN, SCRIPT, "right", options=("--stop-after-check",))
    stopped = train("trl", tmp_path / "run", *command)
    assert (stopped.exit_code, stopped.files) == (0, set()), stopped.stderr[-3000:]
    check_seen(stopped, num_processes=NUM_PROCESSES)
    assert stopped.analysis.verdict.code == "OK"
