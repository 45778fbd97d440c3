"""Where results go: a folder of their own, and never over earlier ones unless that is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from gacheck.errors import ConfigError
from gacheck.record.journal import RECORD_NAME
from gacheck.record.writing import remove_left_over

RUNS = Path("gacheck-runs")
PICTURE_NAME = "loss.png"
LOCK, HOLDER = ".lock", ".lock-holder"


def holds_record(folder: Path) -> bool:
    """Whether an earlier result lies there."""
    try:
        return (folder / RECORD_NAME).exists()
    except (OSError, ValueError):
        return False  # a name that no folder can have: making it will fail


def check_free(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds a record, unless it may be replaced.

    Raises:
        ConfigError: It does.
    """
    if holds_record(folder) and not force:
        raise ConfigError(
            f"{folder} holds a record already.",
            why="It would be overwritten.",
            fix="choose another --out, or add --force to replace it",
        )


def make_folder(folder: Path) -> Path:
    """Make the folder and return it.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        writable = False
    if not writable:
        raise ConfigError(
            f"The folder {folder} cannot be written.",
            why="The record is saved there.",
            fix="choose another with --out",
        )
    return folder


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Within the block, let no other process write in the folder; remove what one that was killed has left.

    Raises:
        ConfigError: Another is writing there.
    """
    lock, holder = FileLock(folder / LOCK), folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _in_use(folder) from None
    except (NotImplementedError, OSError):
        yield  # a file system without locks
        return
    try:
        remove_left_over(folder)
        holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        remove_lock(folder)
        lock.release()


def remove_lock(folder: Path) -> None:
    """Remove what says that somebody writes in a folder, who is about to end."""
    for path in (folder / HOLDER, folder / LOCK):
        with suppress(OSError):
            path.unlink()


def _in_use(folder: Path) -> ConfigError:
    try:
        process = (folder / HOLDER).read_text(encoding="utf-8")
    except OSError:
        process = "?"
    return ConfigError(
        f"Another gacheck, process {process}, is writing in {folder}.",
        why="One would replace what the other has measured.",
        fix="wait until it has ended, or choose another --out",
    )


def new_folder(model: str) -> Path:
    """Name a folder after the model and the minute; a second run in the same minute gets a number."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.removeprefix("tiny:").rstrip("/").rsplit("/", 1)[-1]).strip("-.")
    stem = f"{name[:60] or 'model'}-{datetime.now():%m%d-%H%M}"
    candidates = (RUNS / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    return next(folder for folder in candidates if not folder.exists())
