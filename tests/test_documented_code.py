"""The Python that README and docs show runs as it stands, with `model` and `trainer` as a reader has them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

import gacheck
from gacheck.measure.passes.snapshot import accelerate_kept
from gacheck.measure.selftest.mutants import MUTANTS
from tests.measure.modelling import bench, tiny_model

ROOT = Path(__file__).parents[1]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in (ROOT / "README.md", ROOT / "docs" / "attach.md")
    for number, code in enumerate(PYTHON.findall(page.read_text(encoding="utf-8")), 1)
]


@pytest.fixture(autouse=True)
def no_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with accelerate_kept():
        yield


def make_trainer(trainer_class: type[Trainer], model: Any) -> Trainer:
    material = bench(tiny_model(), max_steps=3)
    args = TrainingArguments(
        "out",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        max_steps=3,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    return trainer_class(model=model, args=args, train_dataset=material.rows.train, data_collator=material.collator)


def run(code: str, trainer: Trainer) -> dict[str, Any]:
    """Run a snippet, and the tests in it as pytest would."""
    names: dict[str, Any] = {
        "trainer": trainer,
        "model": trainer.model,
        # As the fixture of the plugin.
        "gacheck_check": partial(gacheck.check, on_fault="raise"),
    }
    exec(compile(code, "<documentation>", "exec"), names)
    for name, value in list(names.items()):
        if name.startswith("test_"):
            arguments = value.__code__.co_varnames[: value.__code__.co_argcount]
            value(*(names[argument] for argument in arguments))
    return names


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 4


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(code: str) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", gacheck.FaultWarning)
        run(code, make_trainer(Trainer, tiny_model()))


def test_a_snippet_with_an_assertion_can_fail() -> None:
    torch.manual_seed(0)
    [wrong] = [mutant for mutant in MUTANTS if mutant.name == "sums means"]
    [code] = [code for code in PYTHON.findall((ROOT / "docs" / "attach.md").read_text()) if "def test_" in code]
    trainer = make_trainer(wrong.trainer_class, tiny_model())
    trainer.model_accepts_loss_kwargs = False

    with pytest.raises(gacheck.FaultError):
        run(code, trainer)
