"""The real program on a real terminal: colour where there is one, whole words where it is narrow."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from gacheck.record.journal import save_record
from tests.reporters.cases import RECORDS

COLOR = re.compile(r"\x1b\[[0-9;]*m")
UNSET = ("COLUMNS", "NO_COLOR", "FORCE_COLOR")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return {**kept, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **more}


def on_terminal(*arguments: str, columns: int = 80, **variables: str) -> str:
    """Run the program with a terminal for all its streams, and return what came out there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "gacheck", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**variables),
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    process.wait(timeout=60)
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    save_record(RECORDS["scaled"], folder)
    return str(folder)


def test_a_terminal_has_colour(run: str) -> None:
    shown = on_terminal("report", run)

    assert "\x1b[1;31mFAIL\x1b[0m  SCALED_BY_ACCUMULATION" in shown


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(run: str, variables: dict[str, str]) -> None:
    shown = on_terminal("report", run, **variables)

    assert "FAIL  SCALED_BY_ACCUMULATION" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(("variables", "colored"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_a_pipe_has_colour_where_it_is_forced_alone(run: str, variables: dict[str, str], colored: bool) -> None:
    command = [sys.executable, "-m", "gacheck", "report", run]
    done = subprocess.run(command, capture_output=True, env=environment(**variables), check=True)

    assert ("\x1b[1;31mFAIL" in done.stdout.decode()) is colored


@pytest.mark.parametrize("arguments", [("report", "RUN"), ("explain", "SCALED_BY_ACCUMULATION"), ("run", "--help")])
def test_at_60_columns_words_are_whole(run: str, arguments: tuple[str, ...]) -> None:
    typed = [run if each == "RUN" else each for each in arguments]
    narrow, wide = (COLOR.sub("", on_terminal(*typed, columns=columns)) for columns in (60, 80))
    if arguments[0] == "explain":
        narrow, wide = (shown.split("Gemma3, transformers")[0] for shown in (narrow, wide))  # then comes an output
    lines = [line for line in narrow.splitlines() if run not in line]

    assert [line for line in lines if len(line) > 60] == []
    assert {word for word in narrow.split() if not set(word) <= set("█░")} <= set(wide.split())


def test_the_whole_width_is_used_up_to_80_columns(run: str) -> None:
    widths = {columns: max(map(len, on_terminal("report", run, columns=columns).splitlines())) for columns in (70, 200)}

    assert 60 < widths[70] <= 70 < widths[200] <= 80 + len("\x1b[1;31m\x1b[0m") + len(run)


def test_an_error_is_shown_in_colour_too() -> None:
    shown = on_terminal("explain", "NO_SUCH_CODE")

    assert shown.startswith("\x1b[1;31mgacheck:\x1b[0m There is no verdict code")
