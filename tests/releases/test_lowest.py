"""The lower bounds in pyproject.toml are true: with those very versions the fast tests pass and a model is measured."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.environments import CHECKOUT, lowest, lowest_versions

pytestmark = pytest.mark.lowest

# What is measured, and under which release, is the business of test_releases.py.
FAST = (
    "tests/core",
    "tests/rules",
    "tests/reporters",
    "tests/record",
    "tests/test_config.py",
    "tests/commands/test_report.py",
    "tests/commands/test_mistakes.py",
)
# The model of `gacheck smoke`, Gemma3, is younger than transformers 4.46, and that is said first.
NOT_YET = "tests/commands/test_mistakes.py::test_mistakes[smoke --dataset absent.txt]"


@cache
def executables() -> Path:
    return lowest()


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(executables() / program), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def test_the_environment_holds_the_lowest_versions(tmp_path: Path) -> None:
    # Against the distributions' own words: 4.46 is 4.46.0, and the torch of the processor is 2.13.0+cpu.
    script = (
        "import json, sys; from importlib.metadata import version; print(json.dumps([*map(version, sys.argv[1:])]))"
    )
    wanted = [Requirement(each) for each in lowest_versions()]
    installed = json.loads(run("python", "-c", script, *(each.name for each in wanted), cwd=tmp_path).stdout)
    assert all(each.specifier.contains(version) for each, version in zip(wanted, installed, strict=True)), installed


def test_the_fast_tests_pass() -> None:
    run("python", "-m", "pytest", "--numprocesses", "auto", *FAST, "--deselect", NOT_YET, cwd=CHECKOUT)


def test_a_model_is_measured_and_shown_again(tmp_path: Path) -> None:
    """Nor does an old package put a word of its own on stderr."""
    measured = ("run", "--model", "tiny:llama", "--max-steps", "1", "-k", "1,2", "--out", "run")
    for command in (("--help",), ("env",), measured, ("report", "run")):
        done = run("gacheck", *command, cwd=tmp_path)
        assert done.stdout
        # A line a pass, and nothing else.
        assert [line for line in done.stderr.splitlines() if not line.startswith("pass ")] == []
    assert (tmp_path / "run" / "record.json").exists()
