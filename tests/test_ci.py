"""What CI is given: action.yml and the lines of README, run with programs that only say how they were called."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from gacheck.cli import app

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = README.split("\n## In CI\n")[1].split("\n## ")[0]

# As GitHub documents them: how a step's script, put into a file, is run.
SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"], "python": [sys.executable]}

STUB = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
sys.exit(int(os.environ.get("CODE", "0")))
"""


class Machine:
    """A folder of programs that note how they were called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for program in ("gacheck", "pip", "python"):
            (folder / program).write_text(STUB)
            (folder / program).chmod(0o755)

    def run(self, command: list[str], code: int = 0, **environment: str) -> tuple[int, list[list[str]], str]:
        """Return the exit code, the calls and what was printed."""
        calls = self._folder / "calls"
        calls.unlink(missing_ok=True)
        path = f"{self._folder}{os.pathsep}{os.environ['PATH']}"
        variables = {**os.environ, "PATH": path, "CALLS": str(calls), "CODE": str(code), **environment}
        done = subprocess.run(
            command, cwd=self._folder, env=variables, capture_output=True, text=True, timeout=60, check=False
        )
        made = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        return done.returncode, made, done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def step(machine: Machine, tmp_path: Path, number: int, code: int = 0, **inputs: str) -> Any:
    """Run a step of the action as GitHub does, with these inputs."""
    found = ACTION["runs"]["steps"][number]
    given = {name: str(each["default"]) for name, each in ACTION["inputs"].items()} | inputs
    values = {f"${{{{ inputs.{name} }}}}": value for name, value in given.items()}
    values["${{ github.action_path }}"] = "/the/clone"
    environment = {name: values[value] for name, value in found["env"].items()}
    assert "${{" not in found["run"]
    (tmp_path / "script").write_text(found["run"])
    return machine.run([*SHELLS[found["shell"]], str(tmp_path / "script")], code, **environment)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", []),
        (" \n \n", []),
        ("--strict", ["--strict"]),
        ("--strict --seed 3\n", ["--strict", "--seed", "3"]),
        ("--strict\n--seed 3\n--max-length 64\n", ["--strict", "--seed", "3", "--max-length", "64"]),
        ("--strict \\\n  --seed 3", ["--strict", "--seed", "3"]),
        ("--dataset 'my text.jsonl'", ["--dataset", "my text.jsonl"]),
        (
            '--config-override "rope={a: 1}"\n--text-column ""',
            ["--config-override", "rope={a: 1}", "--text-column", ""],
        ),
        ("--dataset it\\'s.txt", ["--dataset", "it's.txt"]),
        ("--dataset '*' ~ $HOME", ["--dataset", "*", "~", "$HOME"]),
        ("--split $(touch pwned) `touch pwned`", ["--split", "$(touch", "pwned)", "`touch", "pwned`"]),
        ("; touch pwned && exit 0", [";", "touch", "pwned", "&&", "exit", "0"]),
        ("'); touch pwned #'", ["); touch pwned #"]),
    ],
)
def test_options_keep_quotes_and_lines_and_nothing_of_them_is_run(
    machine: Machine, tmp_path: Path, options: str, words: list[str]
) -> None:
    code, calls, said = step(machine, tmp_path, -1, options=options, model="./a model $(touch pwned)")

    assert (code, said) == (0, "")
    assert calls == [["gacheck", "smoke", "--model", "./a model $(touch pwned)", *words]]
    assert not (tmp_path / "pwned").exists()


def test_options_that_are_no_words_are_said_and_nothing_is_run(machine: Machine, tmp_path: Path) -> None:
    code, calls, said = step(machine, tmp_path, -1, options="--dataset 'my text")

    assert (code, calls) == (2, [])
    assert said == "::error title=gacheck::The input options cannot be split into words: No closing quotation.\n"


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_steps_end_as_what_they_run(machine: Machine, tmp_path: Path, code: int) -> None:
    for number in range(len(ACTION["runs"]["steps"])):
        assert step(machine, tmp_path, number, code)[0] == code


def test_gacheck_is_installed_from_the_action_itself(machine: Machine, tmp_path: Path) -> None:
    _, calls, _ = step(machine, tmp_path, 0)

    assert calls == [["python", "-m", "pip", "install", "--quiet", "/the/clone"]]


def parse(arguments: list[str]) -> dict[str, Any]:
    """Return what the program makes of the arguments."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands[arguments[0]].make_context(arguments[0], arguments[1:]).params)


def test_the_step_in_readme_has_inputs_that_exist(machine: Machine, tmp_path: Path) -> None:
    [block] = re.findall(r"^```yaml\n(.*?)^```$", RECIPES, re.MULTILINE | re.DOTALL)
    installs, uses = yaml.safe_load(block)

    assert set(uses) == {"uses", "with"}
    assert set(uses["with"]) <= set(ACTION["inputs"])
    _, [call], _ = step(machine, tmp_path, -1, **uses["with"])
    given = parse(call[1:])
    assert (given["model"], given["strict"]) == (uses["with"]["model"], True)
    code, calls, _ = machine.run(["bash", "-c", installs["run"]])
    assert code == 0
    assert [call[:2] for call in calls] == [["pip", "install"]]


def test_the_line_in_readme_runs_as_it_is_printed(machine: Machine) -> None:
    [line] = re.findall(r"^    (.*gacheck smoke.*)$", RECIPES, re.MULTILINE)
    code, calls, said = machine.run(["bash", "-c", line])

    assert (code, said) == (0, "")
    assert [call[0] for call in calls] == ["pip", "pip", "gacheck"]
    assert parse(calls[-1][1:])["model"] == "./path/to/folder"
    # The first thing that goes wrong ends it, with its own code.
    assert machine.run(["bash", "-c", line], code=1)[:2] == (1, calls[:1])
