"""The help: every command is listed without being imported, and nothing is cut, however narrow the terminal."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest
import typer

from gacheck.cli import COMMANDS, app, main

GROUP: Any = typer.main.get_command(app)


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "-h"])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_first_sentence_of_the_command(name: str) -> None:
    module, _, function = COMMANDS[name].home.partition(":")
    documentation = inspect.getdoc(getattr(import_module(module), function)) or ""

    assert " ".join(documentation.split("\n\n")[0].split()) == COMMANDS[name].summary


def test_the_commands_stand_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys)
    listed = [line.split()[0] for line in text.split("\n\n")[2].splitlines()[1:] if line[2] != " "]

    assert text.startswith("Usage: gacheck [OPTIONS] COMMAND [ARGS]...\n")
    assert listed == list(COMMANDS) == list(GROUP.commands)
    assert listed[:3] == ["run", "report", "smoke"]
    assert listed[-1] == "env"


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_name_is_cut_and_no_word_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = help_of(capsys, name)
    words, command = set(text.split()), GROUP.commands[name]

    # What is longer than there is room for has a line of its own.
    long = [line for line in text.splitlines() if len(line) > columns]
    assert [line for line in long if len(line.split()) > 1 and not line.startswith("  -")] == []
    assert f"Usage: gacheck {name} [OPTIONS]" in text
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            assert not {*parameter.opts} & words
            continue
        option = parameter.param_type_name == "option"
        names = [*parameter.opts, *parameter.secondary_opts] if option else [parameter.metavar]
        assert {each for each in names if each not in words and f"{each}," not in words} == set()
        assert set((parameter.help or "").split()) <= words
    assert set(command.help.split()) <= words


def test_options_stand_under_their_panels(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, "run")
    blocks = {block.splitlines()[0]: block for block in text.split("\n\n")}

    assert [title for title in blocks if title.endswith(":")] == [
        "Arguments:",
        "Options:",
        "Model and data:",
        "Rarely needed:",
        "Output:",
    ]
    assert "  --exit-zero" in blocks["Output:"]
    assert "-k, --gradient-accumulation-steps LIST\n" in blocks["Options:"]
    assert "-h, --help" in blocks["Options:"]


def test_nothing_at_all_is_a_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])

    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Usage: gacheck")
