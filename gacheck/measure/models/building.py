"""From a config to its class, and to a model with random weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from gacheck.config import ExperimentConfig
from gacheck.errors import ModelError
from gacheck.measure.user_code import failures_as, import_model_class, what_happened


def language_model(model_config: PretrainedConfig) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    """Choose the class for a config, and the part of the config that it reads.

    The causal LM of the config's type, else its image-text-to-text model.

    Raises:
        ModelError: The type has neither class.
    """
    for auto in _auto_classes():
        if type(model_config) in auto._model_mapping:
            model_class = auto._model_mapping[type(model_config)]
            # As `from_pretrained` does: a text-only class under the whole model's name reads the text part.
            text = model_config.get_text_config()
            return model_class, text if model_class.config_class is type(text) else model_config
    raise ModelError(
        f"The model type {model_config.model_type!r} has no language-modelling class.",
        why=f"transformers {transformers.__version__} lists it neither as causal LM nor as image-text-to-text model.",
        fix="choose a model that generates text, such as llama",
    )


def language_model_types() -> dict[str, str]:
    """Return the model types for which `language_model` has a class, each with the class's name, in order."""
    found: dict[str, str] = {}
    for auto in _auto_classes():
        names: dict[str, str] = auto._model_mapping._model_mapping
        found = {**{name: _first(classes) for name, classes in names.items()}, **found}
    return dict(sorted(found.items()))


def _auto_classes() -> list[Any]:
    """Return the auto classes to ask, in order; a release without the second has one less."""
    autos = (AutoModelForCausalLM, getattr(transformers, "AutoModelForImageTextToText", None))
    return [auto for auto in autos if auto is not None]


def _first(classes: str | tuple[str, ...]) -> str:
    return classes if isinstance(classes, str) else classes[0]


def chosen_class(model_config: Any, config: ExperimentConfig) -> tuple[Any, Any]:
    """Choose as `language_model` does, unless the user names a class, or it lies beside the weights.

    Raises:
        ModelError: There is no such class.
    """
    if config.model_class is not None:
        return import_model_class(config.model_class), model_config
    if config.trust_remote_code and hasattr(model_config, "auto_map"):
        return AutoModelForCausalLM, model_config
    return language_model(model_config)


def build(model_config: Any, config: ExperimentConfig) -> Any:
    """Build a model of the chosen class with random weights.

    Returns:
        The model on the CPU in float32.

    Raises:
        ModelError: There is no class for it, or it is one of transformers' that cannot be built from the config.
    """
    model_class, its_config = chosen_class(model_config, config)
    torch.manual_seed(config.seed)
    if model_class is AutoModelForCausalLM:
        return model_class.from_config(its_config, trust_remote_code=True).float()
    if config.model_class is not None:
        return model_class(its_config).float()
    return build_model(model_config, config.seed)


def build_model(model_config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """Build a model with random weights.

    Args:
        model_config: The config, usually from `tiny_config`.
        seed: What torch's global generator is seeded with; it decides the weights.

    Returns:
        The model on the CPU in float32.

    Raises:
        ModelError: The type has no language-modelling class, or that cannot be built from the config.
    """
    model_class, model_config = language_model(model_config)
    torch.manual_seed(seed)
    with failures_as(partial(cannot_be_built, model_config.model_type)):
        model: PreTrainedModel = model_class(model_config)
    return model.float()


def cannot_be_built(model_type: str, error: BaseException) -> ModelError:
    """Explain what transformers raised where the fields of a config do not fit together."""
    return ModelError(
        f"No tiny {model_type} can be built.",
        why=what_happened(error),
        fix="leave out --config-override where there is one, or name a small checkpoint of this architecture instead",
    )
