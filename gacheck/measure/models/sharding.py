"""Spreads a model's weights over the processes of a run, by FSDP2 as transformers applies it to what it loads."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from gacheck.errors import ConfigError, ModelError, one_line
from gacheck.measure.heads.tasks import is_causal
from gacheck.measure.models.dropout import switch_off_dropout
from gacheck.watch.spread import is_spread


def shard(model: Any, num_processes: int) -> Any:
    """Return the same model, spread over all processes.

    It is read again from its own weights: transformers spreads them while it reads. `TrainingArguments(fsdp=…)` would
    not do, which silently becomes DDP on a processor.

    Args:
        model: Whole; the same in all processes.
        num_processes: How many there are.

    Raises:
        ConfigError: This release of transformers cannot.
        ModelError: This model cannot be spread.
    """
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            f"A {type(model).__name__} cannot be spread over processes.",
            why="--shard fsdp reads the model once more, which only transformers' own classes can.",
            fix="leave out --shard",
        )
    distributed_config = _config_of(num_processes)
    dtype = next(model.parameters()).dtype
    weights, given = model.state_dict(), {"dtype": dtype, "distributed_config": distributed_config}
    try:
        spread: Any = type(model).from_pretrained(None, config=model.config, state_dict=weights, **given)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be spread over {num_processes} processes: {one_line(error)}",
            why="--shard fsdp leaves that to transformers, which does it for the classes that have a plan for it.",
            fix="leave out --shard: the processes then each hold the whole model",
        ) from error
    _check(spread)
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


def _config_of(num_processes: int) -> Any:
    try:
        from transformers.distributed import DistributedConfig

        return DistributedConfig(fsdp_size=num_processes)
    except (ImportError, TypeError):
        raise ConfigError(
            "This transformers cannot spread a model over processes when it reads it.",
            why="--shard fsdp needs its DistributedConfig(fsdp_size=…).",
            fix="upgrade transformers to 5.24.0 or later, or leave out --shard",
        ) from None


def _check(model: torch.nn.Module) -> None:
    """Make sure that the model is spread, for a run that is not would speak of something else."""
    left = [name for name, parameter in model.named_parameters() if not hasattr(parameter, "full_tensor")]
    if left or not is_spread(model):
        raise ModelError(
            f"{type(model).__name__} was to be spread over the processes, and {left[0] if left else 'it'} is not.",
            why="What would be measured is not what --shard fsdp asks for.",
            fix="leave out --shard",
        )
