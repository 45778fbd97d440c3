"""A model that takes `**kwargs`, and hands num_items_in_batch on to what refuses it: no training goes beyond a step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import gacheck
from gacheck.errors import UserCodeError
from gacheck.watch.own_loss import rejects_count

pytestmark = pytest.mark.usefixtures("no_traces")

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99}
REFUSED = "LOSS_KWARGS_REJECTED"


class Handing(BertForSequenceClassification):  # type: ignore[misc]
    """As transformers 4.57.6 has it in JetMoe, Nemotron, Phimoe, Qwen2Moe and StableLm."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        return self.inner(input_ids, attention_mask, labels, **kwargs)

    def inner(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels)


class Checking(Handing):
    """As transformers 4.50.3 has it in Bloom."""

    def inner(self, input_ids: Any, attention_mask: Any, labels: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise ValueError(f"Got unexpected arguments: {kwargs}")
        return super().inner(input_ids, attention_mask, labels)


class Failing(Handing):
    """Fails for another reason."""

    def inner(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("num_items_in_batch is 4, and the moon is full")


def model_of(model_class: type) -> Any:
    torch.manual_seed(0)
    return model_class(BertConfig(**SIZES))


def trainer_of(model_class: type, folder: Path) -> Trainer:
    generator = torch.Generator().manual_seed(0)
    rows = [
        {"input_ids": torch.randint(5, 99, (9,), generator=generator), "labels": torch.tensor(number % 2)}
        for number in range(16)
    ]
    args = TrainingArguments(
        str(folder), max_steps=2, gradient_accumulation_steps=2, use_cpu=True, report_to="none", disable_tqdm=True
    )
    return Trainer(model_of(model_class), args, train_dataset=rows)


both = pytest.mark.parametrize("model_class", [Handing, Checking])


@both
def test_a_bare_trainer_ends_with_the_flag_on_alone(model_class: type, tmp_path: Path) -> None:
    trainer = trainer_of(model_class, tmp_path)
    assert trainer.model_accepts_loss_kwargs
    with pytest.raises((TypeError, ValueError), match="unexpected"):
        trainer.train()
    trainer.model_accepts_loss_kwargs = False
    assert trainer.train().global_step == 2


@both
def test_a_model_is_said_to_refuse(model_class: type) -> None:
    found = gacheck.check(model_of(model_class))
    assert found.verdict.codes == (REFUSED,)
    assert "model_accepts_loss_kwargs = False" in found.verdict.words.fix


@both
def test_a_trainer_is_said_to_have_one_that_refuses(model_class: type, tmp_path: Path) -> None:
    trainer = trainer_of(model_class, tmp_path)
    assert gacheck.check(trainer).verdict.codes == (REFUSED,)
    trainer.model_accepts_loss_kwargs = False
    assert gacheck.check(trainer).ok


def test_another_failure_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserCodeError):
        gacheck.check(trainer_of(Failing, tmp_path))
    assert not rejects_count(ValueError("num_items_in_batch is 4, and the moon is full"))
    assert not rejects_count(TypeError("MyTrainer.compute_loss() got an unexpected keyword 'num_items_in_batch'"))


def test_an_attached_training_is_said_to_have_ended_by_it(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "from pathlib import Path\n"
        "from tests.known.test_refusals import Handing, trainer_of\n"
        f"trainer_of(Handing, Path({str(tmp_path)!r})).train()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "gacheck", "attach", "--out", str(tmp_path / "run"), "--", sys.executable]
    ended = subprocess.run([*command, str(script)], capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 1  # the training's own
    assert f"FAIL  {REFUSED}" in ended.stderr
