"""A session on code of the user's own that ends the program: never a green exit code, always said in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.errors import EndedError
from gacheck.measure.session import Session
from tests.measure.modelling import small_config

MODEL = """
import sys
import torch
from transformers import LlamaForCausalLM, Trainer


class Exits(LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        sys.exit(0)


class ExitsInTraining(LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        if torch.is_grad_enabled() and "num_items_in_batch" in kwargs:
            sys.exit(0)
        return super().forward(*args, **kwargs)


class ExitsWhenMade(Trainer):
    def __init__(self, *args, **kwargs):
        sys.exit(0)
"""

Module = Callable[[str, str], None]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Write a module that can be imported, into the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda name, code: (tmp_path / f"{name}.py").write_text(code) and None  # type: ignore[func-returns-value]


@pytest.mark.parametrize("option", ["trainer_class", "model_class", "compute_loss_func"])
def test_a_module_that_ends_the_program_when_it_is_imported_is_explained(module: Module, option: str) -> None:
    module(f"exits_{option}", "raise SystemExit(0)")
    with pytest.raises(EndedError, match=rf"importing exits_{option} called sys\.exit\(0\) .*, from --"):
        Session(small_config(**{option: f"exits_{option}:Mine"}))


@pytest.mark.parametrize("options", [{"model_class": "exiting:Exits"}, {"trainer_class": "exiting:ExitsWhenMade"}])
def test_what_ends_the_program_outside_a_pass_is_explained(module: Module, options: dict[str, str]) -> None:
    module("exiting", MODEL)
    with pytest.raises(EndedError) as raised:
        Session(small_config(**options))
    assert re.search(r"called sys\.exit\(0\) \(\S*exiting\.py:\d+\)", raised.value.what)
    assert raised.value.what.endswith(f", from --{next(iter(options)).replace('_', '-')}.")


def test_a_run_whose_passes_end_the_program_keeps_them_as_failed(module: Module) -> None:
    module("exiting_later", MODEL)
    small = ["--model", "tiny:llama", "-k", "2", "--loss-kwargs", "on", "--effective-batch-size", "4"]
    with pytest.raises(SystemExit) as end:
        main(["run", *small, "--model-class", "exiting_later:ExitsInTraining", "--out", "here"])
    [failed] = json.loads(Path("here/record.json").read_text())["passes"]
    assert (failed["status"], failed["error"]["kind"]) == ("failed", "SystemExit")
    assert end.value.code == 3
