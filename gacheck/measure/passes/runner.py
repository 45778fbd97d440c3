"""One short training at one (k, flag), under the real Trainer, watched; and the rehearsal that tells the row order."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError
from gacheck.measure.passes.gradients import compare_gradients
from gacheck.measure.passes.oracle import Oracle
from gacheck.measure.passes.snapshot import Snapshot
from gacheck.measure.passes.trainers import Making
from gacheck.measure.text.rows import Collator, Rows
from gacheck.record.parts import GradientEvidence, OracleRecord, PassError, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import Flag
from gacheck.watch.batches import Batch, batch_fingerprints, row_fingerprint
from gacheck.watch.probe import Probe

StepDone = Callable[[], None]

# Three epochs of a tail: where steps do not end with epochs, the second step already straddles two of them.
TAIL_STEPS = 3
TAIL_BATCH = {"per_device_train_batch_size": 1, "effective_batch_size": None}


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Tells that an optimizer step is done."""

    def __init__(self, step_done: StepDone) -> None:
        self._step_done = step_done

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step_done()


def training_arguments(
    config: ExperimentConfig, accumulation_steps: int, learning_rate: float, device: torch.device, folder: str
) -> TrainingArguments:
    """Translate the configuration into the Trainer's own arguments.

    Raises:
        ConfigError: The Trainer refuses a value, `optim` for one.
    """
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
            bf16=config.bf16,
            fp16=config.fp16,
            use_cpu=device.type == "cpu",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"The Trainer refuses these options: {' '.join(str(error).split())[:300]}",
            why=f"transformers {transformers.__version__} checks them before it trains.",
            fix="see the message above; --optim, --bf16, --fp16 and --device are passed on as they are",
        ) from None
    if args.n_gpu > 1:
        # One process on several GPUs would be wrapped in DataParallel, which is another experiment.
        args._n_gpu = 1
    return args


