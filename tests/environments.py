"""Environments with one release each of what is tested, cached outside the checkout.

Each is an overlay: what the tests' own environment has, torch above all, is found there and not installed again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from filelock import FileLock

CHECKOUT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"
TEST_TOOLS = ("pytest>=8", "hypothesis>=6.100", "peft>=0.13", "pillow")
# gacheck is in none of them: what watches a training may need no more than the training has. The torch is named
# again, lest another package draw one with gigabytes of libraries; pyarrow 20 breaks the datasets of this release.
INTEGRATIONS = {
    "llamafactory-0.9.3": ("llamafactory==0.9.3", "transformers==4.50.3", TORCH, "pyarrow<20", "pillow"),
    "trl": ("trl", "transformers", "peft", TORCH, "pillow"),
}


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gacheck" / "envs"


def environment_for(release: str) -> Path:
    """Return the folder of executables of an environment with this transformers release and this checkout in it.

    It is made as a user would: `pip install -e . "transformers==X"`. A stamp says for which pyproject.toml and
    which checkout it was made.
    """
    wanted = (CHECKOUT / "pyproject.toml").read_bytes() + str(CHECKOUT).encode()
    install = ("--editable", str(CHECKOUT), f"transformers=={release}", *TEST_TOOLS)
    return _environment(f"transformers-{release}", install, wanted, overlay=True)


def integration(name: str) -> Path:
    """Return the folder of executables of an environment with what gacheck is to be put in front of, without gacheck.

    The newest of what has no release is that of the day on which the environment was made.
    """
    requirements = INTEGRATIONS[name]
    return _environment(name, ("--upgrade", *requirements), "\n".join(requirements).encode(), overlay=False)


def _environment(name: str, install: tuple[str, ...], wanted: bytes, *, overlay: bool) -> Path:
    """Return the folder of executables; make the environment, or complete it, where its stamp is not that of `wanted`.

    Args:
        name: Of its folder.
        install: Arguments of `pip install`.
        wanted: Of what the stamp is the hash.
        overlay: Whether what the tests' own environment has is there too, gacheck among it.
    """
    folder = cache_folder() / name
    binaries, stamp = folder / "bin", folder / "gacheck-stamp"
    base = sysconfig.get_path("purelib") if overlay else ""
    digest = hashlib.sha256(wanted + base.encode()).hexdigest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{name}.lock"):  # tests that run beside each other ask for the same one
        if stamp.exists() and stamp.read_text() == digest:
            return binaries
        if not (binaries / "python").exists():
            _run(sys.executable, "-m", "venv", str(folder))
        pip = (str(binaries / "python"), "-m", "pip", "install", "--quiet")
        if overlay:
            packages = subprocess.run(
                [str(binaries / "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            # Searched after the environment's own packages: a release there goes before the one here.
            (Path(packages) / "tests_environment.pth").write_text(f"{base}\n")
        else:
            _run(*pip, TORCH)
        _run(*pip, *install)
        stamp.write_text(digest)
    return binaries


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
