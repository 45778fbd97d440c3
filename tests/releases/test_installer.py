"""What an overlay shares, in real environments, and what is installed into it, by installers that note their orders."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import gacheck
from gacheck.errors import PackageError
from gacheck.record.environment import installed_version
from gacheck.releases import installer
from gacheck.releases.installer import InstallationError, python_in

NEWEST = installed_version("transformers") or ""

# Makes environments, answers `pip compile` with the pins that it finds and two of its own, and notes the rest.
UV = """#!{python}
import pathlib, subprocess, sys
asked = sys.argv[1:]
if asked[0] == "venv":
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", asked[-1]], check=True)
elif asked[:2] == ["pip", "compile"]:
    pins = pathlib.Path(asked[asked.index("--output-file") + 1])
    lines = [line for line in pins.read_text().splitlines() if not line.startswith(("tokenizers==", "typing-ext"))]
    pins.write_text("\\n".join([*lines, "tokenizers==0.1", "Typing_Extensions=={typing}", "new-one==2"]))
    overrides = pathlib.Path(asked[asked.index("--overrides") + 1]).read_text()
    pathlib.Path({log!r}).write_text(sys.stdin.read() + "\\n" + overrides)
else:
    open({log!r}, "a").write(" ".join(asked))
    sys.exit("error: no index" if {ends} else 0)
"""


def inside(folder: Path, script: str) -> str:
    done = subprocess.run([python_in(folder), "-P", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer.shutil, "which", lambda name: None)


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let pip note what it is to do instead of doing it."""
    noted: list[list[str]] = []
    run = installer.run

    def note(command: list[str], text: str | None = None) -> str:
        if command[:3] != [sys.executable, "-m", "pip"]:
            return run(command, text)
        noted.append(command)
        return ""

    monkeypatch.setattr(installer, "run", note)
    return noted


@pytest.mark.usefixtures("without_uv")
def test_what_is_installed_here_is_found_there(tmp_path: Path, orders: list[list[str]]) -> None:
    folder = tmp_path / "made"

    installer.install(folder, NEWEST, print)

    origins = (
        "import gacheck, importlib.util as u, json; f = u.find_spec; "
        "print(json.dumps([gacheck.__file__, f('torch').origin, f('transformers').origin]))"
    )
    here = [importlib.util.find_spec(name) for name in ("torch", "transformers")]
    assert json.loads(inside(folder, origins)) == [gacheck.__file__, *(spec.origin for spec in here if spec)]
    assert inside(folder, "import sys; print(sys.prefix)") == str(folder)
    program = subprocess.run([folder / "bin" / "gacheck", "--version"], capture_output=True, text=True, check=True)
    assert program.stdout == f"gacheck {gacheck.__version__}\n"


@pytest.mark.usefixtures("without_uv")
def test_what_lies_there_goes_before_what_is_here(tmp_path: Path, orders: list[list[str]]) -> None:
    folder = tmp_path / "made"
    installer.install(folder, NEWEST, print)
    own = Path(inside(folder, "import sysconfig; print(sysconfig.get_path('purelib'))"))

    (own / "transformers").mkdir()
    (own / "transformers" / "__init__.py").write_text("__version__ = 'older'")

    assert inside(folder, "import transformers; print(transformers.__version__)") == "older"


@pytest.mark.usefixtures("without_uv")
def test_pip_is_asked_for_this_torch_and_that_release(tmp_path: Path, orders: list[list[str]]) -> None:
    with pytest.raises(InstallationError, match=f"there is transformers {NEWEST} in it"):
        installer.install(tmp_path / "made", "4.50.3", print)

    (order,) = orders
    assert order[:4] == [sys.executable, "-m", "pip", "--python"]
    assert f"torch=={metadata.version('torch')}" in order
    assert {"transformers==4.50.3", "tokenizers", "huggingface_hub", "accelerate", "datasets"} <= set(order)


def put_uv_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: int = 0) -> Path:
    log, program = tmp_path / "log", tmp_path / "uv"
    typing = metadata.version("typing-extensions")
    program.write_text(UV.format(python=sys.executable, log=str(log), ends=ends, typing=typing))
    program.chmod(0o755)
    monkeypatch.setattr(installer.shutil, "which", lambda name: str(program))
    return log


def test_uv_installs_what_differs_and_never_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = put_uv_on_path(tmp_path, monkeypatch)

    installer.install(tmp_path / "made", NEWEST, print)

    asked = log.read_text()
    assert asked.splitlines()[0] == f"transformers=={NEWEST}"
    assert "torch; python_version < '0'" in asked
    installed = asked.splitlines()[-1].partition(str(python_in(tmp_path / "made")))[2].split()
    assert installed == ["tokenizers==0.1", "new-one==2"]


def test_pip_is_tried_where_uv_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orders: list[list[str]]) -> None:
    put_uv_on_path(tmp_path, monkeypatch, ends=1)
    said: list[str] = []

    installer.install(tmp_path / "made", NEWEST, said.append)

    assert said == ["uv could not install it (no index); pip is tried"]
    assert len(orders) == 1


def hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else find(name))


def test_an_environment_without_pip_has_the_one_that_python_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "pip")

    command = installer.pip()

    assert "pip" in subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout


def test_or_that_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "pip", "ensurepip")
    monkeypatch.setattr(installer.shutil, "which", lambda name: "/bin/uv")

    assert installer.pip() == ["/bin/uv", "tool", "run", "pip"]


@pytest.mark.usefixtures("without_uv")
def test_where_there_is_none_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "pip", "ensurepip")

    with pytest.raises(PackageError, match="pip is not installed"):
        installer.pip()


def test_the_installers_own_words_are_kept() -> None:
    script = "import sys; print('ERROR: No space left', file=sys.stderr); print('note', file=sys.stderr); sys.exit(3)"

    with pytest.raises(InstallationError, match=r"^No space left$"):
        installer.run([sys.executable, "-c", script])
    with pytest.raises(InstallationError, match="ended with 3"):
        installer.run([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(InstallationError, match="No such file"):
        installer.run(["/no/such/program"])
