"""Fingerprints of weights and config: they change with whatever changes a number, and with nothing else."""

from __future__ import annotations

import pytest
import torch

from gacheck.config import ExperimentConfig
from gacheck.measure.fingerprints import fingerprints_of
from gacheck.measure.models.building import build_model
from gacheck.measure.models.stand_in import tiny_config
from gacheck.record.run import Fingerprints


def prints(model: torch.nn.Module) -> Fingerprints:
    return fingerprints_of(model, ExperimentConfig())


def llama(seed: int = 0) -> torch.nn.Module:
    return build_model(tiny_config("llama", 300), seed=seed)


def test_the_same_model_has_the_same_fingerprints() -> None:
    assert prints(llama()) == prints(llama())
    assert prints(llama()).code == {}


def test_one_bit_of_one_weight_changes_the_fingerprint() -> None:
    model = llama()
    before = prints(model)
    weight = next(model.parameters())
    with torch.no_grad():
        weight.view(torch.int32).view(-1)[-1] ^= 1
    assert prints(model).weights != before.weights
    assert prints(model).config == before.config


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_every_type_are_read(dtype: torch.dtype) -> None:
    model = llama().to(dtype)
    assert prints(model).weights != prints(llama()).weights


def test_buffers_and_names_count() -> None:
    one, other = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    assert prints(one) == prints(other)
    other.num_batches_tracked += 1  # a tensor without dimensions
    assert prints(one) != prints(other)
    assert prints(torch.nn.ModuleDict({"a": one})) != prints(torch.nn.ModuleDict({"b": one}))


def test_the_config_counts_but_for_where_it_came_from() -> None:
    model = llama()
    before = prints(model)
    model.config.name_or_path = "elsewhere"
    model.config.some = {"b", "a"}
    with_set = prints(model).config
    del model.config.some
    assert prints(model) == before
    assert with_set != before.config
    model.config.rms_norm_eps *= 2
    assert prints(model).config != before.config
