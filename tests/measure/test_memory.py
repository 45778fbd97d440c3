"""The estimate of what a run takes, against what a bare Trainer was seen to take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from gacheck.cli import main
from gacheck.errors import ResourceError
from gacheck.measure import memory
from gacheck.measure.memory import MARGIN, Need, check_memory, estimate, free_bytes, num_saved, num_to_make, num_values

pytestmark = pytest.mark.usefixtures("no_traces")

CPU = torch.device("cpu")
SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}

# In a process of its own, which knows nothing of gacheck: its peak is that of the training. The second micro-batch
# comes while the gradients of the first are there, as a micro-batch that is repeated does.
TRAINING = """
import json, resource, sys, tempfile
import psutil, torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

sizes, rows, length, optim = json.loads(sys.argv[1])
model = LlamaForCausalLM(LlamaConfig(**sizes))
data = [{"input_ids": row, "labels": row} for row in torch.randint(0, sizes["vocab_size"], (4 * rows, length))]
with tempfile.TemporaryDirectory() as folder:
    args = TrainingArguments(folder, per_device_train_batch_size=rows, gradient_accumulation_steps=2, max_steps=2,
                             optim=optim, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
                             logging_strategy="no")
    before = psutil.Process().memory_info().rss
    Trainer(model, args, train_dataset=data).train()
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is counted otherwise")
@pytest.mark.parametrize(
    ("vocab_size", "rows", "length", "optim"),
    [(32_000, 4, 256, "adamw_torch"), (200_000, 2, 64, "sgd")],
    ids=["activations", "weights"],
)
def test_the_estimate_is_within_a_fifth(tmp_path: Path, vocab_size: int, rows: int, length: int, optim: str) -> None:
    sizes = {**SIZES, "vocab_size": vocab_size}
    options = json.dumps([sizes, rows, length, optim])
    done = subprocess.run([sys.executable, "-c", TRAINING, options], capture_output=True, text=True, check=True)
    taken = json.loads(done.stdout.splitlines()[-1])

    tokens = torch.randint(0, vocab_size, (rows, length))
    args = TrainingArguments(str(tmp_path), optim=optim, use_cpu=True)
    need = estimate(LlamaForCausalLM(LlamaConfig(**sizes)), {"input_ids": tokens, "labels": tokens}, args, copy=False)
    assert need.total == pytest.approx(taken, rel=MARGIN - 1)


def test_what_an_optimizer_keeps_is_that_of_its_own_class(tmp_path: Path) -> None:
    model = torch.nn.Linear(64, 64)
    needs = {
        optim: estimate(model, {}, TrainingArguments(str(tmp_path), optim=optim, use_cpu=True), copy=True)
        for optim in ("adamw_torch", "sgd", "adafactor")
    }
    size = sum(each.numel() for each in model.parameters()) * 4
    assert [needs["sgd"].optimizer, needs["sgd"].gradients, needs["sgd"].copy] == [0, size, size]
    assert needs["adamw_torch"].optimizer == pytest.approx(2 * size, rel=1e-3)
    assert needs["adafactor"].optimizer < size / 10


class Curious(torch.nn.Module):
    """What it does depends on its data."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.layer(values) if float(values.sum()) > 0 else values


def test_a_model_that_looks_at_its_data_is_estimated_without_activations(tmp_path: Path) -> None:
    model = Curious().eval()
    args = TrainingArguments(str(tmp_path), use_cpu=True)
    need = estimate(model, {"values": torch.ones(2, 4)}, args, copy=True)
    assert need.activations is None
    assert need.total == need.copy + need.gradients + need.optimizer
    assert not model.training


def test_what_might_fit_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**9)
    check_memory("a model", Need(0, 10**9, 2 * 10**8), CPU)
    with pytest.raises(ResourceError, match=r"a model need about 1\.3 GB more, and 1\.0 GB are free"):
        check_memory("a model", Need(0, 10**9, 3 * 10**8), CPU)


def test_processes_share_the_memory_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * 10**9)
    check_memory("a model", Need(0, 10**9, 2 * 10**8), CPU, num_processes=2)
    check_memory("a model", Need(0, 10**9, 3 * 10**8), torch.device("cuda"), num_processes=2)
    with pytest.raises(ResourceError, match=r"1\.3 GB more in each of 2 processes, and 1\.0 GB are free in each"):
        check_memory("a model", Need(0, 10**9, 3 * 10**8), CPU, num_processes=2)


def test_a_container_may_have_less_than_its_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gacheck.measure.isolation.processes.CGROUP", tmp_path)
    whole = psutil.virtual_memory().available
    assert free_bytes(CPU) == pytest.approx(whole, rel=0.2)
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_bytes(CPU) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(CPU) == pytest.approx(whole, rel=0.2)


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is said where a run is refused for want of memory."""
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 4
    return capsys.readouterr().err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=512)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_weights_are_counted_before_they_are_read_or_made(folder: Path) -> None:
    model: Any = LlamaForCausalLM.from_pretrained(folder)
    assert num_saved(folder) == num_to_make(lambda: LlamaForCausalLM(model.config)) == model.num_parameters()
    assert num_to_make(lambda: 1 / 0) == 0


@pytest.mark.parametrize("options", [[], ["--random-init"]], ids=["read", "made"])
def test_weights_that_do_not_fit_are_neither_read_nor_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    told = refusal(["run", "--model", str(folder), *options], capsys)
    assert "The weights of" in told
    assert "--tiny" in told


def test_a_run_that_cannot_fit_ends_before_its_first_pass(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gacheck.measure.session.LEAST_WORK", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 16 * 10**6)
    told = refusal(["run", "--model", str(folder), "--out", str(tmp_path / "run")], capsys)
    assert "The passes of" in told
    assert "--low-memory" in told


def test_the_size_of_a_row_is_that_of_its_largest_part() -> None:
    assert num_values({"labels": [1, 2, 3], "pixel_values": torch.zeros(3, 4, 4), "return_loss": True}) == 48
    assert num_values({}) == 0
