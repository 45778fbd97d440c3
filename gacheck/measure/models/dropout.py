"""Switches dropout off: what is left to differ between passes is normalization."""

from __future__ import annotations

from typing import Any

import torch


def silence_config(model_config: Any) -> None:
    """Set every dropout rate in a config and its sub-configs to 0."""
    for name, value in list(vars(model_config).items()):
        if "drop" in name and isinstance(value, float):
            setattr(model_config, name, 0.0)
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            silence_config(value)


def silence_model(model: torch.nn.Module) -> None:
    """Switch off what the config does not reach: dropout modules and rates that modules keep for themselves."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
