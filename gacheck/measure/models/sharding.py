"""Spreads a model's weights over the processes of a run, by FSDP2 or tensor parallelism, as transformers loads them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers import PreTrainedModel

from gacheck.errors import ConfigError, ModelError, one_line
from gacheck.measure.heads.tasks import is_causal
from gacheck.measure.models.dropout import switch_off_dropout
from gacheck.watch.spread import is_spread

Kind = Literal["fsdp", "tp"]


def shard(model: Any, kind: Kind, num_processes: int) -> Any:
    """Return the same model, spread over all processes.

    It is read again from its own weights: transformers spreads them while it reads. `TrainingArguments(fsdp=…)` would
    not do, which silently becomes DDP on a processor.

    Args:
        model: Whole; the same in all processes.
        kind: How.
        num_processes: How many there are.

    Raises:
        ConfigError: This release of transformers cannot.
        ModelError: This model cannot be spread.
    """
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            f"A {type(model).__name__} cannot be spread over processes.",
            why="--shard reads the model once more, which only transformers' own classes can.",
            fix="leave out --shard",
        )
    distributed_config = _config_of(kind, num_processes)
    dtype = next(model.parameters()).dtype
    weights, given = model.state_dict(), {"dtype": dtype, "distributed_config": distributed_config}
    try:
        spread: Any = type(model).from_pretrained(None, config=model.config, state_dict=weights, **given)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be spread over {num_processes} processes: {one_line(error)}",
            why=f"--shard {kind} leaves that to transformers, which does it for the classes that have a plan for it.",
            fix="leave out --shard: the processes then each hold the whole model",
        ) from error
    _check(spread, kind)
    if kind == "tp":
        allow_on_processors()
    switch_off_dropout(spread)
    return spread.train()


def check_task(task: str) -> None:
    """Refuse what cannot be repeated by all processes together.

    Raises:
        ConfigError: It is no causal language model.
    """
    if not is_causal(task):
        raise ConfigError(
            f"A model for {task} cannot be measured with its weights spread over processes.",
            why="All processes have to repeat a micro-batch together, which is done for causal language models alone.",
            fix="leave out --shard: the processes then each hold the whole model",
        )


def _config_of(kind: Kind, num_processes: int) -> Any:
    try:
        from transformers.distributed import DistributedConfig

        return DistributedConfig(**{f"{kind}_size": num_processes})
    except (ImportError, TypeError):
        raise ConfigError(
            "This transformers cannot spread a model over processes when it reads it.",
            why=f"--shard {kind} needs its DistributedConfig({kind}_size=…).",
            fix="upgrade transformers to 5.24.0 or later, or leave out --shard",
        ) from None


def _check(model: torch.nn.Module, kind: Kind) -> None:
    """Make sure that the model is spread, for a run that is not would speak of something else.

    With tensor parallelism each process has some weights whole, as those of norms.
    """
    left = [name for name, parameter in model.named_parameters() if not hasattr(parameter, "full_tensor")]
    if (left and kind == "fsdp") or not is_spread(model):
        raise ModelError(
            f"{type(model).__name__} was to be spread over the processes, and {left[0] if left else 'it'} is not.",
            why=f"What would be measured is not what --shard {kind} asks for.",
            fix="leave out --shard",
        )


def allow_on_processors() -> None:
    """Take accelerate's refusal away, which knows tensor parallelism of GPUs alone; nothing is computed there."""
    asked: Any = Accelerator.multi_device

    def multi_device(self: Accelerator) -> bool:
        config = self.parallelism_config
        is_refused = self.distributed_type is DistributedType.MULTI_CPU and config is not None and config.tp_enabled
        return is_refused or bool(asked.fget(self))

    Accelerator.multi_device = property(multi_device)
