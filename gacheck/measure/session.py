"""One model, loaded once: everything that a run needs of torch, behind three calls."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import datasets
import torch
import transformers
from transformers import Trainer
from transformers.trainer_utils import set_seed

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, GacheckError, ModelError
from gacheck.frames import place_of, what_it_did
from gacheck.measure.alarm import GiveUp
from gacheck.measure.experiment import what_to_look_at
from gacheck.measure.fingerprints import fingerprints_of
from gacheck.measure.heads.rows import IMAGE_AND_TEXT, make_head_rows, refuse_text_options
from gacheck.measure.heads.tasks import is_causal
from gacheck.measure.memory import LEAST_WORK, check_memory, estimate, num_values
from gacheck.measure.models.inputs import demanded_length, demanded_zeros
from gacheck.measure.models.longest import check_longest_row
from gacheck.measure.models.sharding import check_task, shard
from gacheck.measure.models.source import ModelSource, open_model
from gacheck.measure.passes.oracle import Oracle
from gacheck.measure.passes.runner import Answers, PassRunner
from gacheck.measure.passes.trainers import (
    AVERAGE_TOKENS,
    TrainerFactory,
    check_optimizer,
    factory_of,
    training_arguments,
)
from gacheck.measure.passes.watched import WatchedOracle
from gacheck.measure.processes import Processes
from gacheck.measure.text.rows import SHORTEST_ROW, Collator, Rows, make_rows
from gacheck.measure.text.sources import open_text
from gacheck.measure.user_code import failures_as, import_loss, import_trainer, name_user_code
from gacheck.record.parts import HardwareFacts, OracleRecord, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.record.run import Fingerprints, RunRecord
from gacheck.rules.facts import Flag
from gacheck.watch.batches import Batch
from gacheck.watch.description import base_model

# Random weights learn nothing visible in a few steps at a fine-tuning rate.
LEARNING_RATE_RANDOM = 1e-3
LEARNING_RATE_PRETRAINED = 5e-5


def quiet_libraries() -> None:
    """Keep the libraries' warnings, logs and progress bars off the terminal."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    for name in ("accelerate", "huggingface_hub", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)


class Material(NamedTuple):
    """What is trained, for whoever would train it by other means: the model, its rows, what makes batches of them."""

    model: Any
    rows: Sequence[Any]
    collate: Callable[[Any], Batch]


