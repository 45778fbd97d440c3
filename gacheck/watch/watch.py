"""Watches the first optimizer steps of a training that somebody runs, then lets go of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gacheck.rules.facts import Flag, WatchedTraining
from gacheck.watch.description import describe_training
from gacheck.watch.probe import Probe
from gacheck.watch.world import World

Seen = Callable[[WatchedTraining, bool], None]


class Watch:
    """One Trainer under watch.

    Args:
        trainer: About to train.
        num_steps: How many of its first optimizer steps to observe.
        seen: Called after every observed step, before its update, with all facts so far and whether these are the
            last. In the process of rank 0 alone they hold the steps of all.
        chosen_loss_kwargs: The flag that the Trainer chose when it was made; None where that was not seen.

    Attributes:
        trouble: What kept the facts from being told.
    """

    def __init__(self, trainer: Any, *, num_steps: int, seen: Seen, chosen_loss_kwargs: Flag | None = None) -> None:
        self._trainer = trainer
        self._num_steps = num_steps
        self._seen = seen
        self._chosen = chosen_loss_kwargs
        self._world = World()
        self._started = time.perf_counter()
        self._is_over = False
        self.trouble: list[Exception] = []
        self._described: dict[str, Any] | None = None
        self._probe = Probe(
            trainer,
            shifts=None,
            observed_steps=num_steps,
            locate=True,
            exchange=self._world.exchange if self._world.size > 1 else None,
            step_done=self._step_done,
        )

    @property
    def rank(self) -> int:
        """Of this process; 0 speaks for all."""
        return self._world.rank

    def finish(self) -> None:
        """Let go of the Trainer, and tell what was seen if the training ended early."""
        if not self._is_over:
            self.let_go()
            self._tell(True)

    def let_go(self) -> None:
        self._is_over = True
        self._probe.stop()

    def _step_done(self) -> None:
        is_last = len(self._probe.steps) >= self._num_steps
        if is_last:
            self.let_go()
        self._tell(is_last)

    def _tell(self, is_last: bool) -> None:
        try:
            facts = self._facts()
        except Exception as error:  # the training goes on; nothing can be told of it
            self.trouble.append(error)
            return
        self._seen(facts, is_last)

    def _facts(self) -> WatchedTraining:
        probe, world = self._probe, self._world
        if self._described is None:
            self._described = describe_training(self._trainer)
        num_seen = len({m.process for step in probe.steps for m in step.micro_batches}) * probe.mesh.tensor_size
        unseen = list(probe.unseen)
        if num_seen < world.size and probe.steps:
            unseen.append(f"only {num_seen} of {world.size} processes answered, so the step's counts are not known")
        return WatchedTraining(
            **self._described,
            chosen_loss_kwargs=self._chosen,
            num_processes=world.size,
            num_processes_seen=num_seen,
            shifts=probe.shifts is not False,
            model_shifts=probe.model_shifts,
            labels_are_inputs=probe.labels_are_inputs,
            resolution=probe.resolution,
            repeat_error=probe.repeat_error,
            own_loss=probe.own_loss,
            num_steps=self._num_steps,
            steps=tuple(probe.steps),
            tried=probe.tried,
            tried_refused=probe.tried_refused,
            refused=probe.refused,
            loss_location=probe.location,
            evaluation=probe.evaluation,
            unseen=tuple(dict.fromkeys(unseen)),
            seconds=time.perf_counter() - self._started,
        )
