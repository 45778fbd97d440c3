"""Environments with one transformers release each, cached outside the checkout."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TORCH = "torch==2.13.0"
TEST_TOOLS = ("pytest>=8", "hypothesis>=6.100", "peft>=0.13", "pillow")


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gacheck" / "envs"


def environment_for(release: str) -> Path:
    """Return the folder of executables of an environment with this release and this checkout in it.

    It is made as a user would: `pip install -e . "transformers==X"`. A stamp says for which pyproject.toml and
    which checkout it was made.
    """
    folder = cache_folder() / f"transformers-{release}"
    binaries = folder / "bin"
    stamp = folder / "gacheck-stamp"
    wanted = hashlib.sha256((CHECKOUT / "pyproject.toml").read_bytes() + str(CHECKOUT).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return binaries
    if not (binaries / "python").exists():
        _run(sys.executable, "-m", "venv", str(folder))
    pip = (str(binaries / "python"), "-m", "pip", "install", "--quiet")
    _run(*pip, TORCH)
    _run(*pip, "--editable", str(CHECKOUT), f"transformers=={release}", *TEST_TOOLS)
    stamp.write_text(wanted)
    return binaries


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
