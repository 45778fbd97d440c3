"""Which record a command line names: a run's folder, its file, or the newest there is."""

from __future__ import annotations

import difflib
from pathlib import Path

from gacheck.commands.folders import RUNS
from gacheck.commands.output import write_err
from gacheck.errors import RecordError
from gacheck.record.journal import RECORD_NAME
from gacheck.record.kinds import AnyRecord
from gacheck.words.notes import integrity_note


def find_record(run: Path | None, command: str = "gacheck report ") -> Path:
    """Return the record's file: the one that is named, or the newest.

    Args:
        run: A folder or a file; None for the newest.
        command: What stands before it where it can be copied from an error.

    Raises:
        RecordError: No run is named and there is none, or the name is none that a file can have.
    """
    try:
        if run is not None:
            return _named(run, command)
        # The path breaks ties, so that the same folders give the same choice.
        found = [(path.stat().st_mtime_ns, path) for path in RUNS.glob(f"*/{RECORD_NAME}")]
    except OSError as error:
        raise RecordError(
            f"{run or RUNS} cannot be read: {error.strerror}.",
            why="There is no record.",
            fix="name a run's folder or its record.json",
        ) from None
    if not found:
        raise RecordError(
            f"There is no run under {RUNS}/.",
            why="Without a name the newest run there is shown.",
            fix="name a run's folder or its record.json, or measure one with  gacheck run",
        )
    return max(found)[1]


def _named(run: Path, command: str) -> Path:
    """Return the record's file in a folder, or the file that is named itself."""
    path = run / RECORD_NAME if run.is_dir() else run
    if path.is_file():
        return path
    if path.exists():
        raise RecordError(
            f"{path} is no file.",
            why="A pipe or a device may never come to an end.",
            fix="name a run's folder or its record.json",
        )
    inner = sorted(each.parent for each in (run if run.is_dir() else RUNS).glob(f"*/{RECORD_NAME}"))
    names = {each.name: each for each in inner}
    close = [names[name] for name in difflib.get_close_matches(run.name, names, n=1)]
    example = next(iter(close or inner[-1:]), None)
    raise RecordError(
        f"{run} holds no {RECORD_NAME}." if run.is_dir() else f"There is no run {run}.",
        why="What a run measured is in that file, in the run's folder.",
        fix=f"did you mean  {command}{example}?" if example else "measure one with  gacheck run",
    )


def say_if_edited(path: Path, record: AnyRecord) -> None:
    """Say on stderr that a record is not as it was written: a picture, say, has no place for it."""
    note = integrity_note(record)
    if note is not None:
        write_err(f"gacheck: {path}: {note}\n")
