"""How the classes of one release are judged: here, or by the same command under another release's interpreter."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gacheck.commands.measuring import loading
from gacheck.commands.output import write_err
from gacheck.commands.survey_progress import SurveyProgress
from gacheck.errors import GacheckError, ResourceError
from gacheck.record.journal import load_survey
from gacheck.record.survey import SurveyItem, SurveyRecord
from gacheck.releases.environments import python_of
from gacheck.reporters.command import shell_line
from gacheck.words.survey import judge_row

GIB = 1 << 30
ABSENT_OK = "--absent-ok"


@dataclass(frozen=True)
class Asked:
    """Which classes are to be judged, and what each may take.

    Attributes:
        names: Types, classes and patterns.
        task: Of this task alone.
        every_head: All classes that take labels.
        jobs: Classes that are judged beside each other.
        time_limit: Seconds for each.
        memory_limit: GiB for each.
        absent_ok: Whether a name that the release lacks is a row, and not an error.
    """

    names: tuple[str, ...]
    task: str | None
    every_head: bool
    jobs: int
    time_limit: float
    memory_limit: float
    absent_ok: bool = False

    @property
    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return int(self.memory_limit * GIB)

    def words(self) -> list[str]:
        """Return the options as they are typed."""
        options = [*(["--task", self.task] if self.task else []), *(["--all"] if self.every_head else [])]
        limits = ["--time-limit", f"{self.time_limit:g}", "--memory-limit", f"{self.memory_limit:g}"]
        return [*self.names, *options, "--jobs", str(self.jobs), *limits]


def items_here(asked: Asked) -> list[SurveyItem]:
    """List what the release that is installed has of what is asked.

    Raises:
        GacheckError: A name or a task is none.
    """
    with loading():
        from gacheck.measure.isolation.processes import load_ahead
        from gacheck.measure.survey.catalogue import find_items
        from gacheck.measure.survey.pool import WORKER

    load_ahead(WORKER)
    return find_items(asked.names, asked.task, every_head=asked.every_head, absent_ok=asked.absent_ok)


def judge_here(
    record: SurveyRecord, asked: Asked, progress: SurveyProgress, save: Callable[[SurveyRecord], object]
) -> SurveyRecord:
    """Judge what a record of the installed release lacks; save after every row."""
    from gacheck.measure.survey.pool import Limits, judge_all

    progress.items(len(record.missing), already=len(record.rows))
    limits = Limits(asked.time_limit, asked.memory_bytes, asked.jobs)
    for row in judge_all(record.missing, limits, progress.started):
        record = record.model_copy(update={"rows": (*record.rows, row)})
        save(record)
        progress.done(judge_row(row))
    return record


def judge_elsewhere(release: str, asked: Asked, folder: Path, *, quiet: bool) -> SurveyRecord:
    """Let the same command judge under another release; what it has judged already in its folder is kept.

    Raises:
        GacheckError: The release cannot be had, or the command failed; it has said why itself.
    """
    python = python_of(release, lambda text: None if quiet else write_err(f"{text}\n"))
    # It begins where there is nothing to resume. A name that this release lacks is one that another has.
    options = ["--out", str(folder), "--resume", ABSENT_OK, *(["--quiet"] if quiet else [])]
    command = [str(python), "-m", "gacheck", "survey", *asked.words(), *options]
    if not quiet:
        write_err(f"transformers {release}:\n")
    # The table is printed once, of all releases together.
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise _failed(release, command, done.returncode)
    return load_survey(folder)


def _failed(release: str, command: list[str], code: int) -> GacheckError:
    return ResourceError(
        f"The survey under transformers {release} ended with exit code {code}.",
        why="What it said stands above.",
        fix=f"see what it says by itself:  {shell_line(command)}",
    )
