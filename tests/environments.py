"""Environments with one release each of what is tested, cached outside the checkout.

That of a transformers release is an overlay: what the tests' own environment has, torch above all, is found there and
not installed again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

from filelock import FileLock
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"
FAST_TEST_TOOLS = ("pytest>=8", "hypothesis>=6.100", "pillow")
TEST_TOOLS = (*FAST_TEST_TOOLS, "peft>=0.13")
# gacheck is in none of them: what watches a training may need no more than the training has. The torch is named
# again, lest another package draw one with gigabytes of libraries; pyarrow 20 breaks the datasets of this release.
INTEGRATIONS = {
    "llamafactory-0.9.3": ("llamafactory==0.9.3", "transformers==4.50.3", TORCH, "pyarrow<20", "pillow"),
    "llamafactory-0.9.5": ("llamafactory==0.9.5", "transformers==5.6.0", TORCH, "pillow"),
    "trl": ("trl", "transformers", "peft", TORCH, "pillow"),
    "sentence-transformers": ("sentence-transformers", "transformers", "accelerate", "datasets", TORCH),
    "setfit": ("setfit", "sentence-transformers", "transformers", TORCH),
}
# What is taken out of them again, as patterns below their folder of packages: libraries that were compiled for an
# accelerator's torch and do not load over the processor's. Nobody needs torchvision, and of torchaudio only its Python.
TAKEN_OUT = {"llamafactory-0.9.5": ("torchvision", "torchvision-*", "torchaudio/lib/*.so")}


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


def lowest() -> Path:
    """Return the folder of executables of an environment with the lowest versions of every direct dependency.

    Of what those draw it holds the newest that they take, as a user's would. It is no overlay: what is imported and not
    declared is to be missed. All of it is drawn anew whenever pyproject.toml changes: an earlier bound may have left
    an older click or numpy behind, with which more works.
    """
    wanted = (CHECKOUT / "pyproject.toml").read_bytes() + str(CHECKOUT).encode()
    anew = ("--upgrade", "--upgrade-strategy", "eager")
    install = (*anew, "--editable", str(CHECKOUT), *lowest_versions(), *FAST_TEST_TOOLS, "pytest-xdist>=3.5")
    return _environment("lowest", install, wanted, overlay=False)


def lowest_versions() -> tuple[str, ...]:
    """Return the dependencies of pyproject.toml, each `name>=X` as `name==X`.

    Raises:
        ValueError: One has another bound than a lower one, or none.
    """
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(_lowest(Requirement(each)) for each in project["dependencies"])


def _lowest(requirement: Requirement) -> str:
    # PyPI has builds of the lowest torch for CUDA alone, gigabytes of them. Its bound is not one of what works:
    # before 2.6, torch.load(weights_only=True) could be made to run a pickle.
    if requirement.name == "torch":
        return TORCH
    bounds = [(bound.operator, bound.version) for bound in requirement.specifier]
    if [operator for operator, _ in bounds] != [">="]:
        raise ValueError(f"{requirement} is not bounded below, or not only")
    return f"{requirement.name}=={bounds[0][1]}"


def integration(name: str) -> Path:
    """Return the folder of executables of an environment with what gacheck is to be put in front of, without gacheck.

    The newest of what has no release is that of the day on which the environment was made.
    """
    requirements, taken_out = INTEGRATIONS[name], TAKEN_OUT.get(name, ())
    wanted = "\n".join((*requirements, *taken_out)).encode()
    return _environment(name, ("--upgrade", *requirements), wanted, overlay=False, taken_out=taken_out)


def _environment(
    name: str, install: tuple[str, ...], wanted: bytes, *, overlay: bool, taken_out: tuple[str, ...] = ()
) -> Path:
    """Return the folder of executables; make the environment, or complete it, where its stamp is not that of `wanted`.

    Args:
        name: Of its folder.
        install: Arguments of `pip install`.
        wanted: Of what the stamp is the hash.
        overlay: Whether what the tests' own environment has is there too, gacheck among it.
        taken_out: Patterns of what is removed after the installation.
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
        packages = _packages(binaries)
        if overlay:
            # Searched after the environment's own packages: a release there goes before the one here.
            (packages / "tests_environment.pth").write_text(f"{base}\n")
        else:
            _run(*pip, TORCH)
        _run(*pip, *install)
        for path in [path for pattern in taken_out for path in packages.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        stamp.write_text(digest)
    return binaries


def _packages(binaries: Path) -> Path:
    """Return the folder of packages of an environment."""
    tell = [str(binaries / "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(tell, capture_output=True, text=True, check=True).stdout.strip())


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
