"""The parts of a config: the configs within it, the one of its text, and the source of the class that reads it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig


def sub_configs(config: Any) -> dict[str, PretrainedConfig]:
    """Return the configs that stand in a config, by their fields."""
    return {name: value for name, value in vars(config).items() if isinstance(value, PretrainedConfig)}


def all_configs(config: Any) -> Iterator[Any]:
    """Walk through a config and all the configs within it."""
    yield config
    for each in sub_configs(config).values():
        yield from all_configs(each)


def text_config(config: Any) -> Any:
    """Return the part of a config that speaks of text: the decoder's where two do, the whole where none does."""
    if not hasattr(config, "get_text_config"):
        return config
    try:
        return config.get_text_config()
    except ValueError:
        return config.get_text_config(decoder=True)


def modeling_source(config_class: type) -> str:
    """Return the source of the models that read a config, else of the config; "" where neither can be had."""
    module = config_class.__module__
    return _source(module.replace("configuration_", "modeling_")) or _source(module)


def _source(module: str) -> str:
    try:
        found = importlib.util.find_spec(module)
        return "" if found is None or found.origin is None else Path(found.origin).read_text(encoding="utf-8")
    except (ImportError, ValueError, OSError):
        return ""
