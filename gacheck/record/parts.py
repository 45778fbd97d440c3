"""What records of several kinds are made of: facts about model, machine, right answer and passes.

Losses are in nats, full precision. Non-finite floats are stored as the strings "NaN", "Infinity" and
"-Infinity", which JSON has no number for. `None` means "not measured", never "not finite".
"""

from __future__ import annotations

from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator

from gacheck.record.checksum import Integrity
from gacheck.record.environment import Environment
from gacheck.record.invariants import AtLeastOne, Count, NotNegative, check_pass, check_passes
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import (
    CodeLocation,
    EvaluationFacts,
    Flag,
    Overrides,
    OwnLossFacts,
    StepRecord,
    WatchedTraining,
)
from gacheck.rules.task import CAUSAL_LM

SCHEMA_VERSION = 2


class Raw(BaseModel):
    """Base of all raw records: frozen; unknown keys are refused, since they would be lost on the next save."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ModelFacts(Raw):
    """What was loaded."""

    name: str
    """As given on the command line."""
    class_name: str
    model_type: str
    task: str = CAUSAL_LM.name
    num_parameters: Count
    stand_in: bool
    random_weights: bool | None = None
    """None if attached: a training does not say where its weights come from."""
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
    loss_type: str | None = None
    """The model's attribute `loss_type`, by which the Trainer knows whether its loss shifts the labels."""
    has_loss_type: bool | None = None
    """Whether the model has that attribute; None where that was not told."""
    built_by_auto_class: bool | None = None
    """Whether transformers' auto classes for language models make this class of its type; None where unknown."""


class HardwareFacts(Raw):
    """Where the passes ran."""

    device: str
    device_name: str
    dtype: str
    autocast: str | None
    world_size: AtLeastOne
    average_tokens_across_devices: bool | None = None
    """The Trainer's argument, in a run; None in one process, and where a release has no such argument."""


class RowLoss(Raw):
    """The oracle's facts about one row, at the initial weights."""

    fingerprint: str
    sum_nats: float
    """Summed negative log-likelihood over the row's target tokens."""
    num_target_tokens: Count
    num_label_tokens: Count


class Noise(Raw):
    """Relative errors that correct arithmetic shows here; the tolerance is the largest of them."""

    resolution: NotNegative
    """Roundings of the dtype in which the loss comes out."""
    regrouping: NotNegative | None = None
    """The same rows, alone and in micro-batches; None if attached."""
    repeat: NotNegative | None = None
    """The same forward twice; of an attached training the loss of its first micro-batch."""
    plain_loss: NotNegative | None = None
    """The model's own loss against the oracle; None where the model's own loss is no plain cross-entropy."""
    own_loss: NotNegative | None = None
    """The loss that the Trainer's own code computes, from rows alone and in micro-batches; None if not measured."""
    gradient_norm: NotNegative | None = None
    """The right gradient's norm, from rows alone and in micro-batches; None where it was not measured."""
    cross_entropy: NotNegative | None = None
    """What rounding in float32, and of an attached training to the precision of its logits, changes about S."""


