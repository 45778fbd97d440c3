"""What a model and a Trainer say of themselves."""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from gacheck.rules.facts import PACKAGES, Flag
from gacheck.watch.batches import holds_text
from gacheck.watch.overrides import is_of_transformers, name_of, read_overrides
from gacheck.watch.restoring import adds_up

# The Trainer's arguments that bear on the loss, or on what a wrong one does to the training.
ARGUMENTS = (
    "gradient_accumulation_steps",
    "per_device_train_batch_size",
    "average_tokens_across_devices",
    "learning_rate",
    "optim",
    "max_grad_norm",
    "label_smoothing_factor",
    "seed",
)
# As `loss_type` names the losses that shift the labels. Source: LOSS_MAPPING in transformers/loss/loss_utils.py.
SHIFTING_LOSSES = ("CausalLM", "ConditionalGeneration")
# transformers' classes of language models by type; the first that knows a type makes its model.
AUTO_CLASSES = ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES")
AUTO_MODULE = "transformers.models.auto.modeling_auto"

# Those of them that change nothing of the loss itself.
NOT_OF_THE_LOSS = frozenset({"learning_rate", "optim", "max_grad_norm", "seed"})

GRADIENT_HOOKS = ("_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks")

PRECISIONS = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8"}


@dataclass(frozen=True)
class ModelDescription:
    """A model, without the adapter around it.

    Attributes:
        adapter: The class of the adapter; None without.
        declared: Its attribute `accepts_loss_kwargs`; None where it has none.
        takes_kwargs: Whether its forward takes `**kwargs`, from which the Trainer infers the flag.
        loss_type: Its attribute `loss_type`.
        has_loss_type: Whether it has one.
        built_by_auto_class: Whether transformers makes this class of its type; None where that cannot be told.
    """

    class_name: str
    model_type: str
    num_parameters: int
    adapter: str | None
    declared: bool | None
    takes_kwargs: bool
    loss_type: str | None
    has_loss_type: bool
    built_by_auto_class: bool | None


def base_model(model: Any) -> Any:
    """Return a model without the adapter that PEFT put around it."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def model_name(model: Any) -> str:
    """Return the folder or the id that a model was loaded from; of one that was not, its class's name."""
    return str(getattr(getattr(model, "config", None), "_name_or_path", "") or type(base_model(model)).__name__)


def describe_model(model: Any) -> ModelDescription:
    """Describe a model, with or without an adapter around it."""
    base = base_model(model)
    declared = getattr(base, "accepts_loss_kwargs", None)
    # The class's: accelerate and TRL put forwards of their own on the instance.
    parameters = inspect.signature(type(base).forward).parameters.values()
    model_type = str(getattr(getattr(base, "config", None), "model_type", type(base).__name__))
    loss_type = getattr(base, "loss_type", None)
    return ModelDescription(
        class_name=type(base).__name__,
        model_type=model_type,
        num_parameters=sum(p.numel() for p in model.parameters()),
        adapter=None if base is model else type(model).__name__,
        declared=None if declared is None else bool(declared),
        takes_kwargs=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
        loss_type=None if loss_type is None else str(loss_type),
        has_loss_type=hasattr(base, "loss_type"),
        built_by_auto_class=_is_built_by_auto_class(type(base), model_type),
    )


def _is_built_by_auto_class(model_class: type, model_type: str) -> bool | None:
    """Whether the class is the one that transformers makes of a config of the type; None where that is not loaded."""
    auto = sys.modules.get(AUTO_MODULE)
    if auto is None:
        return None
    named = (getattr(auto, each, {}).get(model_type) for each in AUTO_CLASSES)
    made = next((name for name in named if name is not None), ())
    return is_of_transformers(model_class) and model_class.__name__ in ((made,) if isinstance(made, str) else made)


