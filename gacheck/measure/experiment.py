"""A record is begun; the plan → run_pass(spec) → PassRecord, saved after every pass. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from gacheck.config import ExperimentConfig
from gacheck.errors import GacheckError, ModelError, ResourceError, UserCodeError, one_line
from gacheck.frames import FIX_IT
from gacheck.measure.isolation.processes import ENDED, SHOW_WHERE
from gacheck.record.command import Command, run_command
from gacheck.record.environment import read_environment
from gacheck.record.parts import HardwareFacts, ModelFacts, OracleRecord, PassError, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.record.redacting import redacted
from gacheck.record.run import DataFacts, Fingerprints, RunRecord
from gacheck.rules.facts import Flag
from gacheck.words.analysis import analyse
from gacheck.words.reasons import is_of_memory, is_of_time, is_of_user_code


class Experiment(Protocol):
    """A loaded model with its data, ready for its passes."""

    model: ModelFacts
    data: DataFacts
    hardware: HardwareFacts
    learning_rate: float

    def fingerprints(self) -> Fingerprints:
        """Take the fingerprints of weights and code, before the first pass."""

    def ask_oracle(self) -> OracleRecord:
        """Compute the right answer."""

    def auto_loss_kwargs(self) -> Flag:
        """Return the value of the flag that the Trainer chooses itself."""

    def run_pass(self, spec: PassSpec, oracle: OracleRecord, step_done: Callable[[], None]) -> PassRecord:
        """Train once under the real Trainer."""

    def agree(self, record: RunRecord) -> RunRecord:
        """Return the record of the first process, for all to go on with."""


def begin_record(config: ExperimentConfig, experiment: Experiment, command: Command | None = None) -> RunRecord:
    """Compute the right answer; return a record that lacks nothing but passes.

    Args:
        config: The options.
        experiment: Loaded by them.
        command: What repeats it; by default `gacheck run` with these options.
    """
    return redacted(
        RunRecord(
            created_at=datetime.now().astimezone().isoformat(timespec="seconds"),
            command=command or run_command(config),
            config=config,
            learning_rate=experiment.learning_rate,
            environment=read_environment(),
            hardware=experiment.hardware,
            model=experiment.model,
            data=experiment.data,
            oracle=experiment.ask_oracle(),
        )
    )


def measure_auto(config: ExperimentConfig, experiment: Experiment, command: Command | None = None) -> RunRecord:
    """Measure with the flag as the Trainer chooses it; with its other value only where that is not fine."""
    auto = experiment.auto_loss_kwargs()
    record = begin_record(config.model_copy(update={"loss_kwargs": (auto,)}), experiment, command)
    oracle = record.oracle
    for flags in ((auto,), (auto, auto.other)):
        record = record.model_copy(update={"config": record.config.model_copy(update={"loss_kwargs": flags})})
        record = run_passes(record, lambda spec: experiment.run_pass(spec, oracle, lambda: None), lambda saved: None)
        if analyse(record).ok:
            break
    return record


def run_passes(
    record: RunRecord, run_pass: Callable[[PassSpec], PassRecord], save: Callable[[RunRecord], object]
) -> RunRecord:
    """Run what is missing and save after every pass.

    Args:
        record: Complete but for passes.
        run_pass: Trains once; a failure is a `PassRecord` too.
        save: Keeps the record; called once before the first pass and after each.

    Raises:
        GacheckError: The first two passes failed alike, and so would the others.
    """
    save(record)
    for spec in record.missing:
        passes = "tail_passes" if spec.tail else "passes"
        record = record.model_copy(update={passes: (*getattr(record, passes), redacted(run_pass(spec)))})
        save(record)
        end_if_hopeless(record)
    return record


def end_if_hopeless(record: RunRecord) -> None:
    """End a run whose passes all fail for one reason; where any came to its end, there is something to judge.

    Raises:
        ResourceError: It is memory.
        UserCodeError: Code of the user's own raises something.
        ModelError: It is something else.
    """
    errors = [each.error for each in record.passes]
    # Who refuses an argument does so at one value of the flag: that is a verdict, not a failure.
    if len(errors) < 2 or any(each is None or each.rejects_num_items_in_batch for each in errors):
        return
    last, one_before = (each for each in reversed(errors[-2:]) if each is not None)
    reasons = {f"{each.kind}: {each.message}" for each in (last, one_before)}
    all_of_memory = all(map(is_of_memory, reasons))
    if len(reasons) > 1 and not all_of_memory:
        return
    raise _hopeless(record, last, of_memory=all_of_memory)


def _hopeless(record: RunRecord, error: PassError, *, of_memory: bool) -> GacheckError:
    ids = f"The passes {record.passes[-2].id} and {record.passes[-1].id} failed alike"
    if of_memory:
        return ResourceError(
            f"The memory did not suffice for {record.passes[-1].id}: {one_line(error.message or error.kind)}",
            why=f"{ids}, and nothing could be measured.",
            fix="lower --effective-batch-size or --max-length, or choose --dtype bfloat16 or another --device",
        )
    if is_of_time(error.kind):
        return ResourceError(
            f"{record.passes[-1].id} took too long: {error.message.removesuffix('.')}.",
            why=f"{ids}, and so would the others.",
            fix="look at what it does there, allow more with --pass-timeout, or ask for less with --max-steps or "
            "--effective-batch-size",
        )
    if error.kind == ENDED:
        return ModelError(
            f"{record.model.class_name} cannot be trained so: {error.message}.",
            why=f"{ids}, and so would the others.",
            fix=SHOW_WHERE,
        )
    if is_of_user_code(error.kind, error.message):
        why = f"It is code of your own. {ids}, and so would the others."
        return UserCodeError(f"{error.message}.", why=why, fix=FIX_IT)
    return ModelError(
        f"{record.model.class_name} cannot be trained so: {error.kind}: {error.message.removesuffix('.')}.",
        why=f"{ids}, and so would the others.",
        fix=what_to_look_at(record.config),
    )


def what_to_look_at(config: ExperimentConfig) -> str:
    """Say what to do about an error that was raised in no code of the user's own: what was put in comes first."""
    put_in = config.not_transformers_own
    if put_in:
        return f"look at what you put in:  {',  '.join(put_in)};  --traceback shows where it was raised"
    return (
        "check that it is a causal language model for this transformers release; --traceback shows where it was raised"
    )
