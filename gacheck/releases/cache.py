"""Where the environments of other releases are kept, and which are there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gacheck.core.history import is_release, numbers_of
from gacheck.releases.shared import stamp

STAMP = "gacheck-stamp.json"
PREFIX = "transformers-"
KEY_LENGTH = 8


@dataclass(frozen=True)
class Cached:
    """An environment that is complete.

    Attributes:
        release: Of transformers.
        folder: Where it lies.
        made: When, in seconds since 1970.
    """

    release: str
    folder: Path
    made: float

    def num_bytes(self) -> int:
        """Return how large its files are together; a link counts nothing."""
        return _size_of(self.folder.rglob("*"))


def cache_folder() -> Path:
    """Return the folder of all of them."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gacheck" / "releases"


def folder_of(release: str) -> Path:
    """Return where the environment of a release is, or would be, for what is installed here.

    Each has its own: who has gacheck in two places does not take away here what is in use there.
    """
    made_for = hashlib.sha256(stamp().encode()).hexdigest()[:KEY_LENGTH]
    return cache_folder() / made_for / f"{PREFIX}{release}"


def cached() -> list[Cached]:
    """Return the environments that are complete, oldest release first; also those that others use."""
    stamps = [(release, folder / STAMP) for release in kept() for folder in folders_of(release)]
    return [Cached(release, stamp.parent, stamp.stat().st_mtime) for release, stamp in stamps if stamp.exists()]


def kept() -> list[str]:
    """Return all releases of which there is anything, complete or not, oldest first."""
    found = {each.name.removeprefix(PREFIX) for each in folders_of("*")}
    return sorted((each for each in found if is_release(each)), key=numbers_of)


def folders_of(release: str) -> list[Path]:
    """Return where there is anything of a release, whoever uses it."""
    return sorted(cache_folder().glob(f"*/{PREFIX}{release}"))


def is_current(folder: Path) -> bool:
    """Whether an environment is complete, and made for what is installed here."""
    try:
        return (folder / STAMP).read_text(encoding="utf-8") == stamp()
    except FileNotFoundError:
        return False


def usable() -> str:
    """Say which releases can be used without a network."""
    here = [each.release for each in cached() if is_current(each.folder)]
    return f"without network there are  {', '.join(here)}" if here else "none is here already"


def _size_of(files: Iterable[Path]) -> int:
    return sum(each.stat().st_size for each in files if each.is_file() and not each.is_symlink())
