"""Runs in two processes, DDP over gloo: what is right, the faults that are planted, and a rank that fails alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError
from gacheck.measure.launching import exit_code_of
from gacheck.measure.models import sharding
from gacheck.measure.models.sharding import check_task
from gacheck.measure.session import Session
from gacheck.rules.task import CAUSAL_LM
from tests.measure.together import CAN_SPREAD, KS, ROWS, WORLD_SIZE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPREAD = pytest.mark.skipif(not CAN_SPREAD, reason="this transformers cannot spread weights over processes")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(WORLD_SIZE))
SMALL = ("--model", "tiny:llama", "-k", "1,2", "--loss-kwargs", "on", "--max-steps", "2", "--max-length", "32")


def call(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    done = call(*TORCHRUN, str(HERE / "together.py"), str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def fed(folder: Path) -> dict[int, list[dict[str, torch.Tensor]]]:
    """k → the micro-batches of the first step, of both processes."""
    ranks = [torch.load(folder / f"fed-{rank}.pt") for rank in range(WORLD_SIZE)]
    return {k: [batch for rank in ranks for batch in rank[k][:k]] for k in KS}


@pytest.fixture(scope="module")
def truth(folder: Path, fed: dict[int, Any]) -> dict[int, tuple[float, float]]:
    """k → the mean over the target tokens of a step's rows, and the norm of its gradient: by plain torch."""
    found = {}
    for k, batches in fed.items():
        model = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch.float64)
        count = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            labels = batch["labels"][:, 1:]
            total = total + cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
        (total / count).backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found[k] = (float(total.detach() / count), float(torch.cat(gradients).norm()))
    return found


def rows_of(batches: list[dict[str, torch.Tensor]]) -> Counter[tuple[int, ...]]:
    pairs = [zip(b["input_ids"], b["attention_mask"].bool(), strict=True) for b in batches]
    return Counter(tuple(ids[mask].tolist()) for batch in pairs for ids, mask in batch)


def test_the_rows_of_a_step_are_the_same_at_every_k(fed: dict[int, Any]) -> None:
    first, *others = [rows_of(batches) for batches in fed.values()]
    assert first.total() == ROWS
    assert others == [first]


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize(
    ("trainer", "factor"),
    [
        ("Right", 1),
        ("TimesW", WORLD_SIZE),
        ("OverW", 1 / WORLD_SIZE),
        pytest.param("Right, spread", 1, marks=SPREAD),
        pytest.param("Right, tensor", 1, marks=SPREAD),
        pytest.param("TimesW, tensor", WORLD_SIZE, marks=SPREAD),
    ],
)
def test_what_is_measured(told: Any, truth: Any, trainer: str, factor: float, k: int) -> None:
    loss, norm = truth[k]
    assert told[trainer]["loss"][str(k)] == pytest.approx(factor * loss, rel=1e-6)
    assert told[trainer]["grad_norm"][str(k)] == pytest.approx(factor * norm, rel=1e-6)
    assert told[trainer]["grad_ratio"][str(k)] == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize(
    ("trainer", "verdict"),
    {
        "Right": ("OK", "token_mean"),
        "TimesK": ("SCALED_BY_ACCUMULATION", "sum_of_means"),
        "TimesW": ("WORLD_SIZE_SCALED", "token_mean*W"),
        "OverW": ("WORLD_SIZE_SCALED", "token_mean/W"),
        "AddsPenalty": ("AUX_LOSS_SCALED", "token_mean+aux_loss_sum*W"),
        "Apart": ("MEAN_OF_MEANS", "token_mean_per_process"),
        "Unequal": ("OK", "token_mean"),
        "InOrder": ("OK", "token_mean"),
    }.items(),
)
def test_verdict(told: Any, trainer: str, verdict: tuple[str, str]) -> None:
    check_verdict(told[trainer], verdict)


