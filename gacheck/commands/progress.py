"""Live progress on stderr: passes, steps, time left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gacheck.record.parts import PassRecord
from gacheck.record.plan import PassSpec


class RunProgress:
    """A progress bar over the optimizer steps of all passes; silent where stderr is no terminal."""

    def __init__(self, *, quiet: bool) -> None:
        # Rich itself would take FORCE_COLOR for a terminal, and fill a log with what is to be drawn over.
        is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            disable=quiet or not is_terminal,
        )
        self._task: TaskID = self._progress.add_task("starting", total=None)
        self._num_passes = 0
        self._num_started = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Before rich 14.3 a disabled bar left an empty line behind.
        if not self._progress.disable:
            self._progress.stop()

    def stage(self, text: str) -> None:
        """Say what is going on."""
        self._progress.update(self._task, description=text)

    def passes(self, num_passes: int, num_steps: int) -> None:
        """Announce the passes to come."""
        self._num_passes = num_passes
        self._progress.reset(self._task, total=num_passes * num_steps)

    def watch(self, spec: PassSpec, run_pass: Callable[[], PassRecord]) -> PassRecord:
        """Run a pass under its name."""
        self._num_started += 1
        self.stage(f"pass {self._num_started}/{self._num_passes}  k={spec.accumulation_steps} flag {spec.loss_kwargs}")
        return run_pass()

    def step_done(self) -> None:
        """Count an optimizer step."""
        self._progress.advance(self._task)
