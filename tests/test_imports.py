"""Cheap commands stay cheap: what reads no model loads neither torch nor transformers nor matplotlib."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gacheck.record.journal import save_record
from tests.builders import full_run
from tests.reporters.survey_cases import rows_of
from tests.surveys import OLD, survey

HEAVY = ("torch", "transformers", "datasets", "accelerate", "numpy", "matplotlib", "jinja2")

# What a command of ours may need and the list of commands does not.
OURS = ("pydantic", "yaml", "gacheck.config", "gacheck.commands.run", "gacheck.commands.report")

# A finder, not a look at sys.modules afterwards alone: an import that fails or is deleted again is seen too.
WATCH = f"""
import sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in {{*{HEAVY!r}, *{OURS!r}}}:
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


def loaded(body: str, *arguments: str, of: tuple[str, ...] = HEAVY) -> tuple[list[str], str]:
    """Run `body` in a fresh interpreter; return which of these modules it asked for, and its output."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH + body, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    asked = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    return [name for name in asked if name in of], done.stdout


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        (["--help"], ()),
        (["--version"], ()),
        (["env"], None),
        (["run", "--help"], ("gacheck.commands.run", "gacheck.config", "pydantic", "yaml")),
        (["report", "--help"], None),
        (["compare", "--help"], None),
        (["lint", "LlamaForCausalLM"], None),
        (["lint", "LlamaForCausalLM", "--json"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_cheap_command_loads_nothing_heavy_and_no_other_command(
    arguments: list[str], ours: tuple[str, ...] | None
) -> None:
    asked, output = loaded(MAIN, *arguments, of=(*HEAVY, *OURS))

    assert sorted(set(asked) - set(OURS)) == []
    # None: whatever it needs of its own, but not the command that measures.
    assert "gacheck.commands.run" not in asked if ours is None else sorted(asked) == sorted(ours)
    assert output.splitlines()[-1] == "EXIT 0"
    assert len(output.splitlines()) > 1


FORMATS = ("terminal", "json", "markdown", "csv")


def test_report_loads_nothing_heavy(tmp_path: Path) -> None:
    save_record(full_run("sum_of_means", "mean_of_means"), tmp_path)
    body = f"for name in {FORMATS}:\n    sys.argv[3:] = ['--format', name]" + MAIN.replace("\n", "\n    ")

    heavy, output = loaded(body, "report", str(tmp_path))

    assert heavy == []
    assert [line for line in output.splitlines() if line.startswith("EXIT")] == ["EXIT 0"] * len(FORMATS)
    assert output.count("SCALED_BY_ACCUMULATION") >= len(FORMATS)


@pytest.mark.parametrize("format", ["terminal", "json", "markdown"])
def test_compare_loads_nothing_heavy(tmp_path: Path, format: str) -> None:
    save_record(survey(rows_of(OLD)), tmp_path)

    heavy, output = loaded(MAIN, "compare", str(tmp_path), str(tmp_path), "--format", format)

    assert heavy == []
    assert output.splitlines()[-1] == "EXIT 0"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "./nowhere"],
        ["smoke", "./nowhere"],
        ["run", "--max-steps", "0"],
        ["run", "-k", "1", "2"],
        ["run", "tiny:llama", "--revision", "main"],
        ["run", "--resume"],
        ["attach", "--", "no-such-program"],
        ["compare", "nowhere", "neither"],
    ],
    ids=" ".join,
)
def test_what_is_wrong_by_itself_is_said_before_anything_heavy_is_loaded(tmp_path: Path, arguments: list[str]) -> None:
    heavy, output = loaded(f"import os\nos.chdir({str(tmp_path)!r})" + MAIN, *arguments)

    assert heavy == []
    assert output.splitlines()[-1] == "EXIT 2"
    assert list(tmp_path.iterdir()) == []


def test_the_lower_layers_load_nothing_heavy() -> None:
    modules = ("gacheck", "gacheck.config", "gacheck.record.environment", "gacheck.words.analysis", "tests.builders")
    assert loaded(f"import {', '.join(modules)}")[0] == []


@pytest.mark.parametrize(
    "body",
    [
        "import matplotlib",
        "def late():\n    import matplotlib.pyplot\nlate()",
        "import matplotlib\ndel sys.modules['matplotlib']",
    ],
    ids=["plain", "in a function", "forgotten again"],
)
def test_a_heavy_import_is_seen(body: str) -> None:
    assert "matplotlib" in loaded(body)[0]


def test_no_module_takes_the_name_of_a_public_function() -> None:
    # A package that is imported becomes an attribute of its parent, and would stand in the function's place.
    code = "import gacheck, gacheck.api, gacheck.commands.attach\n"
    check = "assert callable(gacheck.attach) and callable(gacheck.check)"

    assert loaded(code + check)[0] == []
