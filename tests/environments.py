"""Environments with one release each of what is tested, cached outside the checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from filelock import FileLock
from packaging.requirements import Requirement

from gacheck.releases.environments import python_of

CHECKOUT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"
TEST_TOOLS = ("pytest>=8", "hypothesis>=6.100", "pillow", "pytest-xdist>=3.5")
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
    """Return the folder of executables of an environment with this transformers release and this gacheck in it.

    It is the one that gacheck itself makes for its user: what the tests' own environment has is found there too.
    """
    return python_of(release, lambda text: None).parent


def lowest() -> Path:
    """Return the folder of executables of an environment with the lowest versions of every direct dependency.

    Of what those draw it holds the newest that they take, as a user's would. It is no overlay: what is imported and not
    declared is to be missed. All of it is drawn anew whenever pyproject.toml changes: an earlier bound may have left
    an older click or numpy behind, with which more works.
    """
    wanted = (CHECKOUT / "pyproject.toml").read_bytes() + str(CHECKOUT).encode()
    anew = ("--upgrade", "--upgrade-strategy", "eager")
    install = (*anew, "--editable", str(CHECKOUT), *lowest_versions(), *TEST_TOOLS)
    return _environment("lowest", install, wanted)


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
    return _environment(name, ("--upgrade", *requirements), wanted, taken_out=taken_out)


def _environment(name: str, install: tuple[str, ...], wanted: bytes, taken_out: tuple[str, ...] = ()) -> Path:
    """Return the folder of executables; make the environment, or complete it, where its stamp is not that of `wanted`.

    Args:
        name: Of its folder.
        install: Arguments of `pip install`.
        wanted: Of what the stamp is the hash.
        taken_out: Patterns of what is removed after the installation.
    """
    folder = cache_folder() / name
    binaries, stamp = folder / "bin", folder / "gacheck-stamp"
    digest = hashlib.sha256(wanted).hexdigest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{name}.lock"):  # tests that run beside each other ask for the same one
        if stamp.exists() and stamp.read_text() == digest:
            return binaries
        if not (binaries / "python").exists():
            _run(sys.executable, "-m", "venv", str(folder))
        pip = (str(binaries / "python"), "-m", "pip", "install", "--quiet")
        _run(*pip, TORCH)
        _run(*pip, *install)
        packages = _packages(binaries)
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
