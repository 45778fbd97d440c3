"""A model that went through a Trainer is as it was: precision of one pass must not reach into the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from transformers import Trainer, TrainingArguments

from gacheck.measure.passes.snapshot import Snapshot
from gacheck.measure.text.rows import Collator
from tests.measure.modelling import bench, same_weights, tiny_model, weights_of

pytestmark = pytest.mark.usefixtures("no_traces")

CHECKOUT = Path(__file__).parents[3]
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_full_backward_hooks", "_state_dict_hooks")


def train_bare(model: Any, **options: Any) -> None:
    rows = [{"input_ids": [5, 6, 7, 8], "attention_mask": [1] * 4, "labels": [5, 6, 7, 8]}] * 4
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            max_steps=1,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            dataloader_pin_memory=False,
            **options,
        )
        Trainer(model=model, args=args, train_dataset=rows, data_collator=Collator(0)).train()


def traces(model: torch.nn.Module, environment: dict[str, str]) -> set[str]:
    """Name what a Trainer left behind."""
    found = {name for name in ("forward", "_original_forward") if name in vars(model)}
    found |= {name for module in model.modules() for name in HOOKS if getattr(module, name, None)}
    found |= {name for name in os.environ.keys() - environment.keys() if name.startswith("ACCELERATE")}
    found |= {cls.__name__ for cls in (AcceleratorState, GradientState) if cls._shared_state}
    return found


def test_a_trainer_leaves_traces_and_they_are_removed() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # of another test
    GradientState._reset_state()
    model, environment = tiny_model(), dict(os.environ)
    snapshot = Snapshot(model)
    assert traces(model, environment) == set()

    train_bare(model, bf16=True)
    model.register_forward_hook(lambda *_: None)
    # The control: without these there would be nothing to remove.
    assert {"forward", "_original_forward", "_forward_hooks", "AcceleratorState"} <= traces(model, environment)

    trained = weights_of(model)
    snapshot.remove_traces()
    assert traces(model, environment) == set()
    assert dict(os.environ) == environment
    assert same_weights(weights_of(model), trained)
    ids = torch.full((1, 4), 5)
    assert model(input_ids=ids).logits.dtype == torch.float32


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_weights_and_buffers_come_back_in_place(on_disk: bool) -> None:
    model = tiny_model()
    model.register_buffer("count", torch.tensor([1.0]))
    before, places = weights_of(model), [p.data_ptr() for p in model.parameters()]
    snapshot = Snapshot(model, on_disk=on_disk)
    for _ in range(2):
        train_bare(model)
        model.count += 1
        assert not same_weights(weights_of(model), before)
        snapshot.restore()
    assert same_weights(weights_of(model), before)
    assert model.count.item() == 1
    assert [p.data_ptr() for p in model.parameters()] == places
    assert all(p.grad is None for p in model.parameters())


def test_the_file_of_weights_goes_with_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    snapshot = Snapshot(tiny_model(), on_disk=True)
    assert len(list(tmp_path.glob("*/weights.pt"))) == 1
    del snapshot
    assert list(tmp_path.iterdir()) == []


def test_attributes_and_environment_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GACHECK_TEST_KEPT", "before")
    monkeypatch.delenv("GACHECK_TEST_NEW", raising=False)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.register_forward_hook(lambda *_: None)
    hooks = dict(model._forward_hooks)
    snapshot = Snapshot(model)

    model[0].extra = 1
    model.training = False
    model[0].forward = lambda value: value
    model._forward_hooks.clear()
    model[0].register_forward_pre_hook(lambda *_: None)
    os.environ |= {"GACHECK_TEST_KEPT": "after", "GACHECK_TEST_NEW": "new"}
    snapshot.remove_traces()

    assert not hasattr(model[0], "extra")
    assert model.training
    assert "forward" not in vars(model[0])
    assert dict(model._forward_hooks) == hooks
    assert not model[0]._forward_pre_hooks
    assert os.environ["GACHECK_TEST_KEPT"] == "before"
    assert "GACHECK_TEST_NEW" not in os.environ


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_pass_leaves_nothing(precision: str) -> None:
    model, environment = tiny_model(), dict(os.environ)
    before = weights_of(model)
    made = bench(model, bf16=precision == "bf16")
    assert made.run().status == "ok"
    assert traces(model, environment) == set()
    assert same_weights(weights_of(model), before)


def measure_in_turn(*precisions: str) -> list[str]:
    """Run a pass in each precision on one model; return the records without their times."""
    model, measured = tiny_model(), []
    for precision in precisions:
        record = bench(model, bf16=precision == "bf16").run()
        assert record.status == "ok", record.error
        measured.append(record.model_copy(update={"seconds": 0.0}).model_dump_json())
    return measured


def test_precisions_do_not_reach_into_each_other() -> None:
    # The first of a process is fresh: bf16 there, and here after what the tests above did.
    code = (
        "import json; from tests.measure.passes.test_snapshot import measure_in_turn; "
        "print(json.dumps(measure_in_turn('bf16', 'fp32')))"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert fresh.returncode == 0, fresh.stderr
    full, half_after, full_after_both = measure_in_turn("fp32", "bf16", "fp32")
    half, full_after = json.loads(fresh.stdout.splitlines()[-1])
    assert full == full_after == full_after_both
    assert half == half_after
    assert full != half
