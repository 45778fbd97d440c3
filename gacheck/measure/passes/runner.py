"""One short training at one (k, flag), under the real Trainer, watched."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from torch.utils.data import Subset
from transformers import PrinterCallback, Trainer, TrainerCallback

from gacheck.config import ExperimentConfig
from gacheck.errors import GacheckError, one_line
from gacheck.frames import LOG, exit_call, raised_in_user_code
from gacheck.measure.passes.snapshot import Snapshot
from gacheck.measure.passes.time_limit import TimeLimit
from gacheck.measure.passes.trainers import TrainerFactory, training_arguments
from gacheck.measure.text.rows import Rows
from gacheck.record.parts import OracleRecord, PassError, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import EvaluationFacts, Flag
from gacheck.scratch import scratch_folder
from gacheck.watch.batches import Batch, row_fingerprint
from gacheck.watch.evaluation import evaluate_twice
from gacheck.watch.own_loss import rejects_count
from gacheck.watch.probe import Probe
from gacheck.watch.questions import Exchange
from gacheck.watch.units import MOST_ROWS_APART
from gacheck.words.reasons import is_of_memory

StepDone = Callable[[], None]

# A fault may begin with the second step: a count of the step before, gradients that were not put to zero.
OBSERVED_STEPS = 2

# Three epochs of a tail: where steps do not end with epochs, the second step already straddles two of them.
TAIL_STEPS = 3
TAIL_BATCH = {"per_device_train_batch_size": 1, "effective_batch_size": None}


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Tells that an optimizer step is done."""

    def __init__(self, step_done: StepDone) -> None:
        self._step_done = step_done

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step_done()


class Answers(Protocol):
    """Knows the right answer, at the model's present weights."""

    def answer(
        self, trainer: Any, rows: Any, micro_batch_sizes: Sequence[int], step_sizes: Sequence[int]
    ) -> OracleRecord:
        """Tell what is right, or what is to be known to find it out."""

    def mean_nats(self, rows: Sequence[Any], *, shifts: bool) -> float:
        """Return the mean loss over rows that no pass sees."""


