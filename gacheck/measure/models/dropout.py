"""Switches off what is random, dropout above all: what is left to differ between passes is normalization."""

from __future__ import annotations

from typing import Any

import torch


def switch_off_dropout(model: torch.nn.Module) -> None:
    """Set every dropout rate of a model to 0: in its config, in dropout modules, and where modules keep their own."""
    switch_off_dropout_in(getattr(model, "config", None))
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        _set_rates(module)


def switch_off_dropout_in(model_config: Any) -> None:
    """Set every dropout rate in a config and its sub-configs to 0."""
    if model_config is None:
        return
    _set_rates(model_config)
    for value in vars(model_config).values():
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            switch_off_dropout_in(value)


def _set_rates(thing: Any) -> None:
    for name, value in list(vars(thing).items()):
        if "drop" in name and isinstance(value, float):
            setattr(thing, name, 0.0)
        elif name.endswith("_seed") and value is None:
            setattr(thing, name, 0)  # of what is drawn anew in every forward, such as the hashes of attention
