"""What every way to a model shares: dropout off, overrides, facts for the record, and what cannot be read in words."""

from __future__ import annotations

from typing import Any

import torch

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError, one_line
from gacheck.frames import exit_call
from gacheck.measure.models.dropout import switch_off_dropout, switch_off_dropout_in
from gacheck.measure.user_code import TAKE_OUT
from gacheck.record.parts import ModelFacts
from gacheck.rules.task import CAUSAL_LM
from gacheck.watch.description import describe_model


def prepare_config(model_config: Any, config: ExperimentConfig) -> None:
    """Switch dropout off in a model's config and apply the overrides, which have the last word.

    Raises:
        ConfigError: An override names dropout or no field, or the field takes no such value.
    """
    switch_off_dropout_in(model_config)
    for key, value in config.config_override.items():
        _override(model_config, key, value, config.model)


def _override(model_config: Any, key: str, value: object, model: str) -> None:
    *path, name = key.split(".")
    documented = f"see the fields of {type(model_config).__name__} in the transformers documentation"
    if "drop" in name:
        raise ConfigError(
            f"{key!r} cannot be overridden.",
            why="Dropout is off in every pass, so that normalization is all that differs between them.",
            fix="leave it out",
        )
    target = model_config
    for part in path:
        target = getattr(target, part, None)
    if target is None or not hasattr(target, name):
        raise ConfigError(
            f"The config of {model} has no field {key!r}.",
            why="An override that changes nothing would mislead.",
            fix=documented,
        )
    try:
        setattr(target, name, value)
    except Exception as error:  # read-only properties, and the type checks of newer releases
        raise ConfigError(
            f"The config of {model} takes no {value!r} for {key!r}: {one_line(error, 200)}",
            why="The model would be built with it.",
            fix=documented,
        ) from None


def prepare_model(model: Any, config: ExperimentConfig) -> None:
    """Bring a model to the dtype of the run, and switch off the dropout that its config does not reach."""
    model.to(getattr(torch, config.dtype))
    switch_off_dropout(model)


def model_facts(
    model: Any, *, name: str, stand_in: bool, random_weights: bool, own_tokenizer: bool, task: str = CAUSAL_LM.name
) -> ModelFacts:
    """Describe a model for the record."""
    described = describe_model(model)
    return ModelFacts(
        name=name,
        class_name=described.class_name,
        model_type=described.model_type,
        task=task,
        num_parameters=described.num_parameters,
        stand_in=stand_in,
        random_weights=random_weights,
        adapter=described.adapter,
        own_tokenizer=own_tokenizer,
        accepts_loss_kwargs_declared=described.declared,
        forward_has_kwargs=described.takes_kwargs,
        loss_type=described.loss_type,
        has_loss_type=described.has_loss_type,
        built_by_auto_class=described.built_by_auto_class,
    )


def cannot_be_read(config: ExperimentConfig, error: BaseException) -> ModelError:
    """Explain what was raised while a model was read or built."""
    if "trust_remote_code" in str(error) and not config.trust_remote_code:
        return ModelError(
            f"{config.model} needs Python code that lies beside its weights.",
            why="Such code runs with your rights, so it stays off until you ask for it.",
            fix="read it, then add  --trust-remote-code, and for a hub model  --revision <that commit>",
        )
    if isinstance(error, SystemExit):
        return ModelError(
            f"The model {config.model} cannot be had: its code called {exit_call(error)}.",
            why="That ends the program before anything is measured.",
            fix=TAKE_OUT,
        )
    return ModelError(
        f"The model {config.model} cannot be read: {one_line(error)}",
        why="It needs a config.json, weights in safetensors and a tokenizer that this transformers reads.",
        fix="write it again with save_pretrained of model and tokenizer, or upgrade transformers",
    )