def hooked_parameters(model: torch.nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters whose gradient a hook can change: on them, or on the module that has them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    hooked: dict[str, None] = {}
    for module in model.modules():
        on_module = _hooks_of(module)
        for parameter in module.parameters(recurse=False):
            if on_module or _hooks_of(parameter):
                hooked[names[id(parameter)]] = None
    return tuple(hooked)


def added_up_parameters(model: torch.nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters whose gradient a hook of transformers adds up over the processes."""
    return tuple(name for name, parameter in model.named_parameters() if any(map(adds_up, _hooks_of(parameter))))


def _hooks_of(owner: Any) -> list[Any]:
    """Return the hooks that wait for a gradient, without our own."""
    found = [getattr(owner, name, None) or {} for name in GRADIENT_HOOKS]
    hooks = [hook for each in found for hook in each.values()]
    return [hook for hook in hooks if not str(getattr(hook, "__module__", "")).startswith("gacheck.")]


def describe_training(trainer: Any) -> dict[str, Any]:
    """Describe a Trainer at its first step, as fields of `WatchedTraining`."""
    model = trainer.model
    described = describe_model(model)
    first = next(model.parameters())
    cuda = first.device.type == "cuda"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _installed(name)) is not None},
        "model_name": model_name(model),
        "model_class": described.class_name,
        "model_type": described.model_type,
        "num_parameters": described.num_parameters,
        "adapter": described.adapter,
        "accepts_loss_kwargs_declared": described.declared,
        "forward_has_kwargs": described.takes_kwargs,
        "trainer_class": name_of(type(trainer)),
        "compute_loss_func": name_of(getattr(trainer, "compute_loss_func", None)),
        "arguments": {name: _plain(getattr(trainer.args, name)) for name in ARGUMENTS if hasattr(trainer.args, name)},
        "loss_kwargs": Flag.of(getattr(trainer, "model_accepts_loss_kwargs", False)),
        "device": str(first.device),
        "device_name": torch.cuda.get_device_name(first.device) if cuda else first.device.type,
        "dtype": str(first.dtype).removeprefix("torch."),
        "autocast": autocast_of(trainer),
        "overrides": read_overrides(trainer),
        "hooked_parameters": hooked_parameters(model),
        "added_up_parameters": added_up_parameters(model),
        "loss_type": described.loss_type,
        "has_loss_type": described.has_loss_type,
        "built_by_auto_class": described.built_by_auto_class,
    }


def known_shift(model: Any, batch: Mapping[str, Any], shifts: bool | None) -> bool | None:
    """Return whether a loss shifts the labels; None where that is to be found out.

    Args:
        model: Its `loss_type`, where it has one, names the task whose loss it computes.
        batch: Labels that are not the tokens at the same places have no neighbours to be shifted to.
        shifts: What was found out.
    """
    if shifts is not None:
        return shifts
    loss_type = getattr(base_model(model), "loss_type", None)
    is_other = isinstance(loss_type, str) and not any(each in loss_type for each in SHIFTING_LOSSES)
    return False if is_other or not (holds_text(batch) or "shift_labels" in batch) else None


def declares_sum(model: Any) -> bool:
    """Whether a model's config says that its loss is a sum, as `ctc_loss_reduction` does of speech models."""
    fields = vars(getattr(base_model(model), "config", None) or object).items()
    return any(name.endswith("loss_reduction") and value == "sum" for name, value in fields)


def runs_own_code(trainer: Any) -> bool:
    """Whether any of what computes a training's loss is somebody's own, of which nothing is known."""
    parts = (trainer.training_step, trainer.compute_loss, type(base_model(trainer.model)))
    return getattr(trainer, "compute_loss_func", None) is not None or not all(map(is_of_transformers, parts))


def autocast_of(trainer: Any) -> str | None:
    """Return the precision that a Trainer's forwards are cast to; None where they are not."""
    return PRECISIONS.get(str(getattr(trainer.accelerator, "mixed_precision", "no")))


def autocast_unit(trainer: Any) -> float:
    """Return half a unit in the last place of that precision, relative; 0 where nothing is cast."""
    precision = autocast_of(trainer)
    # The eight bits of fp8 are rounded to from bfloat16, whatever makes them.
    return 0.0 if precision is None else torch.finfo(getattr(torch, precision, torch.bfloat16)).eps / 2


def kind_of(trainer: Any) -> tuple[Any, ...]:
    """Return all of a Trainer that bears on its loss: trainings that have it alike need to be watched once."""
    arguments = {name: _plain(getattr(trainer.args, name, None)) for name in ARGUMENTS if name not in NOT_OF_THE_LOSS}
    return (
        type(trainer),
        type(base_model(trainer.model)),
        type(trainer.model),
        *arguments.values(),
        getattr(trainer, "model_accepts_loss_kwargs", None),
        getattr(trainer, "loss_is_scaled_for_ga", None),
        getattr(trainer, "compute_loss_func", None),
        str(getattr(trainer.accelerator, "mixed_precision", "no")),
        type(getattr(trainer, "data_collator", None)),
        type(trainer.train_dataset),
        tuple(getattr(trainer.train_dataset, "column_names", None) or ()),
    )


def _plain(value: Any) -> Any:
    """Return an argument as JSON can hold it; enumerations by their value."""
    value = getattr(value, "value", value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
