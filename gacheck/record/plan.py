"""Which passes a run consists of."""

from __future__ import annotations

from dataclasses import dataclass

from gacheck.config import ExperimentConfig
from gacheck.rules.facts import Flag


@dataclass(frozen=True)
class PassSpec:
    """One pass of the plan."""

    accumulation_steps: int
    loss_kwargs: Flag
    tail: bool = False
    """Of the tail of an epoch alone: one step with fewer than k micro-batches."""

    @property
    def id(self) -> str:
        """The pass's name in the record."""
        return f"k{self.accumulation_steps}-{self.loss_kwargs}{'-tail' if self.tail else ''}"


def plan(config: ExperimentConfig) -> tuple[PassSpec, ...]:
    """List the passes in the order in which they run: k by k, so that a broken run still compares on with off."""
    passes = [PassSpec(k, flag) for k in config.gradient_accumulation_steps for flag in config.loss_kwargs]
    if config.short_last_step:
        passes += [PassSpec(max(config.gradient_accumulation_steps), flag, tail=True) for flag in config.loss_kwargs]
    return tuple(passes)
