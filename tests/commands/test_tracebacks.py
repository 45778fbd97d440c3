"""Tracebacks are shown to who asks: before the command, after it, or by the environment; of passes too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer

from gacheck.cli import main
from gacheck.commands import env
from gacheck.frames import LOG, name_objects

TRAINER = """
from transformers import Trainer

class Mine(Trainer):
    def training_step(self, *args, **kwargs):
        raise ValueError("no step today")
"""


def end_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def fails() -> None:
    """Fail."""
    raise ValueError("planted")


@pytest.mark.parametrize("arguments", [("env", "--traceback"), ("--traceback", "env")], ids=" ".join)
def test_by_the_option(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(env, "env", fails)
    # A command before this one, in the same process, has brought in this module; that is over.
    name_objects({f"{__name__}:fails": "--compute-loss-func"})

    assert end_of(*arguments) == 4
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):")
    assert 'raise ValueError("planted")' in shown
    assert shown.rstrip().splitlines()[-3].startswith("gacheck: ValueError: planted")
    # It ends with the program that was asked.
    assert end_of("env") == 4
    assert "Traceback" not in capsys.readouterr().err
    assert LOG.handlers == []


def test_of_what_is_in_our_words_the_cause_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken_here.py").write_text("1 / 0\n")

    assert end_of("run", "tiny:llama", "--trainer-class", "broken_here:C", "--traceback") == 2
    shown = capsys.readouterr().err
    assert shown.count("Traceback (most recent call last):") == 1
    assert 'broken_here.py", line 1, in <module>' in shown
    assert "UserCodeError" not in shown


@pytest.mark.parametrize("asked", [False, True])
def test_of_a_pass_that_failed(
    asked: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "stepless", raising=False)
    Path("stepless.py").write_text(TRAINER)
    if asked:
        monkeypatch.setenv("GACHECK_TRACEBACK", "1")

    small = ("-k", "1", "--effective-batch-size", "1", "--max-steps", "1", "--loss-kwargs", "on", "--out", "here")
    assert end_of("run", "tiny:llama", *small, "--trainer-class", "stepless:Mine") == 3
    shown = capfd.readouterr()
    assert ('stepless.py", line 6, in training_step' in shown.err) is asked
    assert "Traceback" not in shown.out
    # The record and the verdict say it in any case.
    said = "Mine.training_step raised ValueError: no step today (stepless.py:6), from --trainer-class"
    assert said in Path("here/record.json").read_text(encoding="utf-8")
    assert said.replace(" ", "") in "".join(shown.out.split())


def test_every_command_has_the_option_and_means_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("run", "smoke", "report", "selftest", "attach", "env"):
        assert end_of(command, "--help") == 0
        assert "--traceback" in capsys.readouterr().out, command

    called: list[int] = []

    def takes(number: int = typer.Option(0, "--number")) -> None:
        """Take a number."""
        called.append(number)

    monkeypatch.setattr(env, "env", takes)
    assert end_of("env", "--number", "3", "--traceback") == 0
    assert called == [3]
