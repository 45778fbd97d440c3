"""Shell completion: commands and options, without importing what a command imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def gacheck(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gacheck", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize(
    ("typed", "offered"), [("gacheck sm", {"smoke"}), ("gacheck report --f", {"--format", "--force"})]
)
def test_what_can_be_typed_next_is_offered(typed: str, offered: set[str]) -> None:
    where = str(len(typed.split()) - 1)
    done = gacheck(_GACHECK_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=where)

    assert set(done.stdout.split()) == offered
    assert done.returncode == 0


def test_the_script_is_installed_where_it_is_asked_for(tmp_path: Path) -> None:
    # Which shell it is, is found by the processes above; here it is told.
    told = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = gacheck("--install-completion", "bash", **told)

    assert done.returncode == 0, done.stderr
    assert "_GACHECK_COMPLETE" in (tmp_path / ".bash_completions" / "gacheck.sh").read_text()


def test_an_unknown_shell_is_a_wrong_usage(tmp_path: Path) -> None:
    told = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}

    assert gacheck("--show-completion", "tcsh", **told).returncode == 2
