"""Progress on stderr: a live bar on a terminal, a plain line a pass elsewhere, nothing where quiet is asked for."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from gacheck.commands.output import write_err
from gacheck.record.parts import PassRecord
from gacheck.record.plan import PassSpec
from gacheck.reporters.text import ascii_only, figure


class LiveProgress:
    """Counts what is done towards a total, below what is going on.

    Args:
        unit: What is counted, in the plural.
        quiet: Whether to say nothing at all.

    Attributes:
        is_live: Whether a bar is drawn.
    """

    def __init__(self, unit: str, *, quiet: bool) -> None:
        # Rich itself would take FORCE_COLOR for a terminal, and fill a log with what is to be drawn over.
        is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.is_live = is_terminal and not quiet
        self._quiet = quiet
        self._progress = _Below(
            self.above,
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            # What is printed beside the bar is moved above it; a pipe is to have it as it is.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            disable=not self.is_live,
        )
        self._task: TaskID = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        # Before rich 14.3 a disabled bar left an empty line behind.
        if not self._progress.disable:
            self._progress.stop()

    def above(self) -> RenderableType:
        """Return what stands above the bar."""
        return Group()

    def stage(self, text: str) -> None:
        """Say on the bar what is going on."""
        self._progress.update(self._task, description=text)

    def total(self, count: int) -> None:
        """Announce how much is to come."""
        self._progress.reset(self._task, total=count)

    def advance(self) -> None:
        """Count one."""
        self._progress.advance(self._task)

    def line(self, text: str) -> None:
        """Say in a line of its own what is done, where there is no bar."""
        if not (self.is_live or self._quiet):
            write_err(f"{ascii_only(text)}\n")


class _Below(Progress):
    """Bars below something that changes."""

    def __init__(self, above: Callable[[], RenderableType], *columns: ProgressColumn, **options: Any) -> None:
        self._above = above
        super().__init__(*columns, **options)

    def get_renderable(self) -> RenderableType:
        """Return all that is drawn."""
        return Group(self._above(), super().get_renderable())


class RunProgress(LiveProgress):
    """The progress of a run: a bar over the optimizer steps of all passes, or a line when a pass is done."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__("steps", quiet=quiet)
        self._num_passes = 0
        self._num_started = 0

    def passes(self, num_passes: int, num_steps: int) -> None:
        """Announce the passes to come."""
        self._num_passes = num_passes
        self.total(num_passes * num_steps)

    def watch(self, spec: PassSpec, run_pass: Callable[[], PassRecord]) -> PassRecord:
        """Run a pass under its name."""
        self._num_started += 1
        name = f"pass {self._num_started}/{self._num_passes}  k={spec.accumulation_steps} flag {spec.loss_kwargs}"
        self.stage(name)
        started = time.perf_counter()
        record = run_pass()
        self.line(f"{name}  {_outcome(record)}, {time.perf_counter() - started:.1f} s")
        return record


def _outcome(record: PassRecord) -> str:
    if record.status == "failed" or not record.steps:
        return record.status
    micro_batches = record.steps[0].micro_batches
    reported = math.fsum(m.reported_loss_nats for m in micro_batches) / len({m.process for m in micro_batches})
    return f"first-step loss {figure(reported)}"
