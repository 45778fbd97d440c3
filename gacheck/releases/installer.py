"""Installs a release over the environment that gacheck runs in: by uv where it is on PATH, else by pip.

What is installed here is found in the overlay too, torch above all, and is not installed again. What the release needs
in another version is.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from gacheck.errors import PackageError
from gacheck.record.environment import installed_version
from gacheck.releases.shared import TORCH, shared_folders

# What is built upon transformers or its huggingface_hub has to go with the release too.
GOES_WITH = ("accelerate", "datasets", "peft", "tokenizers", "safetensors", "huggingface_hub")
LINK = "gacheck_shared.pth"

Say = Callable[[str], None]


class InstallationError(Exception):
    """An installer could not do what it was to do; the message is its own, shortened."""


def install(folder: Path, release: str, say: Say) -> None:
    """Make an environment with a transformers release in an empty place.

    Raises:
        InstallationError: No installer could.
    """
    uv = shutil.which("uv")
    try:
        if uv is not None:
            _by_uv(uv, folder, release)
    except InstallationError as error:
        # It reads other settings than pip: the index may be known to pip alone.
        say(f"uv could not install it ({error}); pip is tried")
        uv = None
    if uv is None:
        shutil.rmtree(folder, ignore_errors=True)
        _by_pip(folder, release)
    _add_program(folder)
    found = run(
        [str(python_in(folder)), "-c", "from importlib import metadata; print(metadata.version('transformers'))"]
    )
    if found.strip() != release:
        raise InstallationError(f"there is transformers {found.strip()} in it afterwards")


def python_in(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def pip() -> list[str]:
    """Return the command that is pip: that of this environment, the one that Python itself brings, or uv's.

    Raises:
        PackageError: There is none.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    brings = importlib.util.find_spec("ensurepip")
    if brings is not None and brings.origin is not None:
        for wheel in (Path(brings.origin).parent / "_bundled").glob("pip-*.whl"):
            return [sys.executable, str(wheel / "pip")]
    uv = shutil.which("uv")
    if uv is not None:
        return [uv, "tool", "run", "pip"]
    raise PackageError(
        "pip is not installed in this environment.",
        why="It lists the releases of transformers that the index of packages has.",
        fix="python -m ensurepip, or install uv",
    )


def run(command: list[str], text: str | None = None) -> str:
    """Run a program and return what it printed.

    Args:
        command: The program and its arguments.
        text: What it reads from stdin.

    Raises:
        InstallationError: It failed.
    """
    try:
        done = subprocess.run(command, input=text or "", capture_output=True, text=True, check=False)
    except OSError as error:
        raise InstallationError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise InstallationError(_last_words(done.stderr) or f"{Path(command[0]).name} ended with {done.returncode}")
    return done.stdout


def _last_words(stderr: str) -> str:
    """Return what an installer said last that is an error; a warning may follow it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?i)(error|×|fatal)", line)]
    return re.sub(r"(?i)^(error:|×)\s*", "", (errors or lines or [""])[-1])[:300]


def _by_pip(folder: Path, release: str) -> None:
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    _link(folder)
    # Compiling all that is installed takes longer than installing it, and few of the modules are ever imported.
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-compile"]
    shared = f"{TORCH}=={installed_version(TORCH)}"
    # It sees what is linked, and leaves alone there what will do.
    run([*pip(), "--python", str(python_in(folder)), "install", *options, shared, *_requirements(release)])


def _by_uv(uv: str, folder: Path, release: str) -> None:
    """Install what differs from here; uv does not see what is linked, so what will do is found beforehand."""
    run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
    _link(folder)
    here = {_normal(each.name): each.version for each in metadata.distributions() if _normal(each.name) != TORCH}
    with tempfile.TemporaryDirectory() as scratch:
        pins, overrides = Path(scratch) / "pins.txt", Path(scratch) / "overrides.txt"
        # What stands in the file already is kept wherever it will do.
        pins.write_text("".join(f"{name}=={version}\n" for name, version in sorted(here.items())), encoding="utf-8")
        overrides.write_text(f"{TORCH}; python_version < '0'\n", encoding="utf-8")
        options = ["--quiet", "--no-header", "--no-annotate", "--python", sys.executable]
        files = ["--output-file", str(pins), "--overrides", str(overrides)]
        run([uv, "pip", "compile", *options, *files, "-"], "\n".join(_requirements(release)))
        wanted = _read_pins(pins.read_text(encoding="utf-8"))
        differs = [f"{name}=={version}" for name, version in wanted.items() if here.get(name) != version]
    run([uv, "pip", "install", "--quiet", "--no-deps", "--python", str(python_in(folder)), *differs])


def _requirements(release: str) -> list[str]:
    return [f"transformers=={release}", *(each for each in GOES_WITH if installed_version(each) is not None)]


def _read_pins(text: str) -> dict[str, str]:
    pins = (line.split(";")[0].strip().partition("==") for line in text.splitlines() if "==" in line)
    return {_normal(name): version for name, _, version in pins}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _link(folder: Path) -> None:
    """Let the environment find what is installed here, after its own: a release there goes before the one here."""
    ask = [str(python_in(folder)), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    lines = [f"import site; site.addsitedir({each!r})" for each in shared_folders()]
    (Path(run(ask).strip()) / LINK).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _add_program(folder: Path) -> None:
    """Add the command `gacheck`, which installing it would."""
    python = python_in(folder)
    program = python.with_name("gacheck")
    program.write_text(f"#!{python}\nfrom gacheck.cli import main\n\nmain()\n", encoding="utf-8")
    program.chmod(0o755)