class Session:
    """A loaded model with its data, ready for its passes.

    Args:
        config: The experiment.
        source: Gives model and tokenizer; by default they are found by `config.model`.
        make_trainer: Makes the Trainers; by default they are the Trainer itself or `config.trainer_class`.
        give_up: Says an error and ends this process, called where it cannot be interrupted by other means.
        pass_timeout: Seconds that a pass may take; None for no limit.

    Attributes:
        model: Facts for the record.
        data: Facts for the record.
        hardware: Facts for the record.
        learning_rate: As used.
        material: What is trained.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        source: ModelSource | None = None,
        make_trainer: TrainerFactory | None = None,
        give_up: GiveUp | None = None,
        pass_timeout: float | None = None,
    ) -> None:
        _check_processes(config, int(os.environ.get("WORLD_SIZE", "1")), of="WORLD_SIZE says")
        # Set for another program, it would put the passes, and not the oracle, under mixed precision.
        os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
        self._config = config
        name_user_code(config)
        device = pick_device(config.device)
        # Before anything is loaded: the Trainer's opinion of the options costs nothing.
        args = training_arguments(config, config.gradient_accumulation_steps[0], LEARNING_RATE_RANDOM, device, ".")
        check_optimizer(args)
        averaged = getattr(args, AVERAGE_TOKENS, None)
        set_seed(config.seed)
        self._processes = Processes(give_up, pass_timeout)
        _check_processes(config, self._processes.size, of="the Trainer joined")
        # Config, tokenizer, rows and the user's Trainer come before the weights: what is wrong with them costs no load.
        source = source or open_model(config)
        of_text = is_causal(source.task)
        tokenizer = source.load_tokenizer() if of_text else None
        rows = make_rows(open_text(config), tokenizer, config) if of_text else None
        if not of_text:
            refuse_text_options(config, source.task)
        make_trainer = make_trainer or _trainer_factory(config, tokenizer)
        model, self.model = source.load_model()
        default = LEARNING_RATE_RANDOM if self.model.random_weights else LEARNING_RATE_PRETRAINED
        self.learning_rate = config.learning_rate or default
        autocast = torch.bfloat16 if config.bf16 else torch.float16 if config.fp16 else None
        self.hardware = HardwareFacts(
            device=str(device),
            device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            dtype=config.dtype,
            autocast=str(autocast).removeprefix("torch.") if autocast else None,
            world_size=self._processes.size,
            average_tokens_across_devices=averaged if self._processes.size > 1 else None,
        )
        with self._failures():
            kind = config.shard
            model = model.to(device).train() if kind == "none" else shard(model, kind, self._processes.size)
            fed, collator, task = _feed(model, tokenizer, rows, config, source.task)
            if config.shard != "none":
                check_task(task)
            oracle: Answers = WatchedOracle(model, collator)
            if is_causal(task):
                check_longest_row(model, collator, fed, config)
                oracle = Oracle(model, collator, autocast, self._processes.tell)
        self.model = self.model.model_copy(update={"task": task})
        self.data = fed.facts
        self.material = Material(model, fed.train, collator)
        if config.shard == "none":
            self._check_memory(model, fed.train, collator, device)
        self._runner = PassRunner(
            config,
            self.learning_rate,
            model,
            fed,
            collator,
            oracle,
            make_trainer,
            self._processes.exchange,
            self._processes.time_limit,
        )
        self.model = self.model.model_copy(update={"declaration_is_read": self._declaration_is_read(model)})

    def _check_memory(self, model: Any, rows: Sequence[Any], collate: Callable[[Any], Batch], device: Any) -> None:
        """Refuse a run that cannot fit; what is too small to matter is not asked."""
        config, k = self._config, min(self._config.gradient_accumulation_steps)
        largest = sorted(rows, key=num_values)[-config.micro_batch_size(k) :]
        if self.model.num_parameters * sum(map(num_values, largest)) >= LEAST_WORK:
            args = training_arguments(config, k, self.learning_rate, device, ".")
            need = estimate(model, collate(largest), args, copy=not config.low_memory)
            # DDP exchanges gradients in buffers of their own.
            need = replace(need, gradients=need.gradients * (2 if config.processes > 1 else 1))
            check_memory(config.model, need, device, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

    def _declaration_is_read(self, model: Any) -> bool:
        """Try whether the Trainer follows a model that declares `accepts_loss_kwargs`: the fix in the model class."""
        wanted = self.auto_loss_kwargs().other
        # An attribute of the instance: restoring the model takes it away again.
        base_model(model).accepts_loss_kwargs = wanted.is_on
        return self.auto_loss_kwargs() is wanted

    def fingerprints(self) -> Fingerprints:
        """Take the fingerprints of weights and code, before the first pass."""
        return fingerprints_of(self.material.model, self._config)

    def ask_oracle(self) -> OracleRecord:
        """Compute the right answer for the rows that the Trainer feeds first."""
        with self._failures():
            return self._runner.ask_oracle()

    def auto_loss_kwargs(self) -> Flag:
        """Return the value of the flag that the Trainer chooses itself."""
        with self._failures():
            return self._runner.chosen_flag()

    def run_pass(self, spec: PassSpec, oracle: OracleRecord, step_done: Callable[[], None]) -> PassRecord:
        """Train once under the real Trainer, in all processes."""
        return self._processes.outcome(self._runner.run(spec, oracle, step_done))

    def agree(self, record: RunRecord) -> RunRecord:
        """Return the record of the first process, for all to go on with."""
        return self._processes.first(record)

    def _failures(self) -> AbstractContextManager[None]:
        return failures_as(partial(_cannot_be_trained, self._config, self.model.class_name, self.model.task))


def _check_processes(config: ExperimentConfig, number: int, *, of: str) -> None:
    """Refuse another number of processes than that which the experiment is of."""
    if number != config.processes:
        raise ConfigError(
            f"This is to be measured in {config.processes} {'process' if config.processes == 1 else 'processes'}; "
            f"{of} {number}.",
            why="Each would do something else than the others.",
            fix="use gacheck run, which trains in as many as torchrun, accelerate launch or --processes start"
            if config.processes == 1
            else f"start it without torchrun, with  --processes {config.processes}",
        )


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
            fix="leave --device out for the best that is here, or write  --device cpu",
        ) from None
    return device


def _trainer_factory(config: ExperimentConfig, tokenizer: Any) -> TrainerFactory:
    """Return what makes the Trainers that the options ask for."""
    make: TrainerFactory = Trainer
    if config.trainer_class is not None:
        make = factory_of(import_trainer(config.trainer_class), tokenizer)
    if config.compute_loss_func is not None:
        make = partial(make, compute_loss_func=import_loss(config.compute_loss_func))
    return make


def _collator(model: Any, tokenizer: Any, rows: Rows) -> Collator:
    """Return a collator that adds what the model demands besides text, and pads as far as it demands."""
    # Padding is masked out everywhere, so a tokenizer without a padding token is served by any other id.
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    device = next(model.parameters()).device
    short = {name: values[:SHORTEST_ROW] for name, values in rows.train[0].items()}
    collator = Collator(pad)
    while True:
        sample = {name: tensor.to(device) for name, tensor in collator([short]).items()}
        try:
            return replace(collator, zeros=demanded_zeros(model, sample))
        except Exception as error:  # a model says it in its own way
            length = demanded_length(error, max(rows.facts.max_length, 1 + collator.length))
            if length is None:
                raise
            collator = replace(collator, length=length)


def _feed(model: Any, tokenizer: Any, rows: Rows | None, config: ExperimentConfig, task: str) -> tuple[Rows, Any, str]:
    """Find what a model is fed: rows, what collates them, and the task that they are of.

    A model that refuses text alone is fed images besides, unless it is to be trained on what somebody gave.

    Args:
        model: On its device.
        tokenizer: Of the rows.
        rows: Of text; None where they are to be made up.
        config: The experiment.
        task: That the model is trained for.
    """
    if rows is None:
        return *make_head_rows(model, task, config), task
    try:
        return rows, _collator(model, tokenizer, rows), task
    except Exception:
        if config.dataset is None and not config.packing and not config.not_transformers_own:
            for other in (IMAGE_AND_TEXT, ""):  # the second: whatever it may be that it takes
                with suppress(ModelError):
                    return *make_head_rows(model, other, config), other
        raise


def _cannot_be_trained(config: ExperimentConfig, class_name: str, task: str, error: BaseException) -> GacheckError:
    """Explain what a model or a Trainer raised outside a pass, and in no code of the user's own."""
    on_text = " on text" if is_causal(task) else ""
    return ModelError(
        f"{class_name} cannot be trained{on_text}: it {what_it_did(error)}{place_of(error)}.",
        why="It was raised in no line of your own, but where something that you put in is used."
        if config.not_transformers_own
        else "No code of your own was running: it is the model's, or a library's.",
        fix=what_to_look_at(config),
    )
