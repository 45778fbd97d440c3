"""A stand-in holds what its original holds; what a config leaves open is filled where the class needs it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import PretrainedConfig

from gacheck.errors import ModelError
from gacheck.measure.models.original import Original, build_original, complete_by_forward
from gacheck.measure.models.source import open_model
from tests.measure.modelling import small_config


class Config(PretrainedConfig):
    model_type = "open"
    sliding_window: int | None

    def __init__(
        self,
        hidden_size: int = 64,
        num_experts: int | None = None,
        sliding_window: int | None = None,
        layer_types: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_size, self.num_experts, self.layer_types = hidden_size, num_experts, layer_types
        self.sliding_window = sliding_window


class Experts(torch.nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.count = config.num_experts
        self.router = torch.nn.Linear(config.hidden_size, self.count)  # type: ignore[arg-type]


class Model(torch.nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.layers = torch.nn.ModuleList([Experts(config)])
        self.dropout = torch.nn.Identity()

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        if self.config.sliding_window is None:
            raise ValueError("`sliding_window` is not set")
        return input_ids


def test_an_open_field_is_filled_where_the_class_needs_it() -> None:
    config = Config()
    model = build_original(config, Model)
    assert config.num_experts == 4
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert config.sliding_window is None


def test_an_open_field_is_filled_where_the_forward_needs_it() -> None:
    config = Config(num_experts=2)
    complete_by_forward(lambda: Model(config), config)
    assert config.sliding_window == 4


def test_a_model_that_its_forward_changes_is_handed_over_unchanged() -> None:
    class Switching(Model):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            self.layers = torch.nn.ModuleList()
            return input_ids

    assert len(complete_by_forward(lambda: Switching(Config(num_experts=2)), Config()).layers) == 1


def test_what_no_open_field_explains_is_raised() -> None:
    def build(config: Config) -> torch.nn.Module:
        raise ValueError("heads do not divide the width")

    with pytest.raises(ValueError, match="heads"):
        build_original(Config(), build)


def test_a_stand_in_without_a_part_of_its_original_is_refused() -> None:
    original = Original(Config(num_experts=4), Model)
    original.check(Model(Config(num_experts=2)))
    bare = Model(Config(num_experts=2))
    bare.layers = torch.nn.ModuleList()
    with pytest.raises(ModelError) as raised:
        original.check(bare)
    assert raised.value.what == "The tiny open lacks Experts, Linear."


def test_an_original_that_cannot_be_built_either_is_said() -> None:
    def build(config: Config) -> torch.nn.Module:
        raise ValueError("heads do not divide the width")

    error = Original(Config(), build).explain(ModelError("No tiny one.", why="It is so.", fix=""))
    assert "cannot be built from its own config" in error.what
    assert "heads do not divide the width" in str(error.why)


class Rotary(torch.nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.theta = config.rope_theta
        self.query, self.window = config.downsample_rate.split("/")
        self.heads = torch.nn.Linear(config.num_key_value_heads, config.initializer_range and 1)


def test_what_only_checkpoints_say_is_filled_in() -> None:
    config = Config()
    config.downsample_rate = None
    build_original(config, Rotary)
    assert (config.rope_theta, config.num_key_value_heads, config.initializer_range) == (10_000.0, 4, 0.02)
    assert config.downsample_rate == "1/2"

    again = Config(downsample_rate="1/2")
    assert isinstance(complete_by_forward(lambda: Rotary(again), again), Rotary)
    assert again.num_key_value_heads == 4


@pytest.mark.skipif(not hasattr(transformers, "Sapiens2Config"), reason="an older release cannot make its config")
def test_a_class_that_refuses_labels_says_so_even_where_it_cannot_be_built() -> None:
    with pytest.raises(ModelError) as raised:
        open_model(small_config("tiny:VitMatteForImageMatting")).load_model()
    assert raised.value.what == "VitMatteForImageMatting cannot be trained."
    assert str(raised.value.why).endswith("Training is not yet supported")
