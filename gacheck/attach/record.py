"""From what a watched training told of itself to a record, as the passes of a run are one."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from gacheck.config import OBJECT_NAME, ExperimentConfig
from gacheck.errors import RecordError
from gacheck.record.environment import Environment, read_environment
from gacheck.record.plan import PassSpec
from gacheck.record.run import (
    Attached,
    DataFacts,
    HardwareFacts,
    ModelFacts,
    Noise,
    OracleRecord,
    PassRecord,
    RunRecord,
)
from gacheck.rules.facts import WatchedTraining


def read_training(text: str) -> WatchedTraining:
    """Read what the process of a training wrote.

    Raises:
        RecordError: It makes no sense.
    """
    try:
        return TypeAdapter(WatchedTraining).validate_python(json.loads(text))
    except ValueError as error:  # pydantic's own errors are of this kind
        raise RecordError(
            f"What the training told cannot be read: {' '.join(str(error).split())[:300]}",
            why="It comes from gacheck's own watch in the training's process.",
            fix="report it with the output of gacheck env",
        ) from error


def record_of(training: WatchedTraining, command: tuple[str, ...]) -> RunRecord:
    """Make the record of an attached training: one pass, at its own k and flag, of the steps that were observed.

    Args:
        training: As its process told.
        command: What started it.
    """
    return RunRecord(
        kind="attach",
        created_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=command,
        config=_config(training),
        learning_rate=float(training.arguments.get("learning_rate", 0.0)),
        environment=Environment(
            gacheck=read_environment().gacheck,
            python=training.python,
            platform=training.platform,
            packages=training.packages,
        ),
        hardware=HardwareFacts(
            device=training.device,
            device_name=training.device_name,
            dtype=training.dtype,
            autocast=training.autocast,
            world_size=training.num_processes,
        ),
        model=_model(training),
        data=_data(training),
        oracle=_oracle(training),
        passes=(_pass(training),),
        attached=Attached(
            average_tokens_across_devices=training.arguments.get("average_tokens_across_devices"),
            chosen_loss_kwargs=training.chosen_loss_kwargs,
            num_steps=training.num_steps,
            num_processes_seen=training.num_processes_seen,
            unseen=training.unseen,
        ),
    )


def _config(training: WatchedTraining) -> ExperimentConfig:
    """Say in the words of our own options what the training was told."""
    given = training.arguments
    same = ("per_device_train_batch_size", "optim", "max_grad_norm", "label_smoothing_factor", "seed")
    values: dict[str, Any] = {name: given[name] for name in same if given.get(name) is not None}
    return ExperimentConfig(
        model=training.model_name,
        trainer_class=_importable(training.trainer_class),
        compute_loss_func=_importable(training.compute_loss_func),
        gradient_accumulation_steps=(given["gradient_accumulation_steps"],),
        loss_kwargs=("on" if training.loss_kwargs else "off",),
        max_steps=max(1, training.num_steps),
        bf16=training.autocast == "bfloat16",
        fp16=training.autocast == "float16",
        **values,
    )


def _importable(name: str | None) -> str | None:
    """Return the name if it is of the form package.module:name; a lambda's is not."""
    return name if name is not None and re.fullmatch(OBJECT_NAME, name) else None


def _model(training: WatchedTraining) -> ModelFacts:
    return ModelFacts(
        name=training.model_name,
        class_name=training.model_class,
        model_type=training.model_type,
        num_parameters=training.num_parameters,
        stand_in=False,
        random_weights=False,
        adapter=training.adapter,
        accepts_loss_kwargs_declared=training.accepts_loss_kwargs_declared,
        forward_has_kwargs=training.forward_has_kwargs,
    )


def _data(training: WatchedTraining) -> DataFacts:
    seen = [m.observation for step in training.steps for m in step.micro_batches]
    rows = [row for observation in seen if observation is not None for row in observation.rows]
    return DataFacts(
        source="the training's own",
        num_rows=len(rows),
        num_heldout_rows=0,
        min_length=None,
        max_length=None,
        fingerprint=hashlib.sha256("".join(rows).encode()).hexdigest(),
    )


def _oracle(training: WatchedTraining) -> OracleRecord:
    return OracleRecord(
        rows=(),
        shifts=training.shifts,
        shift_errors=None,
        noise=Noise(
            resolution=training.resolution,
            regrouping=0.0,
            repeat=0.0,
            plain_loss=None,
            gradient_norm=None,
            cross_entropy=training.noise,
        ),
        gradient_norms={},
        plain_loss_nats=None,
        counted_loss_nats=None,
        counted_loss_error=None,
        loss_location=training.loss_location,
    )


def _pass(training: WatchedTraining) -> PassRecord:
    spec = PassSpec(training.arguments["gradient_accumulation_steps"], "on" if training.loss_kwargs else "off")
    return PassRecord(
        id=spec.id,
        accumulation_steps=spec.accumulation_steps,
        loss_kwargs=spec.loss_kwargs,
        status="ok",
        # The verdict speaks of the flag that is in force: here the one that the training has, whoever set it.
        auto_loss_kwargs=training.loss_kwargs,
        steps=training.steps,
        seconds=training.seconds,
    )