class PassRunner:
    """Runs passes on one model, each from the same weights.

    Args:
        config: The experiment.
        learning_rate: Of every pass.
        model: On its device, at its initial weights.
        rows: What the passes train on and are tested on.
        collator: Pads rows to batches.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        learning_rate: float,
        model: Any,
        rows: Rows,
        collator: Collator,
        oracle: Oracle,
        making: Making | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
    ) -> None:
        self._config = config
        self._learning_rate = learning_rate
        self._model = model
        self._rows = rows
        self._collator = collator
        self._oracle = oracle
        self._device = next(model.parameters()).device
        self._making = making or Making()
        self._compute_loss_func = compute_loss_func
        self._snapshot = Snapshot(model)

    def make_trainer(self, spec: PassSpec, folder: str, train_dataset: Dataset | None = None) -> Trainer:
        """Build an untouched Trainer."""
        config = self._config
        if spec.tail:
            # One row a micro-batch: releases that take the number of rows for that of micro-batches agree on it.
            config = config.model_copy(update={"max_steps": TAIL_STEPS, **TAIL_BATCH})
        args = training_arguments(config, spec.accumulation_steps, self._learning_rate, self._device, folder)
        own_loss = {} if self._compute_loss_func is None else {"compute_loss_func": self._compute_loss_func}
        trainer = self._making.make(
            model=self._model,
            args=args,
            train_dataset=self._rows.train if train_dataset is None else train_dataset,
            data_collator=self._collator,
            **own_loss,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _tail(self, spec: PassSpec, oracle: OracleRecord) -> Dataset | None:
        """Return the rows of an epoch that is one micro-batch short of a step; among rows that the oracle knows."""
        if not spec.tail:
            return None
        known = {row.fingerprint for row in oracle.rows}
        chosen = [
            number
            for number, row in enumerate(self._rows.train)
            if row_fingerprint(row["input_ids"], row["labels"]) in known
        ]
        return self._rows.train.select(chosen[: spec.accumulation_steps - 1])

    def rehearse(self, measure: Callable[[Trainer, list[Batch]], Any]) -> Any:
        """Hand `measure` a Trainer that does not train, and the first batches that it would feed."""
        spec = PassSpec(self._config.gradient_accumulation_steps[0], self._config.loss_kwargs[0])
        most = max(self._config.rows_per_step(k) for k in self._config.gradient_accumulation_steps)
        with _scratch() as folder:
            try:
                trainer = self.make_trainer(spec, folder)
                batches: list[Batch] = []
                for batch in trainer.get_train_dataloader():
                    batches.append(batch)
                    if sum(len(b["labels"]) for b in batches) >= most:
                        break
                return measure(trainer, batches)
            finally:
                self._snapshot.restore()

    def measure_oracle(self) -> OracleRecord:
        """Compute the right answer for the rows that the Trainer feeds first."""
        config = self._config
        order = {row_fingerprint(row["input_ids"], row["labels"]): row for row in self._rows.train}

        def measure(trainer: Trainer, batches: list[Batch]) -> OracleRecord:
            rows = [order[fingerprint] for batch in batches for fingerprint in batch_fingerprints(batch)]
            steps = config.gradient_accumulation_steps
            micro_batch_sizes = [config.micro_batch_size(k) for k in steps]
            step_sizes = [config.rows_per_step(k) for k in steps]
            return self._oracle.measure(rows, micro_batch_sizes, step_sizes, trainer)

        record: OracleRecord = self.rehearse(measure)
        return record

    def run(self, spec: PassSpec, oracle: OracleRecord, step_done: StepDone) -> PassRecord:
        """Train once; an error is part of the outcome."""
        started = time.perf_counter()
        facts: dict[str, Any] = {
            "id": spec.id,
            "accumulation_steps": spec.accumulation_steps,
            "loss_kwargs": spec.loss_kwargs,
            "tail": spec.tail,
        }
        probe = None
        with _scratch() as folder:
            try:
                trainer = self.make_trainer(spec, folder, self._tail(spec, oracle))
                facts["auto_loss_kwargs"] = Flag.of(trainer.model_accepts_loss_kwargs)
                trainer.model_accepts_loss_kwargs = spec.loss_kwargs.is_on
                trainer.add_callback(_Progress(step_done))
                keep = self._config.gradients and not spec.tail
                observed_steps = TAIL_STEPS if spec.tail else 1
                probe = Probe(trainer, shifts=oracle.shifts, observed_steps=observed_steps, keep_gradients=keep)
                trainer.train()
                if probe.trouble:
                    raise probe.trouble[0]
                facts |= {"status": "ok", "steps": tuple(probe.steps)}
                facts |= self._after_training(facts, oracle, probe, trainer)
            except Exception as error:  # whatever a model or a Trainer raises is what this pass came to
                facts |= {"status": "failed", "error": _describe(error)}
            finally:
                self._snapshot.restore()
        if probe is not None:
            facts["steps"] = tuple(probe.steps)
        return PassRecord(**facts, seconds=time.perf_counter() - started)

    def _after_training(
        self, facts: dict[str, Any], oracle: OracleRecord, probe: Probe, trainer: Trainer
    ) -> dict[str, Any]:
        """Measure what training left. What cannot be, for want of memory say, is None; training went well."""
        self._snapshot.remove_traces()
        extra: dict[str, Any] = {}
        with suppress(Exception):
            extra["heldout_loss_nats"] = self._oracle.mean_nats(list(self._rows.heldout), shifts=oracle.shifts)
        with suppress(Exception):
            extra["gradient"] = self._compare_gradients(PassRecord(**facts), oracle, probe, trainer)
        return extra

    def _compare_gradients(
        self, record: PassRecord, oracle: OracleRecord, probe: Probe, trainer: Trainer
    ) -> GradientEvidence | None:
        """Compare at the weights at which the first step's gradient was taken: the initial ones."""
        if not probe.first_gradients:
            return None
        self._snapshot.restore()
        batches = [{name: t.to(self._device) for name, t in batch.items()} for batch in probe.first_batches]
        return compare_gradients(record, oracle, batches, probe.first_gradients, trainer, self._oracle.precision)


def _describe(error: Exception) -> PassError:
    # A record is UTF-8; an error may quote a path that is not.
    message = " ".join(str(error).split())[:500].encode("utf-8", "backslashreplace").decode()
    return PassError(
        kind=type(error).__name__,
        message=message,
        rejects_num_items_in_batch=isinstance(error, TypeError) and "num_items_in_batch" in message,
    )


def _scratch() -> AbstractContextManager[str]:
    """Return a folder for what the Trainer insists on writing."""
    return tempfile.TemporaryDirectory(prefix="gacheck-")
