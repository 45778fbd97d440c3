"""From a config to its class, and to a model with random weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError
from gacheck.measure.heads.tasks import WITHOUT_LABELS, auto_classes, class_for, takes_labels, task_of
from gacheck.measure.models.inputs import forward_names
from gacheck.measure.models.parts import text_config
from gacheck.measure.user_code import failures_as, import_model_class, what_happened
from gacheck.rules.task import CAUSAL_LM
from gacheck.watch.overrides import is_of_transformers

WRITING = ("seq2seq-lm", "speech-seq2seq", "multimodal-lm")
"""Tasks of what writes text, too: a type without a language model is asked for these."""


@dataclass(frozen=True)
class Head:
    """A class to build, and what it is trained for.

    Attributes:
        model_class: Of transformers, or of the user's own.
        config: The part of the model's config that it reads.
        task: As its auto class is called; that of a causal language model also where it reads images besides.
    """

    model_class: Any
    config: Any
    task: str = CAUSAL_LM.name


def language_model(model_config: PretrainedConfig) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    """Choose the class for a config, and the part of the config that it reads.

    The causal LM of the config's type, else its image-text-to-text model.

    Raises:
        ModelError: The type has neither class.
    """
    for auto in _auto_classes():
        model_class = _class_for(auto, model_config)
        if model_class is not None:
            # As `from_pretrained` does: a text-only class under the whole model's name reads the text part.
            text = text_config(model_config)
            return model_class, text if model_class.config_class is type(text) else model_config
    heads = _tasks_of(type(model_config))
    raise ModelError(
        f"The model type {model_config.model_type!r} has no language-modelling class.",
        why=f"transformers {transformers.__version__} lists it neither as causal LM nor as image-text-to-text model.",
        fix=f"name one of its heads:  --task {'|'.join(heads)}"
        if heads
        else "choose a model that generates text, such as llama",
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


def _class_for(auto: Any, model_config: PretrainedConfig) -> Any:
    """Return what an auto class makes of a config; by its type, where the class of the config is in another's name."""
    if type(model_config) in auto._model_mapping:
        return auto._model_mapping[type(model_config)]
    name = auto._model_mapping._model_mapping.get(model_config.model_type)
    found = None if name is None else _model_class(_first(name))
    return found if found is not None and found.config_class is type(model_config) else None


def _first(classes: str | tuple[str, ...]) -> str:
    return classes if isinstance(classes, str) else classes[0]


def named_class(name: str) -> Any:
    """Return the class of transformers of a name that has a head; None where there is none."""
    found = _model_class(name)
    return found if found is not None and found.config_class is not None and _takes_labels(found) else None


def check_head(name: str) -> None:
    """Refuse the name of a class of transformers that has no loss.

    Raises:
        ModelError: It has none.
    """
    found = _model_class(name)
    if found is not None:
        raise ModelError(
            f"{name} has no loss.",
            why="Its forward takes no labels: it is a part of other models, for inference alone, or trained by a loss "
            "that is computed elsewhere.",
            fix="name a class with a head, as  gacheck models --task TASK  lists them, or a type:  "
            f"tiny:{getattr(found.config_class, 'model_type', 'TYPE')}",
        )


def check_language_model(model_type: str) -> None:
    """Refuse a type whose language model has no loss.

    Raises:
        ModelError: It has none.
    """
    name = language_model_types().get(model_type, "")
    found = _model_class(name)
    if found is not None and not _takes_labels(found):
        check_head(name)


def _model_class(name: str) -> Any:
    """Return the model class of transformers of a name; None where there is none."""
    found: Any = getattr(transformers, name, None) if name.isidentifier() else None
    return found if isinstance(found, type) and issubclass(found, PreTrainedModel) else None


def _takes_labels(model_class: Any) -> bool:
    """Whether a forward is handed what its loss needs, or its loss is about its inputs alone."""
    return takes_labels(forward_names(model_class)) or task_of(model_class.__name__) in WITHOUT_LABELS