@SPREAD
@pytest.mark.parametrize(
    ("name", "verdict"),
    {
        "Right, spread": ("OK", "token_mean"),
        "TimesK, spread": ("SCALED_BY_ACCUMULATION", "sum_of_means"),
        "Unequal, spread": ("OK", "token_mean"),
        "InOrder, spread": ("OK", "token_mean"),
        "Right, tensor": ("OK", "token_mean"),
        "TimesK, tensor": ("SCALED_BY_ACCUMULATION", "sum_of_means"),
        "TimesW, tensor": ("WORLD_SIZE_SCALED", "token_mean*W"),
    }.items(),
)
def test_verdict_where_the_weights_are_spread(told: Any, name: str, verdict: tuple[str, str]) -> None:
    check_verdict(told[name], verdict)


@SPREAD
@pytest.mark.parametrize("trainer", ["Right", "TimesK", "TimesW"])
def test_rows_that_all_processes_have_count_once(told: Any, trainer: str) -> None:
    targets = told[f"{trainer}, tensor"]["targets"]
    assert Counter(process for process, _, _ in targets) == {0: sum(KS)}
    assert sum(rows for _, _, rows in targets) == ROWS * len(KS)


@SPREAD
def test_a_count_that_transformers_divides_though_it_was_not_added_up(told: Any) -> None:
    """Of transformers 5.24.0: with tensor parallelism and without `average_tokens_across_devices`."""
    found = told["Right, tensor, apart"]
    assert (found["code"], found["errors"]) == ("MISALIGNED_COUNT", [])
    assert found["loss"]["4"] == pytest.approx(2 * told["Right, tensor"]["loss"]["4"], rel=1e-6)
    assert found["cause"].startswith("The Trainer divides num_items_in_batch by the number of processes")
    assert found["fix"].startswith("average_tokens_across_devices=True")


@SPREAD
def test_a_gradient_that_transformers_adds_up_more_than_once_is_named(told: Any) -> None:
    """Of transformers 5.24.0: right for one micro-batch a step, and for no more."""
    off = told["Qwen3, added up"]
    assert off["1"] < 1e-5
    assert off["2"] > 0.1
    assert told["Qwen3, tensor, k = 1"]["code"] == "OK"
    found = told["Qwen3, tensor"]
    assert found["code"] == "UNEXPLAINED"
    assert "A hook of transformers sums these over the processes" in found["cause"]
    assert "q_norm.weight" in found["cause"]
    assert found["fix"].startswith("With tensor parallelism train at gradient_accumulation_steps=1")


def check_verdict(found: dict[str, Any], verdict: tuple[str, str]) -> None:
    assert (found["unseen"], found["errors"], found["world_size"]) == ([], [], WORLD_SIZE)
    assert (found["code"], found["rule"]) == verdict


def test_the_count_of_a_process_alone_is_said_and_how_to_share_it(told: Any) -> None:
    assert (told["Right"]["average_tokens"], told["Apart"]["average_tokens"]) == (True, False)
    assert told["Apart"]["fix"].startswith("average_tokens_across_devices=True in the training arguments")


def test_the_ranks_are_as_unequal_as_they_were_to_be(told: Any) -> None:
    assert {tuple(each[::2]) for each in told["Unequal"]["targets"]} == {(0, 3), (1, 1)}
    assert {process: targets > 0 for process, targets, _ in told["InOrder"]["targets"]} == {0: True, 1: False}


def test_one_command_line_starts_all_and_one_speaks(tmp_path: Path) -> None:
    done = call(
        sys.executable, "-m", "gacheck", "run", *SMALL, "--processes", "2", "--json", "--out", str(tmp_path / "run")
    )
    assert done.returncode == 0, done.stderr
    analysis = json.loads(done.stdout)
    assert (analysis["verdict"]["code"], analysis["environment"]["world_size"]) == ("OK", 2)
    assert [line[:8] for line in done.stderr.splitlines()[:2]] == ["pass 1/2", "pass 2/2"]
    assert done.stderr.count("does not depend on gradient_accumulation_steps") == 1