class PassRunner:
    """Runs passes on one model, each from the same weights.

    Args:
        config: The experiment.
        learning_rate: Of every pass.
        model: On its device, at its initial weights.
        rows: What the passes train on and are tested on.
        collator: Pads rows to batches.
        oracle: Knows the right answer, at the model's present weights.
        make_trainer: Makes the Trainer of every pass.
        exchange: Tells the other processes something and returns what each told; None in a run of one.
        time_limit: Of every pass.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        learning_rate: float,
        model: Any,
        rows: Rows,
        collator: Callable[[Any], Batch],
        oracle: Answers,
        make_trainer: TrainerFactory = Trainer,
        exchange: Exchange | None = None,
        time_limit: TimeLimit | None = None,
    ) -> None:
        self._config = config
        self._learning_rate = learning_rate
        self._model = model
        self._rows = rows
        self._collator = collator
        self._oracle = oracle
        self._device = next(model.parameters()).device
        self._make_trainer = make_trainer
        self._exchange = exchange
        self._time_limit = time_limit or TimeLimit()
        self._snapshot = Snapshot(model, on_disk=config.low_memory)

    def chosen_flag(self) -> Flag:
        """Return the flag that the Trainer chooses itself."""
        with self._workplace() as folder:
            return Flag.of(self._trainer(self._first_spec, folder).model_accepts_loss_kwargs)

    def ask_oracle(self) -> OracleRecord:
        """Compute the right answer for the rows that the Trainer feeds first."""
        steps = self._config.gradient_accumulation_steps
        micro_batch_sizes = [self._config.micro_batch_size(k) for k in steps]
        step_sizes = [self._config.rows_per_step(k) for k in steps]
        with self._workplace() as folder:
            trainer = self._trainer(self._first_spec, folder)
            answer = self._oracle.answer(trainer, self._rows.train, micro_batch_sizes, step_sizes)
            return answer.model_copy(update={"evaluation": self._evaluation(trainer)})

    def _evaluation(self, trainer: Trainer) -> EvaluationFacts | None:
        """Ask for `eval_loss`; what cannot be asked stays open. Several processes would share the rows."""
        if self._exchange is not None:
            return None
        rows = list(itertools.islice(self._rows.train, MOST_ROWS_APART))
        with suppress(Exception, SystemExit):
            return evaluate_twice(trainer, [self._collator(rows)])
        return None

    def run(self, spec: PassSpec, oracle: OracleRecord, step_done: StepDone) -> PassRecord:
        """Train once; an error is part of the outcome."""
        started = time.perf_counter()
        facts: dict[str, Any] = {
            "id": spec.id,
            "accumulation_steps": spec.accumulation_steps,
            "loss_kwargs": spec.loss_kwargs,
            "tail": spec.tail,
        }
        with self._workplace() as folder:
            try:
                with self._time_limit.of(spec.id):
                    trainer = self._trainer(spec, folder, self._tail(spec, oracle))
                    self._train(trainer, spec, oracle, step_done, facts)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # whatever a model or a Trainer raises is what this pass came to
                LOG.debug("%s failed", spec.id, exc_info=error)
                facts |= {"status": "failed", "error": describe(error)}
        return PassRecord(**facts, seconds=time.perf_counter() - started)

    def _train(
        self, trainer: Trainer, spec: PassSpec, oracle: OracleRecord, step_done: StepDone, facts: dict[str, Any]
    ) -> None:
        """Train, and note the facts as they come: a failure leaves what was seen before it."""
        facts["auto_loss_kwargs"] = Flag.of(trainer.model_accepts_loss_kwargs)
        trainer.model_accepts_loss_kwargs = spec.loss_kwargs.is_on

        def moved() -> None:
            self._time_limit.moved()
            step_done()

        trainer.add_callback(_Progress(moved))
        probe = Probe(
            trainer,
            # Of rows that nothing is known of beforehand, every pass finds it out, as a training that is watched does.
            shifts=oracle.shifts if oracle.rows else None,
            observed_steps=TAIL_STEPS if spec.tail else OBSERVED_STEPS,
            gradients=self._config.gradients,
            exchange=self._exchange,
        )
        try:
            trainer.train()
        finally:
            facts |= {"steps": tuple(probe.steps), "own_loss": probe.own_loss, "unseen": probe.unseen}
        facts["status"] = "ok"
        facts |= self._after_training(oracle)

    @property
    def _first_spec(self) -> PassSpec:
        """At the largest k: with one micro-batch a step nothing is to be seen."""
        return PassSpec(max(self._config.gradient_accumulation_steps), self._config.loss_kwargs[0])

    @contextmanager
    def _workplace(self) -> Iterator[str]:
        """Give a folder for what a Trainer insists on writing, and put everything back afterwards."""
        with scratch_folder() as folder:
            try:
                yield str(folder)
            finally:
                self._snapshot.restore()

    def _trainer(self, spec: PassSpec, folder: str, train_dataset: Any | None = None) -> Trainer:
        """Make an untouched Trainer."""
        config = self._config
        if spec.tail:
            # One row a micro-batch: releases that take the number of rows for that of micro-batches agree on it.
            config = config.model_copy(update={"max_steps": TAIL_STEPS, **TAIL_BATCH})
        trainer = self._make_trainer(
            model=self._model,
            args=training_arguments(config, spec.accumulation_steps, self._learning_rate, self._device, folder),
            train_dataset=self._rows.train if train_dataset is None else train_dataset,
            data_collator=self._collator,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _tail(self, spec: PassSpec, oracle: OracleRecord) -> Any | None:
        """Return the rows of an epoch that is one micro-batch short of a step; among those that the oracle knows."""
        if not spec.tail:
            return None
        known = {row.fingerprint for row in oracle.rows}
        chosen = [
            number
            for number, row in enumerate(self._rows.train)
            if not known or row_fingerprint(row["input_ids"], row["labels"]) in known
        ]
        return Subset(self._rows.train, chosen[: (spec.accumulation_steps - 1) * self._config.row_sets])

    def _after_training(self, oracle: OracleRecord) -> dict[str, Any]:
        """Measure what training left. What cannot be, for want of memory say, is None; training went well."""
        self._snapshot.remove_traces()
        extra: dict[str, Any] = {}
        with suppress(Exception, SystemExit):
            extra["heldout_loss_nats"] = self._oracle.mean_nats(list(self._rows.heldout), shifts=oracle.shifts)
        return extra


def describe(error: BaseException) -> PassError:
    """Say why a pass failed: where code of the user's own raised it, which, and where that stands."""
    message = f"called {exit_call(error)}" if isinstance(error, SystemExit) else one_line(error, 500)
    kind = type(error).__name__
    if isinstance(error, GacheckError):
        message = one_line(error.what, 500)
    elif not is_of_memory(f"{kind}: {message}"):
        message = raised_in_user_code(error) or message
    return PassError(
        kind=kind,
        # A record is UTF-8; an error may quote a path that is not.
        message=message.encode("utf-8", "backslashreplace").decode(),
        rejects_num_items_in_batch=rejects_count(error),
    )
