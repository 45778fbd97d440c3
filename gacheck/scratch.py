"""Folders for what is needed while a command runs: gone when it ends, also where it was killed, by the next."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "gacheck-"
LOCK = ".in-use"
"""Is locked as long as the process lives that made the folder: the system lets go of it, however that ends."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder that is removed after the block; remove those that killed processes have left."""
    _remove_left_over()
    folder, lock = _claim()
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _claim() -> tuple[Path, FileLock]:
    """Make a folder and lock it; another process may take it for a left-over one between the two."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        except (NotImplementedError, OSError):
            return folder, lock  # a file system without locks: the others leave it alone
        if folder.exists():
            return folder, lock


def _remove_left_over() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        # Another user's cannot be opened, one that is in use cannot be locked; another program's has no such file.
        with suppress(NotImplementedError, OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent, ignore_errors=True)
