"""What is noted while a Trainer trains: raw facts, in the standard library's own terms.

They are part of the record. They are dataclasses, not pydantic models, since a watched training notes them in a
process that may have torch and nothing of gacheck's besides; `record.py` validates them when they come home.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

# What can change a number, or what a bug report is asked for first.
PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "peft",
    "trl",
    "llamafactory",
    "axolotl",
)


class Flag(str, Enum):
    """A value of the Trainer's `model_accepts_loss_kwargs`, the loss-kwargs flag."""

    ON = "on"
    OFF = "off"

    @classmethod
    def of(cls, value: bool) -> Flag:
        """Return the flag that the Trainer's attribute says."""
        return cls.ON if value else cls.OFF

    @property
    def is_on(self) -> bool:
        """What the Trainer's attribute is set to."""
        return self is Flag.ON

    @property
    def other(self) -> Flag:
        """The other value."""
        return Flag.OFF if self.is_on else Flag.ON

    def __str__(self) -> str:
        """Write it as options and records do."""
        return str(self.value)

    # Equal to its word, it has to hash as that.
    __hash__ = str.__hash__


Unit = Literal["tokens", "rows", "own count", "sum", "declared sum"]
"""What a loss is a mean over, or that it is a sum: divided by nothing, or declared to be one by the model's config.

A sum that is divided by what the training's own code counts is a mean over that.
"""

SUMS = ("sum", "declared sum")

# How pydantic is to read and write them as parts of a record: as its own models there.
_IN_RECORDS = {"extra": "forbid", "ser_json_inf_nan": "strings"}


@dataclass(frozen=True)
class CodeLocation:
    """A line of code, as a traceback would name it."""

    __pydantic_config__ = _IN_RECORDS

    file: str
    line: int
    function: str


@dataclass(frozen=True)
class GradientProducts:
    """A gradient held against those of the replays: inner products, from which the error of any rule follows.

    They are taken from linear sketches, a few hundred numbers a parameter (`watch/sketches.py`): what is equal up to
    a factor comes out exactly, the norm of a difference to some per cent.
    """

    __pydantic_config__ = _IN_RECORDS

    parameter: str | None
    """Of one parameter; None: of all of them."""
    square: float
    """Of the gradient with itself."""
    with_replays: tuple[float, ...]
    """Of the gradient with each replay's: first all of plain cross-entropy, then all of the training's own loss."""
    among_replays: tuple[float, ...]
    """Of the replays' with each other: the lower triangle, row by row."""
    noise: float
    """By how much rounding may change the gradient: a norm."""


@dataclass(frozen=True)
class Observation:
    """What the probe saw of one micro-batch besides the loss: only at observed steps."""

    __pydantic_config__ = _IN_RECORDS

    rows: tuple[str, ...]
    """Fingerprints, in order; none where they could not be made."""
    num_target_tokens: int
    """Labels that were scored; 0 where the training has none."""
    num_label_tokens: int
    sum_nats: float | None
    """From the logits of the training's own forward; None where there were none."""
    own_mean_nats: float | None
    """What the same code returns for this micro-batch by itself, at k = 1; None where it could not be asked."""
    weight: float | None
    """Weight that each target received in backward, from plain cross-entropy's gradient at the logits."""
    weight_spread: float | None
    """Largest relative deviation from `weight` within the micro-batch."""
    backward_loss_nats: float | None = None
    """The loss whose gradient was taken: what `backward` was called on. None where that was not seen."""
    num_rows: int = 0
    """0 where that was not told."""
    noise_nats: float = 0.0
    """By how much rounding may change the mean cross-entropy over the micro-batch."""
    own_noise_nats: float = 0.0
    """The same of `own_mean_nats`."""
    own_count: float | None = None
    """What somebody's own `get_batch_samples` counts in this micro-batch alone; None where the Trainer counts."""
    own_count_of_step: float | None = None
    """What it counts in the whole step as one micro-batch; None where that was not asked."""
    gradient: GradientProducts | None = None
    """By how much every parameter's gradient grew, held against this micro-batch's replay; None where unseen."""


