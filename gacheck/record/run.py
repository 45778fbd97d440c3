"""The record: raw facts of a run, schema v1. `journal.py` keeps it on disk.

Verdicts are never stored: `core/analysis.py` derives them, so that a better rule table can re-read an old run.
Losses are in nats, full precision. Non-finite floats are stored as the strings "NaN", "Infinity" and
"-Infinity", which JSON has no number for. `None` means "not measured", never "not finite".
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from gacheck.config import ExperimentConfig
from gacheck.record.environment import Environment
from gacheck.rules.facts import CodeLocation, Flag, StepRecord

SCHEMA_VERSION = 1


class Raw(BaseModel):
    """Base of all raw records: frozen; unknown keys are refused, since they would be lost on the next save."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ModelFacts(Raw):
    """What was loaded."""

    name: str
    """As given on the command line."""
    class_name: str
    model_type: str
    num_parameters: int
    stand_in: bool
    random_weights: bool
    adapter: str | None = None
    """The class of the adapter around it; None without."""
    own_tokenizer: bool = True
    """False where a tokenizer had to be trained on the spot."""
    accepts_loss_kwargs_declared: bool | None
    """The attribute `accepts_loss_kwargs` of the model; None where it has none."""
    forward_has_kwargs: bool
    """Whether the forward takes `**kwargs`, from which the Trainer infers the flag."""
    declaration_is_read: bool | None = None
    """Whether this Trainer follows `accepts_loss_kwargs` where a model has it: tried."""


class DataFacts(Raw):
    """Which rows were fed."""

    source: str
    num_rows: int
    num_heldout_rows: int
    min_length: int | None
    """Of the shortest row, tokens; None if attached."""
    max_length: int | None
    fingerprint: str
    """SHA-256 over the fingerprints of all rows, in order."""


class HardwareFacts(Raw):
    """Where the passes ran."""

    device: str
    device_name: str
    dtype: str
    autocast: str | None
    world_size: int


class RowLoss(Raw):
    """The oracle's facts about one row, at the initial weights."""

    fingerprint: str
    sum_nats: float
    """Summed negative log-likelihood over the row's target tokens."""
    num_target_tokens: int
    num_label_tokens: int


class Noise(Raw):
    """Relative errors that correct arithmetic shows here; the tolerance is the largest of them."""

    resolution: float
    """Roundings of the dtype in which the loss comes out."""
    regrouping: float
    """The same rows, alone and in micro-batches."""
    repeat: float
    """The same forward twice."""
    plain_loss: float | None
    """The model's own loss against the oracle; None where the model's own loss is no plain cross-entropy."""
    own_loss: float | None = None
    """The loss that the Trainer's own code computes, from rows alone and in micro-batches; None if not measured."""
    gradient_norm: float | None
    """The right gradient's norm, from rows alone and in micro-batches; None where it was not measured."""
    cross_entropy: float | None = None
    """An attached training: what rounding to the precisions of its logits and of its loss changes about S."""


class OracleRecord(Raw):
    """The right answer, computed outside the Trainer at the initial weights.

    Of an attached training there are no rows: its right answer comes from the logits of its own forwards.
    """

    rows: tuple[RowLoss, ...]
    """In the order in which the Trainer feeds them; as many as the largest first optimizer step."""
    shifts: bool
    """Whether the model scores label t+1 at position t."""
    shift_errors: tuple[float, float] | None
    """Relative error of the model's own loss against (shifted, unshifted) cross-entropy; None if attached."""
    noise: Noise
    gradient_norms: dict[int, float]
    """Rows in the first step -> norm of the right gradient over them."""
    plain_loss_nats: float | None
    """The model's own loss on one micro-batch, without `num_items_in_batch`."""
    counted_loss_nats: float | None
    """The same with `num_items_in_batch` set to twice the target tokens: half as large if the model uses it."""
    counted_loss_error: str | None
    """What the model said when it was handed `num_items_in_batch`, if it refused."""
    loss_location: tuple[CodeLocation, ...]
    """From the line in the model that asked for its loss to the line that computed it; empty if not seen."""


class GradientEvidence(Raw):
    """The gradient of the first optimizer step, before clipping, against the gradient of the rule that its losses fit.

    The latter is computed outside the Trainer, from the same micro-batches.
    """

    rule: str
    norm_ratio: float
    """Norm of the training's gradient over the norm of the rule's."""
    cosine: float
    worst_parameter: str
    """Where the two differ most."""
    worst_relative_error: float
    """Norm of the difference there over the norm of the rule's gradient there."""


class PassError(Raw):
    """Why a pass failed."""

    kind: str
    """The exception's class name."""
    message: str
    rejects_num_items_in_batch: bool
    """The model's forward refused the argument `num_items_in_batch`."""


class PassRecord(Raw):
    """One short training at one (k, flag)."""

    id: str
    accumulation_steps: int
    loss_kwargs: Flag
    status: Literal["ok", "failed"]
    tail: bool = False
    """Of the tail of an epoch alone."""
    error: PassError | None = None
    auto_loss_kwargs: bool | None = None
    """The flag that the Trainer chose itself, before it was set."""
    steps: tuple[StepRecord, ...] = ()
    gradient: GradientEvidence | None = None
    """None where no rule fits the losses, or gradients were not compared."""
    heldout_loss_nats: float | None = None
    """Token-weighted mean over the held-out rows after the pass, from the oracle."""
    seconds: float = 0.0


class Attached(Raw):
    """A training that was watched while it ran as its user has it."""

    average_tokens_across_devices: bool | None
    """The Trainer's argument; None where it has none."""
    chosen_loss_kwargs: bool | None
    """The flag that the Trainer chose when it was made; None where that was not seen."""
    num_steps: int
    """Optimizer steps that were to be observed."""
    num_processes_seen: int
    unseen: tuple[str, ...]
    """What could not be seen, and why."""


class RunRecord(Raw):
    """A run: all its passes, and what is needed to read them."""

    kind: Literal["run", "attach"] = "run"
    schema_version: int = SCHEMA_VERSION
    created_at: str
    """Local time, ISO 8601."""
    command: tuple[str, ...]
    config: ExperimentConfig
    learning_rate: float
    environment: Environment
    hardware: HardwareFacts
    model: ModelFacts
    data: DataFacts
    oracle: OracleRecord
    passes: tuple[PassRecord, ...] = ()
    tail_passes: tuple[PassRecord, ...] = ()
    """Passes of one step with fewer than k micro-batches; empty unless asked for."""
    attached: Attached | None = None
    """Of a training that was attached to; its one pass is what was observed of it."""

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all passes."""
        return sum(len(p.steps) for p in (*self.passes, *self.tail_passes))

    @property
    def complete(self) -> bool:
        """Whether every planned pass is recorded."""
        num_flags = len(self.config.loss_kwargs)
        num_tails = num_flags if self.config.short_last_step else 0
        planned = len(self.config.gradient_accumulation_steps) * num_flags
        return len(self.passes) == planned and len(self.tail_passes) == num_tails
