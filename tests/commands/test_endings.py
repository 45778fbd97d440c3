"""How the program ends: exit code 1 is a verdict's alone, and every other end says in words what happened."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from gacheck.cli import main
from gacheck.commands import env
from gacheck.errors import ResourceError
from gacheck.record.journal import save_record
from tests.builders import full_run

CLOSED_PIPE = "a pipe that nobody reads"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the record of a failing run."""
    folder = tmp_path_factory.mktemp("run")
    save_record(full_run("sum_of_means", "mean_of_means"), folder)
    return folder


def start(folder: Path, arguments: str, output: str, **environment: str) -> tuple[int, bytes, bytes]:
    """Run the program as a shell does; return exit code, stdout where it is caught, and stderr."""
    command = f"exec {sys.executable} -m gacheck {arguments} {output if output != CLOSED_PIPE else ''}"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=writing if output == CLOSED_PIPE else subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
        timeout=120,
    )
    os.close(writing)
    return done.returncode, done.stdout or b"", done.stderr


@pytest.mark.parametrize(
    ("arguments", "output", "exit_code", "said"),
    [
        ("report . --exit-code", "", 1, b""),
        ("report . --exit-code", CLOSED_PIPE, 1, b""),
        ("report . --format json", CLOSED_PIPE, 0, b""),
        ("--help", CLOSED_PIPE, 0, b""),
        ("report . --exit-code", ">&-", 4, b"Standard output is closed."),
        ("--version", ">&-", 4, b"Standard output is closed."),
        ("report . --exit-code 2>&-", "", 1, b""),
        ("report . --exit-code", "> /dev/full", 4, b"Standard output could not be written: No space left on device."),
        ("--help", "> /dev/full", 4, b"Standard output could not be written: No space left on device."),
    ],
)
def test_what_stands_behind_stdout(folder: Path, arguments: str, output: str, exit_code: int, said: bytes) -> None:
    if output == "> /dev/full" and not Path("/dev/full").exists():
        pytest.skip("needs Linux's full device")
    code, _, errors = start(folder, arguments, output)

    assert code == exit_code
    assert (errors == b"") == (said == b"")
    assert said in errors
    assert b"Traceback" not in errors
    assert b"Exception ignored" not in errors


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["PYTHONIOENCODING", "LC_ALL"],
)
@pytest.mark.parametrize(("arguments", "said"), [("run -h", b"Exit codes: 0 fine"), ("report .", b"FAIL  SCALED")])
def test_a_terminal_that_knows_ascii_alone(
    folder: Path, environment: dict[str, str], arguments: str, said: bytes
) -> None:
    code, shown, errors = start(folder, arguments, "", **environment)

    assert (code, errors) == (0, b"")
    assert shown.isascii()
    assert said in shown


def broken_pipe() -> BrokenPipeError:
    return BrokenPipeError(errno.EPIPE, "Broken pipe")


def raises(error: BaseException) -> Callable[[], None]:
    def planted() -> None:
        """Do nothing but this."""
        raise error

    return planted


def argparse_ends() -> None:
    """End as a script does whose arguments are wrong."""
    argparse.ArgumentParser().exit(0)


def end_of(monkeypatch: pytest.MonkeyPatch, command: Callable[[], None]) -> int:
    monkeypatch.setattr(env, "env", command)
    with pytest.raises(SystemExit) as caught:
        main(["env"])
    assert isinstance(caught.value.code, int)
    return caught.value.code


HERE = Path(__file__).name
OURS = "gacheck is at fault"
THEIRS = "Code that gacheck ran ended the process"


@pytest.mark.parametrize(
    ("command", "exit_code", "said"),
    [
        (raises(typer.Exit(1)), 1, ()),
        (raises(typer.Exit()), 0, ()),
        (raises(KeyboardInterrupt()), 130, ()),
        (raises(typer.Abort()), 130, ()),
        (raises(ResourceError("It is full.", why="x", fix="y")), 4, ("It is full.",)),
        (raises(typer.BadParameter("not so")), 2, ("not so", "gacheck env --help")),
        (raises(ValueError("odd")), 4, ("ValueError: odd", HERE, OURS, "gacheck env", "--traceback")),
        (raises(ValueError("a\n  b" + "c" * 10_000)), 4, ("ValueError: a bccc", HERE, OURS)),
        (raises(broken_pipe()), 4, ("BrokenPipeError", HERE, OURS)),
        (raises(GeneratorExit()), 4, ("GeneratorExit", HERE, OURS)),
        (raises(MemoryError()), 4, ("Memory ran out", HERE)),
        (raises(SystemExit(0)), 2, ("sys.exit(0)", HERE, THEIRS)),
        (raises(SystemExit(1)), 2, ("sys.exit(1)", HERE, THEIRS)),
        (raises(SystemExit("bye")), 2, ("sys.exit('bye')", HERE, THEIRS)),
        (argparse_ends, 2, ("sys.exit(0)", HERE, THEIRS)),
    ],
)
def test_every_end_has_its_code_and_its_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[], None],
    exit_code: int,
    said: tuple[str, ...],
) -> None:
    assert end_of(monkeypatch, command) == exit_code
    shown = capsys.readouterr()
    assert [part for part in said if part not in shown.err] == []
    assert [line[:7] for line in shown.err.splitlines()] == (["gacheck", "  why  ", "  do   "] if said else [])
    assert len(shown.err) < 1500
    assert shown.out == ""


def test_the_traceback_is_there_for_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GACHECK_TRACEBACK", "1")

    assert end_of(monkeypatch, raises(ValueError("odd"))) == 4
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):")
    assert "raise error" in shown
    assert OURS in shown


def test_what_others_printed_fails_while_there_is_someone_to_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full:
        encoding, closed = "utf-8", False

        def write(self, text: str) -> int:
            return len(text)

        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def fileno(self) -> int:
            raise ValueError("none")

    monkeypatch.setattr(sys, "stdout", Full())

    assert end_of(monkeypatch, lambda: print("from a library")) == 4
    assert "No space left on device" in capsys.readouterr().err
