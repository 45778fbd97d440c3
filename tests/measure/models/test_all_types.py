"""Faithfulness, of every type: whatever class of module the default config makes is in the stand-in, which is small."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig

from gacheck.measure.models.building import language_model, language_model_types
from gacheck.measure.models.stand_in import tiny_config
from tests.measure.modelling import VOCABULARY

LARGEST = 5_000_000


def without_dropout(config: object) -> None:
    """Take out what a stand-in leaves out on purpose."""
    for name, value in vars(config).items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
        elif hasattr(value, "model_type"):
            without_dropout(value)


def modules_of(config: object) -> tuple[set[str], int]:
    """The classes of a config's model, built where it takes no memory, and how many parameters it has."""
    model_class, part = language_model(config)  # type: ignore[arg-type]
    with torch.device("meta"):
        model = model_class(part)
    kinds = {type(each).__name__ for each in model.modules() if not isinstance(each, torch.nn.Identity)}
    return kinds, sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", language_model_types())
def test_every_class_of_module_is_in_the_stand_in(model_type: str) -> None:
    try:
        config = AutoConfig.for_model(model_type)
        if getattr(config, "is_decoder", None) is False:
            config.is_decoder = True
        without_dropout(config)
        original, _ = modules_of(config)
    except Exception as error:
        pytest.skip(f"its own default config cannot be built: {type(error).__name__}: {error}")
    try:
        found, num_parameters = modules_of(tiny_config(model_type, VOCABULARY))
    except ModuleNotFoundError as error:
        pytest.skip(f"a package is missing: {error}")
    assert original - found == set()
    assert num_parameters < LARGEST
