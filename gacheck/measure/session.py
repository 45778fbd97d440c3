"""One model, loaded once: everything that a run needs of torch, behind three calls."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import datasets
import torch
import transformers
from transformers.trainer_utils import set_seed

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, GacheckError, ModelError, ResourceError
from gacheck.measure.models.folder import ModelSource
from gacheck.measure.models.inputs import demanded_zeros
from gacheck.measure.objects import import_object, import_trainer
from gacheck.measure.passes.oracle import Oracle
from gacheck.measure.passes.runner import PassRunner, training_arguments
from gacheck.measure.passes.trainers import Making
from gacheck.measure.text.rows import Collator, make_rows
from gacheck.measure.text.sources import open_source
from gacheck.record.parts import HardwareFacts, ModelFacts, OracleRecord, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import Flag

# Random weights learn nothing visible in a few steps at a fine-tuning rate.
LEARNING_RATE_RANDOM = 1e-3
LEARNING_RATE_PRETRAINED = 5e-5


def silence_libraries() -> None:
    """Keep the libraries' warnings, logs and progress bars off the terminal."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    for name in ("accelerate", "huggingface_hub", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)


def pick_device(name: str) -> torch.device:
    """Resolve `auto` and check that the device is there.

    Raises:
        ConfigError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.startswith("cuda:") and name != "cuda:0":
        raise ConfigError(
            f"The Trainer trains on the first GPU that it sees, not on {name}.",
            why="It takes its device from what is visible.",
            fix=f"CUDA_VISIBLE_DEVICES={name.removeprefix('cuda:')} gacheck run … --device cuda",
        )
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"The device {name!r} cannot be used: {str(error).splitlines()[0]}",
            why="The model would be trained there.",
            fix="choose another with --device, such as cpu",
        ) from None
    return device


@contextmanager
def explained(class_name: str) -> Iterator[None]:
    """Turn whatever a model raises outside a pass into an error for people.

    Raises:
        ResourceError: Memory gave out.
        ModelError: The model cannot be run on text.
    """
    try:
        yield
    except GacheckError:
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or "allocate memory" in message:
            raise ResourceError(
                f"There is not enough memory for {class_name}.",
                why=message,
                fix="lower --effective-batch-size or --max-length, or choose another --dtype or --device",
            ) from error
        raise ModelError(
            f"{class_name} cannot be trained on text.",
            why=message,
            fix="check that it is a causal language model for this transformers release",
        ) from error


class Source(Protocol):
    """Gives a model and its tokenizer."""

    def load_tokenizer(self) -> Any:
        """Return the tokenizer."""

    def load_model(self) -> tuple[Any, ModelFacts]:
        """Return the model, its dropout switched off, and what is to be recorded of it."""


class Session:
    """A loaded model with its data.

    Args:
        config: The experiment.
        source: Gives model and tokenizer; by default they are found by `config.model`.

    Attributes:
        model: Facts for the record.
        data: Facts for the record.
        hardware: Facts for the record.
        learning_rate: As used.
    """

    def __init__(self, config: ExperimentConfig, source: Source | None = None) -> None:
        self._config = config
        device = pick_device(config.device)
        # Set for another program, it would put the passes, and not the oracle, under mixed precision.
        os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                "gacheck run measures in one process; WORLD_SIZE says that there are more.",
                why="Several would each run all passes and save over one another.",
                fix="start it without torchrun or accelerate launch",
            )
        # Before anything is loaded: the Trainer's opinion of the options costs nothing.
        training_arguments(config, config.gradient_accumulation_steps[0], 1e-3, device, ".")
        set_seed(config.seed)
        # Config, tokenizer and rows come before the weights: what is wrong with them costs no load.
        source = source or ModelSource(config)
        tokenizer = source.load_tokenizer()
        self._rows = make_rows(open_source(config), tokenizer, config)
        self.data = self._rows.facts
        model, self.model = source.load_model()
        default = LEARNING_RATE_RANDOM if self.model.random_weights else LEARNING_RATE_PRETRAINED
        self.learning_rate = config.learning_rate or default
        with explained(self.model.class_name):
            model.to(device).train()
        collator = Collator(_pad_token_id(tokenizer))
        sample = {name: tensor.to(device) for name, tensor in collator([self._rows.train[0]]).items()}
        with explained(self.model.class_name):
            collator = Collator(collator.pad_token_id, demanded_zeros(model, sample))
        autocast = torch.bfloat16 if config.bf16 else torch.float16 if config.fp16 else None
        self._oracle = Oracle(model, collator, autocast)
        loss_func = import_object(config.compute_loss_func) if config.compute_loss_func else None
        trainer_class = import_trainer(config.trainer_class) if config.trainer_class else None
        self._runner = PassRunner(
            config,
            self.learning_rate,
            model,
            self._rows,
            collator,
            self._oracle,
            making=Making(trainer_class, tokenizer) if trainer_class else Making(),
            compute_loss_func=loss_func,
        )
        self.model = self.model.model_copy(update={"declaration_is_read": self._declaration_is_read(model)})
        self.hardware = HardwareFacts(
            device=str(device),
            device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            dtype=config.dtype,
            autocast=str(autocast).removeprefix("torch.") if autocast else None,
            world_size=1,
        )

    def _declaration_is_read(self, model: Any) -> bool:
        """Try whether the Trainer follows a model that declares `accepts_loss_kwargs`: the mend in the model class."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        wanted = self.auto_loss_kwargs().other
        base.accepts_loss_kwargs = wanted.is_on  # an attribute of the instance: restoring the model takes it away again
        return self.auto_loss_kwargs() is wanted

    def measure_oracle(self) -> OracleRecord:
        """Compute the right answer for the rows that the Trainer feeds first."""
        with explained(self.model.class_name):
            return self._runner.measure_oracle()

    def auto_loss_kwargs(self) -> Flag:
        """Return the value of the flag that the Trainer chooses itself."""
        with explained(self.model.class_name):
            chosen: Flag = self._runner.rehearse(lambda trainer, batches: Flag.of(trainer.model_accepts_loss_kwargs))
        return chosen

    def run_pass(self, spec: PassSpec, oracle: OracleRecord, step_done: Callable[[], None]) -> PassRecord:
        """Train once under the real Trainer."""
        return self._runner.run(spec, oracle, step_done)


def _pad_token_id(tokenizer: Any) -> int:
    """Padding is masked out everywhere, so a tokenizer without a padding token is served by any other id."""
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
