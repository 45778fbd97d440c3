"""From what a watched training told of itself to its record."""

from __future__ import annotations

import json
import re
from datetime import datetime

from pydantic import TypeAdapter

from gacheck.config import OBJECT_NAME
from gacheck.errors import RecordError, one_line
from gacheck.record.attach import AttachedSetup, AttachRecord
from gacheck.record.environment import Environment, read_environment
from gacheck.record.parts import HardwareFacts, ModelFacts, OracleRecord, PassError, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.record.redacting import redacted
from gacheck.rules.facts import Flag, StepRecord, WatchedTraining


def read_training(text: str) -> WatchedTraining:
    """Read what the process of a training wrote.

    Raises:
        RecordError: It makes no sense.
    """
    try:
        return TypeAdapter(WatchedTraining).validate_python(json.loads(text))
    except ValueError as error:  # pydantic's own errors are of this kind
        raise RecordError(
            f"What the training told cannot be read: {one_line(error)}",
            why="It comes from gacheck's own watch in the training's process.",
            fix="report it with the output of gacheck env",
        ) from error


def record_of(training: WatchedTraining, command: tuple[str, ...]) -> AttachRecord:
    """Make the record of an attached training: one pass, at its own k and flag, of the steps that were observed.

    Args:
        training: As its process told.
        command: What repeats it.
    """
    return redacted(
        AttachRecord(
            created_at=datetime.now().astimezone().isoformat(timespec="seconds"),
            command=command,
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
            setup=_setup(training),
            oracle=OracleRecord.of_watched(training),
            passes=(_own_pass(training),),
            tried=_tried(training),
            num_observed_steps=training.num_steps,
            num_processes_seen=training.num_processes_seen,
            unseen=training.unseen,
        )
    )


def _setup(training: WatchedTraining) -> AttachedSetup:
    arguments = {name: value for name, value in training.arguments.items() if name in AttachedSetup.model_fields}
    return AttachedSetup.model_validate(
        {
            **arguments,
            "loss_kwargs": training.loss_kwargs,
            "chosen_loss_kwargs": training.chosen_loss_kwargs,
            "trainer_class": _importable(training.trainer_class),
            "compute_loss_func": _importable(training.compute_loss_func),
        }
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
        adapter=training.adapter,
        accepts_loss_kwargs_declared=training.accepts_loss_kwargs_declared,
        forward_has_kwargs=training.forward_has_kwargs,
        loss_type=training.loss_type,
        has_loss_type=training.has_loss_type,
        built_by_auto_class=training.built_by_auto_class,
    )


def _own_pass(training: WatchedTraining) -> PassRecord:
    """Make the pass of the training itself; a model that refuses the count ended it."""
    whole = _pass(training, training.loss_kwargs, training.steps)
    return whole if training.refused is None or training.steps else _refused(whole, training.refused)


def _refused(whole: PassRecord, message: str) -> PassRecord:
    error = PassError(kind="TypeError", message=message, rejects_num_items_in_batch=True)
    return whole.model_copy(update={"status": "failed", "error": error})


def _tried(training: WatchedTraining) -> tuple[PassRecord, ...]:
    """Make the pass at the other value of the flag: what was tried, or that the model refuses it."""
    if training.tried is not None:
        return (_pass(training, training.loss_kwargs.other, (training.tried,)),)
    if training.tried_refused is None:
        return ()
    return (_refused(_pass(training, training.loss_kwargs.other, ()), training.tried_refused),)


def _pass(training: WatchedTraining, flag: Flag, steps: tuple[StepRecord, ...]) -> PassRecord:
    spec = PassSpec(training.arguments["gradient_accumulation_steps"], flag)
    return PassRecord(
        id=spec.id,
        accumulation_steps=spec.accumulation_steps,
        loss_kwargs=spec.loss_kwargs,
        status="ok",
        # The verdict speaks of the flag that is in force: here the one that the training has, whoever set it.
        auto_loss_kwargs=training.loss_kwargs,
        steps=steps,
        own_loss=training.own_loss,
        unseen=training.unseen,
        seconds=training.seconds,
    )
