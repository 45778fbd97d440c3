"""Folders for what is needed while a command runs: gone when it ends, also where it was killed, by the next."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "gacheck-"
LOCK = ".in-use"
"""Is locked as long as the process lives that made the folder: the system lets go of it, however that ends."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder that is removed after the block; remove those that killed processes have left."""
    _remove_left_over(Path(tempfile.gettempdir()))
    with ExitStack() as stack:
        yield _claim(stack)


def _claim(stack: ExitStack) -> Path:
    """Make a folder and lock it, until the stack is closed; another may take it for a left-over one between the two."""
    while True:
        folder = Path(tempfile.gettempdir()) / f"{PREFIX}{secrets.token_hex(4)}"
        # Before it is there: an interrupt may come at any moment, also while it is removed.
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        except (NotImplementedError, OSError):
            return folder  # a file system without locks: the others leave it alone
        stack.callback(lock.release)
        if folder.exists():
            return folder


@cache  # once a process: every pass of a run has a folder of its own
def _remove_left_over(place: Path) -> None:
    for lock in place.glob(f"{PREFIX}*/{LOCK}"):
        # Another user's cannot be opened, one that is in use cannot be locked; another program's has no such file.
        with suppress(NotImplementedError, OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent, ignore_errors=True)
