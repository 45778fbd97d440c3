"""The record of a run: raw facts. `journal.py` keeps it on disk; verdicts are derived from it, never stored in it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from gacheck.config import ExperimentConfig
from gacheck.record.invariants import Count
from gacheck.record.parts import PassRecord, Raw, TrainingRecord
from gacheck.record.plan import PassSpec, plan
from gacheck.rules.facts import Flag


class DataFacts(Raw):
    """Which rows were fed."""

    source: str
    num_rows: Count
    num_heldout_rows: Count
    min_length: Count
    """Of the shortest row, tokens."""
    max_length: Count
    fingerprint: str
    """SHA-256 over the fingerprints of all rows, in order."""


class Fingerprints(Raw):
    """What a run is of, each as a SHA-256: `--resume` goes on only where all are the same."""

    weights: str
    """Names, shapes, types and bytes of the model's parameters and buffers, before the first pass."""
    config: str
    """The model's config, without what only says where it came from."""
    code: dict[str, str]
    """Of every module of the user's own that was loaded, its source file's."""


class RunRecord(TrainingRecord):
    """A run: all its passes, and what is needed to read them."""

    kind: Literal["run"] = "run"
    config: ExperimentConfig
    learning_rate: float
    data: DataFacts
    fingerprints: Fingerprints | None = None
    """None where nobody can go on with it: of a check in code, of a survey's row."""
    tail_passes: tuple[PassRecord, ...] = ()
    """Passes of one step with fewer than k micro-batches; empty unless asked for."""

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        misplaced = [p.id for p in self.passes if p.tail] + [p.id for p in self.tail_passes if not p.tail]
        if misplaced:
            raise ValueError(f"the pass {misplaced[0]} is in the wrong list")
        return self

    @property
    def _allowed(self) -> tuple[str, ...]:
        """The planned passes; a tail at whichever k of the plan."""
        tails = [PassSpec(k, flag, tail=True) for k in self.config.gradient_accumulation_steps for flag in Flag]
        return tuple(spec.id for spec in (*self.planned, *(tails if self.config.short_last_step else ())))

    @property
    def planned(self) -> tuple[PassSpec, ...]:
        """All passes that the options ask for."""
        return plan(self.config)

    @property
    def setup(self) -> ExperimentConfig:
        """The options."""
        return self.config

    @property
    def all_passes(self) -> tuple[PassRecord, ...]:
        """The recorded passes, tails of an epoch last."""
        return (*self.passes, *self.tail_passes)
