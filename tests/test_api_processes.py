"""gacheck in code, in two processes that torchrun starts: DDP over gloo, right and with a fault planted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PORT_OF_ITS_OWN = ("--standalone", "--nproc_per_node", "2")

# Each process checks twice and attaches twice, one kind of Trainer after the other; rank 0 says what it was told.
SCRIPT = """
import json, os, sys, warnings
import torch
import gacheck
from transformers import TrainingArguments
from tests.integrations.plain_training import TRAINERS, collate, leave, make_rows, tiny_llama

warnings.simplefilter("ignore")

def made(kind):
    torch.manual_seed(0)
    arguments = TrainingArguments(
        sys.argv[1], per_device_train_batch_size=2, gradient_accumulation_steps=4, max_steps=2, logging_steps=1,
        use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, remove_unused_columns=False,
    )
    return TRAINERS[kind](model=tiny_llama(), args=arguments, train_dataset=make_rows(), data_collator=collate)

def said(analysis):
    attached = analysis.attached
    return [analysis.verdict.code, attached.num_processes_seen, list(attached.unseen)]

told = {}
for kind in ("right", "micro_batch_means"):
    told[f"check {kind}"] = said(gacheck.check(made(kind)))
for kind in ("right", "world_size"):
    trainer = made(kind)
    watched = gacheck.attach(trainer)
    trainer.train()
    told[f"attach {kind}"] = said(watched.analysis)
if os.environ["RANK"] == "0":
    print("TOLD " + json.dumps(told))
leave()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    folder = tmp_path_factory.mktemp("two")
    script = folder / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *PORT_OF_ITS_OWN, str(script), str(folder / "out")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    return json.loads(line.removeprefix("TOLD ")), time.monotonic() - started


def test_every_watch_hears_of_its_own_training(told: tuple[dict[str, Any], float]) -> None:
    assert told[0] == {
        "check right": ["OK", 2, []],
        "check micro_batch_means": ["SCALED_BY_ACCUMULATION", 2, []],
        "attach right": ["OK", 2, []],
        "attach world_size": ["WORLD_SIZE_SCALED", 2, []],
    }


def test_nobody_waits(told: tuple[dict[str, Any], float]) -> None:
    # The imports of two processes on two cores are most of it; a wait for an answer alone used to take a minute.
    assert told[1] < 40
