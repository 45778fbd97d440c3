"""Without torch, transformers or what they need, or with a broken one: one message, what to install, exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from gacheck.cli import main
main(sys.argv[2:])
"""
COMMANDS = ("run", "smoke", "selftest")


def run(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(path), environment.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert [line[:7] for line in done.stderr.splitlines()] == ["gacheck", "  why  ", "  do   "]
    return done.stderr


@pytest.mark.parametrize(
    ("package", "fix"),
    [
        ("torch", "pip install torch==2.13.0"),
        ("transformers", 'pip install -U "transformers>=4.46"'),
        ("datasets", "pip install datasets"),
        ("accelerate", "pip install accelerate"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_package_is_missing(tmp_path: Path, package: str, fix: str, command: str) -> None:
    said = told(run(tmp_path, "-c", BLOCKED, package, command))

    assert said.startswith(f"gacheck: {package} is not installed.")
    assert fix in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("torch.py", "raise ImportError('libcudart.so.12: cannot open shared object file')"),
        ("torch/__init__.py", "import ctypes\nctypes.CDLL('libnowhere.so')"),
        ("transformers/__init__.py", "raise RuntimeError('half of it is there')"),
        ("datasets/__init__.py", "1 / 0"),
    ],
)
def test_a_package_is_broken(tmp_path: Path, name: str, source: str) -> None:
    stub = tmp_path / "stub" / name
    stub.parent.mkdir(parents=True)
    stub.write_text(source)
    (tmp_path / "here").mkdir()
    said = told(run(tmp_path / "here", "-m", "gacheck", "smoke", path=tmp_path / "stub"))

    package = name.partition("/")[0].removesuffix(".py")
    assert said.startswith(f"gacheck: {package} cannot be imported: ")
    assert f"pip install --force-reinstall {package}" in said
    assert list((tmp_path / "here").iterdir()) == []
