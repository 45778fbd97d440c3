"""What a model and a Trainer say of themselves."""

from __future__ import annotations

import inspect
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from gacheck.rules.facts import PACKAGES, Flag

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
PRECISIONS = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8"}


@dataclass(frozen=True)
class ModelDescription:
    """A model, without the adapter around it.

    Attributes:
        adapter: The class of the adapter; None without.
        declared: Its attribute `accepts_loss_kwargs`; None where it has none.
        takes_kwargs: Whether its forward takes `**kwargs`, from which the Trainer infers the flag.
    """

    class_name: str
    model_type: str
    num_parameters: int
    adapter: str | None
    declared: bool | None
    takes_kwargs: bool


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
    return ModelDescription(
        class_name=type(base).__name__,
        model_type=str(getattr(getattr(base, "config", None), "model_type", type(base).__name__)),
        num_parameters=sum(p.numel() for p in model.parameters()),
        adapter=None if base is model else type(model).__name__,
        declared=None if declared is None else bool(declared),
        takes_kwargs=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
    )


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
        "trainer_class": _name_of(type(trainer)),
        "compute_loss_func": _name_of(getattr(trainer, "compute_loss_func", None)),
        "arguments": {name: _plain(getattr(trainer.args, name)) for name in ARGUMENTS if hasattr(trainer.args, name)},
        "loss_kwargs": Flag.of(getattr(trainer, "model_accepts_loss_kwargs", False)),
        "device": str(first.device),
        "device_name": torch.cuda.get_device_name(first.device) if cuda else first.device.type,
        "dtype": str(first.dtype).removeprefix("torch."),
        "autocast": PRECISIONS.get(str(getattr(trainer.accelerator, "mixed_precision", "no"))),
    }


def _name_of(thing: Any) -> str | None:
    """Return package.module:name of a class or a function; None for what has no such name."""
    name = getattr(thing, "__qualname__", None)
    module = getattr(thing, "__module__", None)
    if name is None or module is None:
        return None if thing is None else f"{type(thing).__module__}:{type(thing).__name__}"
    if module == "__main__":
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        module = getattr(spec, "name", None) or "__main__"
    return f"{module}:{name.rsplit('.', 1)[-1]}"


def _plain(value: Any) -> Any:
    """Return an argument as JSON can hold it; enumerations by their value."""
    value = getattr(value, "value", value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