@dataclass(frozen=True)
class MicroBatchRecord:
    """One forward/backward."""

    __pydantic_config__ = _IN_RECORDS

    reported_loss_nats: float
    """What `training_step` returned."""
    num_items_in_batch: float | None
    """The count that the Trainer passed, verbatim."""
    observation: Observation | None = None
    process: int = 0
    """The rank of the process that did it."""


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step."""

    __pydantic_config__ = _IN_RECORDS

    step: int
    micro_batches: tuple[MicroBatchRecord, ...]
    """Of all processes, one process after the other."""
    grad_norm: float | None
    """Before clipping."""
    gradients: tuple[GradientProducts, ...] = ()
    """Before clipping, held against the replays of all micro-batches: of all parameters, then of those that are
    furthest off; none where the step was not observed."""


@dataclass(frozen=True)
class Overrides:
    """What the training's own code puts in the place of transformers' own: read from the Trainer, not tried."""

    __pydantic_config__ = _IN_RECORDS

    training_step: str | None = None
    """package.module:Class.training_step, or :function where one was put in its place; None: transformers' own."""
    compute_loss: str | None = None
    """The same."""
    get_batch_samples: str | None = None
    """The same."""
    calls_own: tuple[str, ...] = ()
    """Of these three, those whose code goes on to call transformers' own."""
    drops_count: tuple[str, ...] = ()
    """Of the first two, those whose code never reads the `num_items_in_batch` that it is given."""
    loss_is_scaled_for_ga: bool | None = None
    """Its value; None too where the release has no such attribute."""
    loss_is_scaled_set_by: str | None = None
    """package.module:Class that sets it; None where the Trainer object has it, or nobody sets it."""
    compute_loss_func: str | None = None
    """package.module:function"""
    label_smoother: bool = False
    """Whether the Trainer's label smoother computes the loss."""
    counts_micro_batches: bool = False
    """Whether the release keeps `current_gradient_accumulation_steps`, the micro-batches of the present step."""


@dataclass(frozen=True)
class OwnLossFacts:
    """What was asked of the training's own loss, once a training; None where there was no need, or no answer."""

    __pydantic_config__ = _IN_RECORDS

    unit: Unit | None = None
    """What it is a mean over, or that it is a sum."""
    times_k: bool | None = None
    """Whether the code returns k times as much when it is asked with k as configured."""
    is_asked: bool | None = None
    """Whether the training's step asks `compute_loss`, so that its own loss is what that says."""
    repeats: bool | None = None
    """Whether a micro-batch that the training does twice gives the same loss and gradient; else repeating one proves
    nothing."""


@dataclass(frozen=True)
class EvaluationFacts:
    """The Trainer's `eval_loss` of the same rows at two batch sizes, at the same weights."""

    __pydantic_config__ = _IN_RECORDS

    num_rows: int
    together_nats: float
    """All in one batch."""
    alone_nats: float
    """Each in a batch of its own."""


@dataclass(frozen=True)
class WatchedTraining:
    """A training that was watched while it ran as its user has it, in that training's own process."""

    __pydantic_config__ = _IN_RECORDS

    python: str
    platform: str
    packages: dict[str, str]
    """Name → version, as installed where the training runs."""
    model_name: str
    model_class: str
    model_type: str
    num_parameters: int
    adapter: str | None
    accepts_loss_kwargs_declared: bool | None
    forward_has_kwargs: bool
    trainer_class: str
    """As package.module:Class."""
    compute_loss_func: str | None
    arguments: dict[str, Any]
    """Those of the Trainer that bear on the loss."""
    chosen_loss_kwargs: Flag | None
    """The flag that the Trainer chose when it was made; None where that was not seen."""
    loss_kwargs: Flag
    """The flag at the first step."""
    device: str
    device_name: str
    dtype: str
    autocast: str | None
    num_processes: int
    num_processes_seen: int
    shifts: bool
    resolution: float
    repeat_error: float | None
    """By how much the loss of the first micro-batch differs when the training does it twice, relative."""
    own_loss: OwnLossFacts
    num_steps: int
    """Optimizer steps that were to be observed."""
    steps: tuple[StepRecord, ...]
    """As many as there were, of all processes."""
    tried: StepRecord | None
    """The first step that was wrong, done once more at the other value of the flag; None where there was no need."""
    loss_location: tuple[CodeLocation, ...]
    unseen: tuple[str, ...]
    """What could not be seen, and why."""
    seconds: float
    tried_refused: str | None = None
    """What the model said when the other value of the flag handed it `num_items_in_batch`, if it refused that."""
    refused: str | None = None
    """What it said in the training itself, which thereby ended."""
    model_shifts: bool | None = None
    """Whether the model's own loss shifts the labels; None where that was not told."""
    labels_are_inputs: bool | None = None
    """The labels are the inputs of the same positions, so that a loss that does not shift teaches copying."""
    hooked_parameters: tuple[str, ...] = ()
    """Parameters whose gradients a hook can change, on them or on their module."""
    added_up_parameters: tuple[str, ...] = ()
    """Those whose gradient a hook of transformers adds up over the processes, which have a part each."""
    overrides: Overrides | None = None
    """None where that was not read."""
    loss_type: str | None = None
    """The model's attribute `loss_type`, by which the Trainer knows whether its loss shifts the labels."""
    has_loss_type: bool | None = None
    """Whether the model has that attribute; None where that was not told."""
    built_by_auto_class: bool | None = None
    """Whether transformers' auto classes for language models make this class of its type; None where unknown."""
    evaluation: EvaluationFacts | None = None
    """None where the training does not evaluate, or was not asked."""
