"""Cheap commands stay cheap: what reads no model loads neither torch nor transformers nor matplotlib."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "accelerate", "numpy", "matplotlib")

# A finder, not a look at sys.modules afterwards alone: an import that fails or is deleted again is seen too.
WATCH = f"""
import sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY!r}:
            print("LOADED", name)

sys.meta_path.insert(0, Watch())
"""

MAIN = """
from gacheck.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
print("EXIT", code or 0)
"""


def loaded(body: str, *arguments: str) -> tuple[list[str], str]:
    """Run `body` in a fresh interpreter; return which heavy libraries it asked for, and its output."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH + body, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("LOADED ")], done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["env"], ["run", "--help"]],
    ids=" ".join,
)
def test_a_cheap_command_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy, output = loaded(MAIN, *arguments)

    assert heavy == []
    assert output.splitlines()[-1] == "EXIT 0"
    assert len(output.splitlines()) > 1