def find_head(model_config: Any, config: ExperimentConfig, saved: str | None = None) -> Head:
    """Choose what to build: what the user names, what lies beside the weights, what was saved, or the language model.

    Args:
        model_config: The model's.
        config: The experiment.
        saved: The name of the class that was saved, or that the user names by itself.

    Raises:
        ModelError: There is no such class.
        ConfigError: There is no such task, or the model's type has no head for it.
    """
    task = config.task
    if task is not None:
        check_task(task)
    if config.model_class is not None:
        own = import_model_class(config.model_class)
        return Head(own, model_config, task or trained_for(own, model_config))
    if config.trust_remote_code and hasattr(model_config, "auto_map"):
        auto = AutoModelForCausalLM if task is None else auto_classes()[task]
        return Head(auto, model_config, task or CAUSAL_LM.name)
    if task is not None and task != CAUSAL_LM.name:
        return Head(_head_of(task, model_config), model_config, task)
    found = named_class(saved) if saved is not None and task is None else None
    if found is not None and not is_language_model(found, model_config):
        return Head(found, model_config, task_of(found.__name__) or "")
    return _writing_head(model_config)


def _writing_head(model_config: Any) -> Head:
    """Choose the language model of a config; where its type has none, what else of it writes text."""
    try:
        return Head(*language_model(model_config))
    except ModelError:
        made = ((task, class_for(task, type(model_config))) for task in WRITING if task in auto_classes())
        found = next(((task, each) for task, each in made if each is not None), None)
        if found is None:
            raise
        return Head(found[1], model_config, found[0])


def trained_for(model_class: Any, model_config: Any) -> str:
    """Return the task of the class of transformers that a class is or derives from; without one, text."""
    for each in getattr(model_class, "__mro__", ()):
        task = task_of(each.__name__) if is_of_transformers(each) else None
        if task is not None:
            return CAUSAL_LM.name if is_language_model(each, model_config) else task
    return CAUSAL_LM.name


def is_language_model(model_class: Any, model_config: Any) -> bool:
    """Whether `language_model` chooses this class for a config."""
    try:
        return language_model(model_config)[0] is model_class
    except ModelError:
        return False


def _tasks_of(config_class: type) -> list[str]:
    """Return the tasks for which transformers has a class with a loss of a config."""
    found = {task: class_for(task, config_class) for task in auto_classes()}
    return [task for task, each in found.items() if each is not None and _takes_labels(each)]


def _head_of(task: str, model_config: Any) -> Any:
    found = class_for(task, type(model_config))
    if found is not None:
        return found
    heads = _tasks_of(type(model_config))
    raise ConfigError(
        f"{model_config.model_type} has no head for --task {task}.",
        why=f"transformers {transformers.__version__} lists none.",
        fix=f"choose one of those that it has: {', '.join(heads)}" if heads else "leave --task out",
    )


def check_task(task: str) -> None:
    """Refuse a task that no auto class is made for.

    Raises:
        ConfigError: There is none of that name.
    """
    if task in auto_classes():
        return
    close = difflib.get_close_matches(task, auto_classes(), n=3)
    raise ConfigError(
        f"There is no task {task!r}.",
        why="A task is called as the auto class that makes its heads: AutoModelForTokenClassification makes those of "
        "token-classification.",
        fix=f"did you mean {' or '.join(close)}?" if close else f"choose one of: {', '.join(auto_classes())}",
    )


def build(head: Head, config: ExperimentConfig) -> Any:
    """Build a model of a class with random weights.

    Returns:
        The model on the CPU in float32.

    Raises:
        ModelError: It is one of transformers' that cannot be built from the config.
    """
    torch.manual_seed(config.seed)
    if hasattr(head.model_class, "_model_mapping") or config.model_class is not None:
        return make(head).float()
    with failures_as(partial(cannot_be_built, head.model_class.__name__)):
        return make(head).float()


def make(head: Head) -> Any:
    """Make a model of a class, on torch's default device."""
    if hasattr(head.model_class, "_model_mapping"):  # an auto class, for code that lies beside the weights
        return head.model_class.from_config(head.config, trust_remote_code=True)
    return head.model_class(head.config)


def build_model(model_config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """Build the language model of a config with random weights.

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


def cannot_be_built(name: str, error: BaseException) -> ModelError:
    """Explain what transformers raised where the fields of a config do not fit together."""
    return ModelError(
        f"No tiny {name} can be built.",
        why=what_happened(error),
        fix="leave out --config-override where there is one, or name a small checkpoint of this architecture instead",
    )
