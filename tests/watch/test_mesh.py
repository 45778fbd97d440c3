"""Processes that hold the weights between them: what has the same rows counts once, what splits rows is not judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments

import gacheck
from gacheck.watch.mesh import Mesh
from tests.measure.together import CAN_SPREAD

ROOT = Path(__file__).parents[2]
# What is attached → verdict and rule.
EXPECTED = {
    "fsdp right": ("OK", "token_mean"),
    "fsdp times k": ("SCALED_BY_ACCUMULATION", "sum_of_means"),
    "fsdp times W": ("WORLD_SIZE_SCALED", "token_mean*W"),
    "tp right": ("OK", "token_mean"),
    "tp times k": ("SCALED_BY_ACCUMULATION", "sum_of_means"),
    "tp times W": ("WORLD_SIZE_SCALED", "token_mean*W"),
}


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    """What came of each training, by rank."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "tests.watch.meshes"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.partition("TOLD")[2].splitlines()[0])
    return found


def right_loss(num_rows: int) -> float:
    """Return the mean over the targets of the first rows, in one process and in float64."""
    from tests.watch.meshes import make_rows, whole_model

    model, rows = whole_model().double(), make_rows()[:num_rows]
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            logits, labels = model(torch.tensor([row["input_ids"]])).logits[0, :-1], torch.tensor(row["labels"][1:])
            total += float(cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
            count += int((labels != -100).sum())
    return total / count


@pytest.mark.skipif(not CAN_SPREAD, reason="this transformers cannot spread weights over processes")
class TestAttached:
    @pytest.mark.parametrize("name", EXPECTED)
    def test_verdict(self, told: Any, name: str) -> None:
        verdict = told[0][name]["verdict"]
        assert (verdict["code"], verdict["rule"]) == EXPECTED[name], verdict

    @pytest.mark.parametrize("kind", ["fsdp", "tp"])
    def test_the_training_stays_the_same_bit_for_bit(self, told: Any, kind: str) -> None:
        assert [each[f"{kind} right"]["same"] for each in told] == [True, True]

    # Two processes have twice the rows of one where each has its own, and those of one where they share them.
    @pytest.mark.parametrize(("name", "num_rows"), [("fsdp right", 16), ("tp right", 8)])
    def test_the_right_answer_is_that_of_plain_torch(self, told: Any, name: str, num_rows: int) -> None:
        assert told[0][name]["verdict"]["num_rows"] == num_rows
        assert told[0][name]["verdict"]["right"] == pytest.approx(right_loss(num_rows), rel=1e-6)

    def test_processes_that_should_have_the_same_rows_and_have_not_are_not_judged(self, told: Any) -> None:
        verdict = told[0]["tp, unlike rows"]["verdict"]
        assert verdict["code"] == "INCONCLUSIVE"
        assert "were not given the same rows" in verdict["cause"]

    def test_where_one_process_is_not_watched_the_training_goes_on_and_nothing_is_said(self, told: Any) -> None:
        verdict = told[0]["fsdp, one process watched"]["verdict"]
        assert verdict["code"] == "INCONCLUSIVE"
        assert "one of them is not watched" in verdict["cause"]


def a_trainer(**sizes: int) -> Any:
    return SimpleNamespace(**{f"get_{name}_size": lambda size=size: size for name, size in sizes.items()})


class TestMesh:
    def test_a_trainer_that_says_nothing_has_rows_of_its_own_in_every_process(self) -> None:
        mesh = Mesh(SimpleNamespace())
        assert (mesh.tensor_size, mesh.why_not_measured, mesh.num_turns(4)) == (1, None, 4)
        assert mesh.of_distinct_rows("abcd") == ["a", "b", "c", "d"]

    def test_neighbours_have_the_same_rows(self) -> None:
        mesh = Mesh(a_trainer(tp=2))
        assert mesh.of_distinct_rows("aabb") == ["a", "b"]
        assert [mesh.turn_of(rank) for rank in range(4)] == [0, 0, 1, 1]
        assert mesh.num_turns(4) == 2
        assert mesh.is_same("aabb")
        assert not mesh.is_same("abab")

    def test_without_a_trainer_that_says_so_accelerate_does(self) -> None:
        config = SimpleNamespace(tp_size=4, cp_size=2)
        mesh = Mesh(SimpleNamespace(accelerator=SimpleNamespace(parallelism_config=config)))
        assert mesh.tensor_size == 4
        assert "context parallelism over 2 processes" in str(mesh.why_not_measured)

    @pytest.mark.parametrize(("name", "kind"), [("cp", "context"), ("sp", "sequence"), ("pp", "pipeline")])
    def test_what_splits_rows_is_not_judged(self, name: str, kind: str, tmp_path: Path) -> None:
        from tests.watch.meshes import make_rows, whole_model

        class Splitting(Trainer):
            pass

        setattr(Splitting, f"get_{name}_size", lambda self: 2)
        args = TrainingArguments(
            str(tmp_path), max_steps=1, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True
        )
        trainer = Splitting(whole_model(), args, train_dataset=make_rows())
        watched = gacheck.attach(trainer)
        with pytest.warns(gacheck.FaultWarning, match="INCONCLUSIVE"):
            trainer.train()
        assert watched.analysis is not None
        assert watched.analysis.verdict.code == "INCONCLUSIVE"
        assert f"{kind} parallelism over 2" in watched.analysis.verdict.words.cause
