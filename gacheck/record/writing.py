"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = ".gacheck-"
"""Of the temporary file that becomes the one that is written; a process that is killed can leave one."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old or the new one whole; a link is replaced, not followed.

    What is no file, such as a pipe, is written to as it is.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=PREFIX)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # mkstemp makes files that the owner alone can read; a result is no secret.
            umask = os.umask(0)
            os.umask(umask)
            Path(temporary).chmod(0o666 & ~umask)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_left_over(folder: Path) -> None:
    """Remove what processes that were killed have left of files that they were writing; nobody may be writing now."""
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):
            path.unlink()