def broken(trainer: str, folder: Path, *options: str, **environment: str) -> tuple[int, str, list[str], float]:
    """Train under a Trainer of broken.py; return the exit code, stderr, what was kept, and how long before the end."""
    command = (sys.executable, "-m", "gacheck", "run", *SMALL, "--processes", "2", "--out", str(folder), *options)
    done = call(*command, "--trainer-class", f"tests.measure.broken:{trainer}", **environment)
    ended, record = time.time(), folder / "record.json"
    assert "Traceback" not in done.stderr
    passes = json.loads(record.read_text(encoding="utf-8"))["passes"]
    return done.returncode, done.stderr, [each["id"] for each in passes], ended - record.stat().st_mtime


@pytest.mark.parametrize(
    ("trainer", "options", "code", "said"),
    [
        ("Raises", (), 2, "Rank 1 failed in k2-on: Raises.break_down raised ArithmeticError: of rank 1 alone"),
        ("HangsInside", ("--pass-timeout", "3"), 4, "k2-on has not ended in rank 1, and came"),
        ("Dies", (), 4, "Rank 1 was killed by SIGKILL."),
    ],
)
def test_a_rank_that_fails_alone_ends_the_run(
    tmp_path: Path, trainer: str, options: tuple[str, ...], code: int, said: str
) -> None:
    returned, stderr, kept, seconds = broken(trainer, tmp_path, *options)

    assert (returned, stderr.count(f"gacheck: {said}")) == (code, 1), stderr
    assert "rank 1:" not in stderr
    assert kept == ["k1-on"]
    assert seconds < 30
    if trainer == "Dies":
        returned, stderr, kept, _ = broken(trainer, tmp_path, "--resume", WHOLE="1")
        assert (returned, kept) == (0, ["k1-on", "k2-on"]), stderr
        assert [line[:8] for line in stderr.splitlines()] == ["pass 1/1"]


@pytest.mark.parametrize(("rank", "code", "of_the_run"), [(0, 1, 1), (1, 1, 4), (1, 2, 2), (0, 3, 3)])
def test_a_verdict_alone_exits_1(rank: int, code: int, of_the_run: int) -> None:
    assert exit_code_of(rank, code) == of_the_run


def test_what_is_of_one_process_refuses_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="in 1 process; WORLD_SIZE says 2"):
        Session(ExperimentConfig())


def test_the_effective_batch_is_shared_among_all() -> None:
    config = ExperimentConfig(processes=3, gradient_accumulation_steps=(1, 4))
    assert (config.effective_rows, config.micro_batch_size(4), config.rows_per_step(4)) == (24, 2, 24)
    assert config.rows_per_step(1) == 24


def test_tensor_parallelism_shares_no_rows() -> None:
    config = ExperimentConfig(processes=3, gradient_accumulation_steps=(1, 4), shard="tp")
    assert (config.effective_rows, config.micro_batch_size(4), config.rows_per_step(4)) == (16, 4, 16)


def test_a_head_is_not_measured_with_its_weights_spread() -> None:
    check_task(CAUSAL_LM.name)
    with pytest.raises(ConfigError, match="token-classification cannot be measured with its weights spread"):
        check_task("token-classification")


def test_a_model_that_is_not_spread_is_no_run_of_one_that_is() -> None:
    with pytest.raises(ModelError, match=r"Linear was to be spread over the processes, and weight is not"):
        sharding._check(torch.nn.Linear(1, 1), "fsdp")
    with pytest.raises(ModelError, match="A Linear cannot be spread"):
        sharding.shard(torch.nn.Linear(1, 1), "fsdp", 2)


def test_rows_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ValueError, match="in each of 3 processes"):
        ExperimentConfig(processes=3, effective_batch_size=16)
