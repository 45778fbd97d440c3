"""The record of a training that was watched while it ran as its user has it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from gacheck.record.invariants import AtLeastOne, Count
from gacheck.record.parts import PassRecord, Raw, TrainingRecord
from gacheck.record.plan import PassSpec
from gacheck.rules.facts import Flag


class AttachedSetup(Raw):
    """What the Trainer was told, in its own words; None where it has no such argument, or that has no name."""

    gradient_accumulation_steps: AtLeastOne
    loss_kwargs: Flag
    """In force, whoever set it."""
    chosen_loss_kwargs: Flag | None
    """The flag that the Trainer chose when it was made; None where that was not seen."""
    trainer_class: str | None = None
    """package.module:Class"""
    compute_loss_func: str | None = None
    """package.module:function"""
    per_device_train_batch_size: Count | None = None
    average_tokens_across_devices: bool | None = None
    learning_rate: float | None = None
    optim: str | None = None
    max_grad_norm: float | None = None
    label_smoothing_factor: float | None = None
    seed: int | None = None


class AttachRecord(TrainingRecord):
    """An attached training: one pass, at its own k and flag, of the steps that were observed."""

    kind: Literal["attach"] = "attach"
    setup: AttachedSetup
    num_observed_steps: AtLeastOne
    """Optimizer steps that were to be observed."""
    num_processes_seen: Count
    unseen: tuple[str, ...]
    """What could not be seen, and why."""
    tried: tuple[PassRecord, ...] = ()
    """The first step that was wrong, done once more at the other value of the flag; nothing of it stayed."""

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if [p.loss_kwargs for p in self.passes] != [self.setup.loss_kwargs]:
            raise ValueError("an attached training has one pass, at its own flag")
        if any(p.loss_kwargs is self.setup.loss_kwargs for p in self.tried):
            raise ValueError("what was tried is at the flag of the training itself")
        return self

    @property
    def _allowed(self) -> tuple[str, ...]:
        """Its own pass and the one that may be tried."""
        k = self.setup.gradient_accumulation_steps
        return tuple(PassSpec(k, flag).id for flag in Flag)

    @property
    def planned(self) -> tuple[PassSpec, ...]:
        """Its one pass."""
        return (PassSpec(self.setup.gradient_accumulation_steps, self.setup.loss_kwargs),)

    @property
    def all_passes(self) -> tuple[PassRecord, ...]:
        """The training's own, and what was tried."""
        return (*self.passes, *self.tried)

    @property
    def num_steps(self) -> int:
        """Optimizer steps that the training did; what was tried is none of them."""
        return sum(len(p.steps) for p in self.passes)

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The value in force, and the one that was tried."""
        return tuple(dict.fromkeys(p.loss_kwargs for p in self.all_passes))
