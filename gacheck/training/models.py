"""A stand-in or a local folder → model and tokenizer, with dropout off."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError
from gacheck.record import ModelFacts
from gacheck.training.standins import build_model, language_model, tiny_config, train_tokenizer

STAND_IN_PREFIX = "tiny:"
STAND_IN_VOCABULARY = 300


@dataclass(frozen=True)
class Loaded:
    """A model, its tokenizer and what the record says of them."""

    model: Any
    tokenizer: Any
    facts: ModelFacts


def load(config: ExperimentConfig, texts: Iterable[str]) -> Loaded:
    """Make the stand-in or read the folder that `config.model` names; weights in `config.dtype`, on the CPU.

    Args:
        config: What to load.
        texts: Train a stand-in's tokenizer.

    Raises:
        ModelError: There is no such model, or it cannot be read.
        ConfigError: `config_override` names a field that the model's config lacks.
    """
    stand_in = config.model.startswith(STAND_IN_PREFIX)
    if stand_in:
        model_config = tiny_config(config.model.removeprefix(STAND_IN_PREFIX), STAND_IN_VOCABULARY)
        _prepare(model_config, config)
        tokenizer = train_tokenizer(texts, STAND_IN_VOCABULARY)
        model = build_model(model_config, config.seed)
    else:
        model, tokenizer = _read_folder(config)
    model.to(getattr(torch, config.dtype))
    _silence_dropout(model)
    return Loaded(model, tokenizer, _facts(config.model, model, stand_in=stand_in))


def _read_folder(config: ExperimentConfig) -> tuple[Any, Any]:
    folder = Path(config.model)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"There is no model at {config.model}.",
            why="It is neither a stand-in (tiny:TYPE) nor a folder with a config.json.",
            fix="name a folder written by save_pretrained, or try  --model tiny:gemma3",
        )
    try:
        model_config = AutoConfig.from_pretrained(folder)
        _prepare(model_config, config)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model_class, model_config = language_model(model_config)
        model = model_class.from_pretrained(folder, config=model_config, use_safetensors=True)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(
            f"The model at {config.model} cannot be read: {' '.join(str(error).split())[:300]}",
            why="It needs a config.json, weights in safetensors and a tokenizer that this transformers reads.",
            fix="write the folder again with save_pretrained of model and tokenizer, or upgrade transformers",
        ) from error
    return model, tokenizer


def _prepare(model_config: Any, config: ExperimentConfig) -> None:
    """Switch dropout off in the config and apply the overrides, which have the last word."""
    _silence_config(model_config)
    for key, value in config.config_override.items():
        *path, name = key.split(".")
        target = model_config
        for part in path:
            target = getattr(target, part, None)
        if target is None or not hasattr(target, name):
            raise ConfigError(
                f"The config of {config.model} has no field {key!r}.",
                why="An override that changes nothing would mislead.",
                fix=f"see the fields of {type(model_config).__name__} in the transformers documentation",
            )
        setattr(target, name, value)


def _silence_config(model_config: Any) -> None:
    for name, value in list(vars(model_config).items()):
        if "drop" in name and isinstance(value, float):
            setattr(model_config, name, 0.0)
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            _silence_config(value)


def _silence_dropout(model: torch.nn.Module) -> None:
    """Switch off what the config does not reach: dropout modules and rates that modules keep for themselves."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _facts(name: str, model: Any, *, stand_in: bool) -> ModelFacts:
    declared = getattr(model, "accepts_loss_kwargs", None)
    parameters = inspect.signature(model.forward).parameters.values()
    return ModelFacts(
        name=name,
        class_name=type(model).__name__,
        model_type=model.config.model_type,
        num_parameters=sum(p.numel() for p in model.parameters()),
        stand_in=stand_in,
        random_weights=stand_in,
        accepts_loss_kwargs_declared=None if declared is None else bool(declared),
        forward_has_kwargs=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
    )


def demanded_zeros(model: Any, batch: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """Find the inputs that text has no use for but the model demands in training, such as Gemma3's `token_type_ids`.

    Tries a forward; where the model refuses and names one of its own arguments that mark token types, zeros are
    what its processor would send for text.
    """
    names = [n for n in inspect.signature(model.forward).parameters if n.endswith("token_type_ids")]
    demanded: list[str] = []
    while True:
        zeros = {name: torch.zeros_like(batch["input_ids"]) for name in demanded}
        try:
            with torch.no_grad():
                model(**batch, **zeros)
            return tuple(demanded)
        except (ValueError, TypeError) as error:
            missing = [n for n in names if n in str(error) and n not in demanded]
            if not missing:
                raise
            # The longest name that is mentioned: mm_token_type_ids contains token_type_ids.
            demanded.append(max(missing, key=len))