class OracleRecord(Raw):
    """The right answer, computed outside the Trainer at the initial weights.

    Of an attached training there are no rows: its right answer comes from the logits of its own forwards.
    """

    rows: tuple[RowLoss, ...] = ()
    """In the order in which the Trainer feeds them; as many as the largest first optimizer step."""
    shifts: bool
    """Whether the model scores label t+1 at position t."""
    shift_errors: tuple[float, float] | None = None
    """Relative error of the model's own loss against (shifted, unshifted) cross-entropy; None if attached."""
    noise: Noise
    gradient_norms: dict[int, float] = {}
    """Rows in the first step -> norm of the right gradient over them."""
    plain_loss_nats: float | None = None
    """The model's own loss on one micro-batch, without `num_items_in_batch`."""
    counted_loss_nats: float | None = None
    """The same with `num_items_in_batch` set to twice the target tokens: half as large if the model uses it."""
    counted_loss_error: str | None = None
    """What the model said when it was handed `num_items_in_batch`, if it refused."""
    loss_location: tuple[CodeLocation, ...] = ()
    """From the line in the model that asked for its loss to the line that computed it; empty if not seen."""
    model_shifts: bool | None = None
    """Whether the model's own loss shifts the labels; None where that was not told."""
    labels_are_inputs: bool | None = None
    """The labels are the inputs of the same positions, so that a loss that does not shift teaches copying."""
    hooked_parameters: tuple[str, ...] = ()
    """Parameters whose gradients a hook can change, on them or on their module."""
    added_up_parameters: tuple[str, ...] = ()
    """Those whose gradient a hook of transformers adds up over the processes, which have a part each."""
    overrides: Overrides | None = None
    """What the training's own code puts in the place of transformers' own; None where that was not read."""
    evaluation: EvaluationFacts | None = None
    """What `eval_loss` makes of the size of its batches; None where that was not asked."""

    @classmethod
    def of_watched(cls, training: WatchedTraining) -> OracleRecord:
        """Return what is known beside the steps of a training that was watched: no rows."""
        return cls(
            shifts=training.shifts,
            noise=Noise(resolution=training.resolution, repeat=training.repeat_error),
            loss_location=training.loss_location,
            model_shifts=training.model_shifts,
            labels_are_inputs=training.labels_are_inputs,
            hooked_parameters=training.hooked_parameters,
            added_up_parameters=training.added_up_parameters,
            overrides=training.overrides,
            evaluation=training.evaluation,
        )


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
    accumulation_steps: AtLeastOne
    loss_kwargs: Flag
    status: Literal["ok", "failed"]
    tail: bool = False
    """Of the tail of an epoch alone."""
    error: PassError | None = None
    auto_loss_kwargs: Flag | None = None
    """The flag that the Trainer chose itself, before it was set."""
    steps: tuple[StepRecord, ...] = ()
    own_loss: OwnLossFacts = OwnLossFacts()
    unseen: tuple[str, ...] = ()
    """What could not be measured, and why."""
    heldout_loss_nats: float | None = None
    """Token-weighted mean over the held-out rows after the pass, from the oracle."""
    seconds: NotNegative = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_pass(self, PassSpec(self.accumulation_steps, self.loss_kwargs, self.tail).id)
        return self


class Planned(Protocol):
    """Something that a record is to hold."""

    @property
    def id(self) -> str:
        """Its name in the record."""


class Record(Raw):
    """A record of any kind."""

    kind: str
    schema_version: int = SCHEMA_VERSION
    created_at: str
    """Local time, ISO 8601."""
    command: tuple[str, ...]
    """What repeats it: a command, word by word, or a line of code where no command made it."""
    environment: Environment
    _integrity: Integrity = PrivateAttr(Integrity.WHOLE)

    @property
    def integrity(self) -> Integrity:
        """Whether the file that it was read from is as it was written; it is no part of the record."""
        return self._integrity

    def mark(self, integrity: Integrity) -> None:
        """Note what was found when it was read."""
        self._integrity = integrity

    @property
    def planned(self) -> tuple[Planned, ...]:
        """What it is to hold, in the order in which it is measured."""
        raise NotImplementedError

    @property
    def recorded(self) -> frozenset[str]:
        """The ids of what it holds."""
        raise NotImplementedError

    @property
    def missing(self) -> tuple[Planned, ...]:
        """What was planned and is not recorded."""
        return tuple(each for each in self.planned if each.id not in self.recorded)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


class TrainingRecord(Record):
    """Passes of one model: a run's, or the one that was attached to."""

    hardware: HardwareFacts
    model: ModelFacts
    oracle: OracleRecord
    passes: tuple[PassRecord, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_passes(self, self._allowed)
        return self

    @property
    def _allowed(self) -> tuple[str, ...]:
        """The ids of the passes that it may hold."""
        return tuple(spec.id for spec in self.planned)

    @property
    def planned(self) -> tuple[PassSpec, ...]:
        """The passes that it is to hold."""
        raise NotImplementedError

    @property
    def missing(self) -> tuple[PassSpec, ...]:
        """The passes that were planned and are not recorded."""
        return tuple(spec for spec in self.planned if spec.id not in self.recorded)

    @property
    def all_passes(self) -> tuple[PassRecord, ...]:
        """The recorded passes, tails of an epoch included."""
        return self.passes

    @property
    def recorded(self) -> frozenset[str]:
        """The ids of the recorded passes."""
        return frozenset(p.id for p in self.all_passes)

    @property
    def accumulation_steps(self) -> tuple[int, ...]:
        """Every k of the plan."""
        return tuple(dict.fromkeys(spec.accumulation_steps for spec in self.planned))

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Every value of the flag in the plan."""
        return tuple(dict.fromkeys(spec.loss_kwargs for spec in self.planned))

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all passes."""
        return sum(len(p.steps) for p in self.all_passes)
