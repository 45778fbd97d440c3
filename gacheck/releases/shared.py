"""What the environments of other releases share with the one that gacheck runs in."""

from __future__ import annotations

import site
from pathlib import Path

from gacheck.record.environment import installed_version, read_environment

TORCH = "torch"


def shared_folders() -> list[str]:
    """Return where what is installed here lies, and gacheck itself where it is not among that.

    They are added as folders of packages and not as plain paths: what is installed editable hangs on their .pth files.
    """
    folders = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    if installed_version("gacheck") is None:
        folders.append(str(Path(__file__).resolve().parents[2]))
    return folders


def stamp() -> str:
    """Return what an environment is made for: when this changes, what it shares has changed."""
    return f"{read_environment().model_dump_json()}\n{shared_folders()}\n"
