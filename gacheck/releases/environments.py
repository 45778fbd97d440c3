"""Environments with one transformers release each, made when they are first asked for."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from gacheck.errors import GacheckError, ResourceError
from gacheck.record.environment import installed_version
from gacheck.releases import index, installer
from gacheck.releases.cache import STAMP, folder_of, folders_of, is_current, usable
from gacheck.releases.shared import stamp


def python_of(release: str, say: Callable[[str], None]) -> Path:
    """Return an interpreter under which gacheck finds this transformers release; make its environment where needed.

    That of the release which is installed here is this very interpreter.

    Args:
        release: As `index.resolve` returns it.
        say: Is told what takes time.

    Raises:
        ConfigError: There is no such release.
        ResourceError: It could not be installed.
    """
    if release == installed_version("transformers"):
        return Path(sys.executable)
    folder = folder_of(release)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, release, say):
            if not is_current(folder):
                _make(folder, release, say)
    except OSError as error:
        raise ResourceError(
            f"The environment of transformers {release} could not be made in {folder}: {error.strerror or error}.",
            why="Other releases are kept in the user's cache.",
            fix="free some space, or set XDG_CACHE_HOME to a folder that can be written",
        ) from error
    return installer.python_in(folder)


def remove(release: str) -> bool:
    """Remove the environments of a release, complete or not, whoever uses them; say whether there was one."""
    folders = folders_of(release)
    for folder in folders:
        with _locked(folder, release, lambda text: None):
            # First what makes it complete: one that is half removed is then made anew.
            (folder / STAMP).unlink(missing_ok=True)
            shutil.rmtree(folder)
    return bool(folders)


def _locked(folder: Path, release: str, say: Callable[[str], None]) -> FileLock:
    """Return a lock to be entered; say so if somebody else holds it at the moment."""
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
        lock.release()
    except Timeout:
        say(f"transformers {release}: waiting for another process, which is installing it")
    return lock


def _make(folder: Path, release: str, say: Callable[[str], None]) -> None:
    # Whatever lies there was interrupted.
    shutil.rmtree(folder, ignore_errors=True)
    say(f"transformers {release}: installing")
    started = time.monotonic()
    try:
        installer.install(folder, release, say)
    except installer.InstallationError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _failed(release, error) from error
    (folder / STAMP).write_text(stamp(), encoding="utf-8")
    say(f"transformers {release}: installed in {time.monotonic() - started:.0f} s")


def _failed(release: str, error: installer.InstallationError) -> GacheckError:
    return index.unknown(release) or ResourceError(
        f"transformers {release} could not be installed.",
        why=f"The installer says: {error}.",
        fix=f"connect to the network and try again; {usable()}",
    )
