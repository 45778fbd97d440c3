"""What is noted while a Trainer trains: raw facts, in the standard library's own terms.

They are part of the record. They are dataclasses, not pydantic models, since a watched training notes them in a
process that may have torch and nothing of gacheck's besides; `record.py` validates them when they come home.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

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
class Observation:
    """What the probe saw of one micro-batch besides the loss: only at observed steps."""

    __pydantic_config__ = _IN_RECORDS

    rows: tuple[str, ...]
    """Fingerprints, in order."""
    num_target_tokens: int
    num_label_tokens: int
    sum_nats: float | None
    """From the logits of the training's own forward; None where there were none."""
    own_mean_nats: float | None
    """What the same code returns for this micro-batch without `num_items_in_batch`; None where it was not asked."""
    weight: float | None
    """Weight that each target received in backward, from plain cross-entropy's gradient."""
    weight_spread: float | None
    """Largest relative deviation from `weight` within the micro-batch."""
    own_weight: float | None
    """The same against the gradient of `own_mean_nats`."""
    own_weight_spread: float | None
    backward_loss_nats: float | None = None
    """The loss whose gradient was taken: what `backward` was called on. None where that was not seen."""


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
    noise: float
    num_steps: int
    """Optimizer steps that were to be observed."""
    steps: tuple[StepRecord, ...]
    """As many as there were, of all processes."""
    loss_location: tuple[CodeLocation, ...]
    unseen: tuple[str, ...]
    """What could not be seen, and why."""
    seconds: float
    model_shifts: bool | None = None
    """Whether the model's own loss shifts the labels; None where that was not told."""
    labels_are_inputs: bool | None = None
    """The labels are the inputs of the same positions, so that a loss that does not shift teaches copying."""
