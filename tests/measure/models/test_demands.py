"""What an error demands of a config is given to it: layers to read from, a switch, a number, one of those it lists."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PretrainedConfig

from gacheck.measure.models.demands import give_demanded
from gacheck.measure.models.original import build_original


class Config(PretrainedConfig):
    model_type = "demanded"
    out_channels: list[int] | None
    out_kernels: list[int] | None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_hidden_layers = 12
        self.feature_indices: list[int] = []
        self.use_mark, self.num_images = False, -1
        self.default_voice: str | None = None
        self.voices = ["low", "high"]
        self.out_channels, self.out_kernels, self.out_kernel = None, None, 3


class Model(torch.nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.mark = torch.nn.Parameter(torch.ones(2)) if config.use_mark else None

    def marked(self) -> Any:
        return self.mark.expand(2, 2)  # type: ignore[union-attr]


def raised(act: Any) -> Exception:
    with pytest.raises(Exception) as error:  # noqa: PT011
        act()
    return error.value


def test_as_many_layers_are_named_as_are_asked_for() -> None:
    config = Config()
    error = ValueError("It requires config.feature_indices to be a list of 4 integers.")
    assert give_demanded(config, error)
    assert config.feature_indices == [3, 6, 9, 12]
    assert not give_demanded(config, error), "what is there already is no help"


def test_what_makes_a_part_that_is_none_is_switched_on() -> None:
    config = Config()
    assert give_demanded(config, raised(Model(config).marked))
    assert config.use_mark
    Model(config).marked()


def test_what_counts_less_than_none_is_one() -> None:
    config = Config()
    assert give_demanded(config, raised(lambda: torch.nn.Linear(8 * config.num_images, 2)))
    assert config.num_images == 1


def test_one_of_those_listed_is_chosen() -> None:
    config = Config()
    assert give_demanded(config, ValueError("Voice unknown. Please call `Model.set_default_voice()`"))
    assert config.default_voice == "low"


def test_an_error_about_something_else_changes_nothing() -> None:
    config = Config()
    before = config.to_dict()
    assert not give_demanded(config, ValueError("heads do not divide the width"))
    assert config.to_dict() == before


def test_a_list_that_may_not_be_empty_has_one_size() -> None:
    def build(config: Any) -> torch.nn.Module:
        widths = [3, *config.out_channels[:-1]]
        sizes = zip(widths, config.out_channels, config.out_kernels, strict=False)
        layers = [torch.nn.Conv2d(*each) for each in sizes]
        return torch.nn.Sequential(*layers, torch.nn.Linear(config.out_channels[-1], 2))

    config = Config()
    build_original(config, build)
    assert (config.out_channels, config.out_kernels) == ([64], [3])
