"""What repeats a measurement: a command that anybody can type, or a line of code where no command made it.

It is written from what was measured, not from what was typed: a file of options is somebody else's, and where the
result went, or how it was shown, is nobody's business.
"""

from __future__ import annotations

from typing import Any

from gacheck.config import STAND_IN_PREFIX, ExperimentConfig, RunConfig, write_scalar
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.run import RunRecord
from gacheck.record.survey import SurveyItem

PROGRAM = "gacheck"

NOT_OF_SMOKE = frozenset(
    {"gradient_accumulation_steps", "loss_kwargs", "per_device_train_batch_size", "max_steps"}
    | {"learning_rate", "optim", "max_grad_norm", "processes", "average_tokens", "shard"}
)
"""What a check of two steps has no use for: `gacheck smoke` has no such options."""

# Several micro-batches, each of several rows; and not the number of processes, lest the two be mistaken.
SMOKE: dict[str, Any] = {"gradient_accumulation_steps": (4,), "max_steps": 2}
"""What `gacheck smoke` sets; the flag is then as the Trainer chooses it."""

SET_BY_SMOKE = frozenset({*SMOKE, "loss_kwargs"})

CHECK_MODEL = "gacheck.check(model)"
"""The code that made a record, where no command did."""
CHECK_TRAINER = "gacheck.check(trainer)"
ATTACH = "gacheck.attach(trainer)"

Command = tuple[str, ...]


def run_command(config: ExperimentConfig) -> Command:
    """Return the `gacheck run` that measures by these options; of a `RunConfig` with those of the output."""
    return (PROGRAM, "run", *_options(config))


def smoke_command(config: ExperimentConfig) -> Command:
    """Return the `gacheck smoke` that measures by these options, or the run where smoke has no such options."""
    is_smoke = all(getattr(config, name) == value for name, value in SMOKE.items())
    if not is_smoke or _given(config).keys() & NOT_OF_SMOKE - SET_BY_SMOKE:
        return run_command(config)
    return (PROGRAM, "smoke", *_options(config, SET_BY_SMOKE))


def fuller_command(config: ExperimentConfig) -> Command:
    """Return the `gacheck run` at every k, with the flag on and off, of what was checked at one."""
    every = {name: ExperimentConfig.model_fields[name].default for name in SET_BY_SMOKE}
    if config.effective_batch_size is not None:
        rows, ks = config.effective_batch_size, every["gradient_accumulation_steps"]
        every["gradient_accumulation_steps"] = tuple(k for k in ks if rows % k == 0)
    return run_command(config.model_copy(update=every))


def attach_command(training: list[str], num_steps: int, default: int) -> Command:
    """Return the `gacheck attach` that watches a training command."""
    steps = () if num_steps == default else ("--steps", str(num_steps))
    return (PROGRAM, "attach", *steps, "--", *training)


def asked_by(command: Command) -> str | None:
    """Return the name of the gacheck command that a record's words are, if they are one."""
    return command[1] if command[:1] == (PROGRAM,) and len(command) > 1 else None


def repeating(record: AnyTrainingRecord) -> Command | str:
    """Return what measures the same again: the words of a command, or a line of code."""
    command = record.command
    asked = asked_by(command)
    if isinstance(record, RunRecord):
        makers = {"run": run_command, "smoke": smoke_command}
        return makers[asked](record.config) if asked in makers else CHECK_MODEL
    if asked == "attach":
        return command
    return command[0] if command in ((CHECK_TRAINER,), (ATTACH,)) else ATTACH


def _given(config: ExperimentConfig) -> dict[str, object]:
    """Return the options that are not as they are by default; the model always, since that is what is asked about."""
    fields = type(config).model_fields
    values = {name: getattr(config, name) for name in fields}
    return {name: value for name, value in values.items() if name == "model" or value != fields[name].default}


def _options(config: ExperimentConfig, leaving_out: frozenset[str] = frozenset()) -> list[str]:
    given = {name: value for name, value in _given(config).items() if name not in leaving_out}
    return [word for name, value in given.items() for word in _option(name, value)]


def _option(name: str, value: object) -> list[str]:
    field = RunConfig.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    option = str(extra.get("short") or "--" + (field.alias or name).replace("_", "-"))
    if isinstance(value, bool):
        return [option if value else option.replace("--", "--no-", 1)]
    if isinstance(value, dict):
        return [word for key, each in value.items() for word in (option, f"{key}={write_scalar(each)}")]
    return [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]


def shown_command(item: SurveyItem, task: str | None, installed: str | None) -> Command:
    """Return what shows the verdict on an item of a survey: a run, or a survey of it where the release is another.

    Args:
        item: The item.
        task: As it had to be named to train the item; None where its class says it.
        installed: The release of transformers where the survey was begun.
    """
    named = () if task is None else ("--task", task)
    if item.transformers == installed:
        return (PROGRAM, "run", f"{STAND_IN_PREFIX}{item.name}", *named)
    return (PROGRAM, "survey", item.name, *named, "--transformers", item.transformers)
