"""Makes a Trainer: the Trainer itself, or a subclass of the user's, under the options of the run."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, ModelError, one_line
from gacheck.measure.processes import TIME_LIMIT
from gacheck.packages import missing_package, not_installed

TrainerFactory = Callable[..., Trainer]
"""Makes a Trainer of the keyword arguments that the Trainer itself takes; its class is one such."""


AVERAGE_TOKENS = "average_tokens_across_devices"


def factory_of(trainer_class: type[Trainer], tokenizer: Any) -> TrainerFactory:
    """Return what makes Trainers of a subclass of the user's.

    Args:
        trainer_class: The subclass.
        tokenizer: Handed to a subclass that asks for one; the Trainer itself only saves it.

    Returns:
        The factory; it raises ModelError where the class cannot be made of what the Trainer itself is made of.
    """
    signature = inspect.signature(trainer_class.__init__)
    takes_one = "processing_class" in signature.parameters and tokenizer is not None
    more = {"processing_class": tokenizer} if takes_one else {}

    def make(**arguments: Any) -> Trainer:
        try:
            signature.bind(None, **arguments, **more)
        except TypeError as error:
            raise ModelError(
                f"{trainer_class.__name__}, from --trainer-class, cannot be made: {one_line(error)}.",
                why="Its __init__ is given model, args, train_dataset and data_collator by name, as the Trainer is.",
                fix="let its __init__ take these and defaults for the rest, or attach to your own training instead:  "
                "gacheck attach -- python train.py",
            ) from error
        return trainer_class(**arguments, **more)

    return make


def training_arguments(
    config: ExperimentConfig, accumulation_steps: int, learning_rate: float, device: torch.device, folder: str
) -> TrainingArguments:
    """Translate the configuration into the Trainer's own arguments.

    Raises:
        ConfigError: The Trainer refuses a value, `optim` for one.
    """
    _check_optim_name(config.optim)
    given = {} if config.average_tokens is None else {AVERAGE_TOKENS: config.average_tokens.is_on}
    if given and not hasattr(TrainingArguments, AVERAGE_TOKENS):
        raise ConfigError(
            f"transformers {transformers.__version__} has no {AVERAGE_TOKENS}.",
            why="--average-tokens sets it.",
            fix="leave --average-tokens out: each process of this release counts by itself",
        )
    try:
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=config.micro_batch_size(accumulation_steps),
            gradient_accumulation_steps=accumulation_steps,
            max_steps=config.max_steps,
            learning_rate=learning_rate,
            lr_scheduler_type="constant",
            optim=config.optim,
            max_grad_norm=config.max_grad_norm,
            label_smoothing_factor=config.label_smoothing_factor,
            seed=config.seed,
            ddp_timeout=TIME_LIMIT.seconds,
            bf16=config.bf16,
            fp16=config.fp16,
            use_cpu=device.type == "cpu",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            **given,
        )
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"The Trainer refuses these options: {one_line(error)}",
            why=f"transformers {transformers.__version__} checks them before it trains.",
            fix=f"leave out {' and '.join(_passed_on(config))}, passed on to the Trainer as given",
        ) from None
    if args.n_gpu > 1:
        # One process on several GPUs would be wrapped in DataParallel, which is another experiment.
        args._n_gpu = 1
    return args


def _passed_on(config: ExperimentConfig) -> list[str]:
    """Return the options that the Trainer may refuse."""
    given = {"--optim": config.optim != "adamw_torch", "--bf16": config.bf16, "--fp16": config.fp16}
    return [name for name, is_given in given.items() if is_given] or ["--device"]


def _check_optim_name(name: str) -> None:
    known = [str(each.value) for each in OptimizerNames]
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    raise ConfigError(
        f"There is no optimizer {name!r}.",
        why=f"--optim is the Trainer's; transformers {transformers.__version__} knows {len(known)}.",
        fix=f"did you mean  --optim {close[0]}?" if close else "choose one of  " + ", ".join(known[:12]) + ", …",
    )


def check_optimizer(args: TrainingArguments) -> None:
    """Ask the Trainer for its optimizer's class, before anything is loaded: it may need a package.

    Raises:
        PackageError: It does, and that is not installed.
    """
    try:
        Trainer.get_optimizer_cls_and_kwargs(args)
    except Exception as error:
        package = missing_package(error)
        if package is not None:
            raise not_installed(package, error, f"--optim {OptimizerNames(args.optim).value}") from error
        # What else it wants, such as the model, it may have once it trains.
