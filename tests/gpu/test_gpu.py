"""Runs on a GPU: whole precision, bfloat16, and float16 with its scaler. `make test-gpu` chooses them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here: nothing of this was run"),
]

PRECISIONS = [[], ["--bf16"], ["--fp16"], ["--dtype", "bfloat16"]]


def run(folder: Path, *words: str, start: tuple[str, ...] = ("-m", "gacheck")) -> dict[str, Any]:
    """Return the JSON of a run."""
    options = ["run", *words, "--device", "cuda", "--json", "--exit-zero", "--out", str(folder)]
    done = subprocess.run([sys.executable, *start, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def codes(result: dict[str, Any]) -> list[str]:
    """Return the codes of a verdict, the gravest first."""
    found: list[str] = result["verdict"]["codes"]
    return found


@pytest.mark.parametrize("precision", PRECISIONS, ids=" ".join)
def test_a_right_model_is_right(tmp_path: Path, precision: list[str]) -> None:
    result = run(tmp_path / "run", "--model", "tiny:gemma3", *precision)
    assert codes(result) == ["OK"]
    assert result["environment"]["device"].startswith("cuda")


@pytest.mark.parametrize("precision", PRECISIONS, ids=" ".join)
def test_a_fault_is_found(tmp_path: Path, precision: list[str]) -> None:
    assert codes(run(tmp_path / "run", "--model", "tiny:xlnet", *precision))[0] == "SCALED_BY_ACCUMULATION"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU here: NCCL between several was not run")
def test_two_gpus_over_nccl(tmp_path: Path) -> None:
    start = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "gacheck")
    assert codes(run(tmp_path / "run", "--model", "tiny:gemma3", start=start)) == ["OK"]
