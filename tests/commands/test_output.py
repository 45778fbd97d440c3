"""What a stream is asked before a text is laid out for it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from gacheck.commands.output import view_of
from gacheck.reporters.reporter import View


class Stream(io.StringIO):
    """A stream of which it is known what it is."""

    def __init__(self, encoding: str, terminal: bool) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("encoding", "terminal", "environment", "expected"),
    [
        ("utf-8", False, {}, View(80, False, False)),
        ("utf-8", True, {}, View(80, True, False)),
        ("UTF8", True, {"TERM": "xterm"}, View(80, True, False)),
        ("utf-8", True, {"TERM": "dumb"}, View(80, False, False)),
        ("utf-8", True, {"NO_COLOR": "1"}, View(80, False, False)),
        ("utf-8", True, {"NO_COLOR": ""}, View(80, True, False)),
        ("utf-8", False, {"FORCE_COLOR": "1"}, View(80, True, False)),
        ("utf-8", True, {"FORCE_COLOR": "1", "TERM": "dumb"}, View(80, True, False)),
        ("utf-8", False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, View(80, False, False)),
        ("utf-8", False, {"COLUMNS": "60"}, View(60, False, False)),
        ("utf-8", True, {"COLUMNS": "0"}, View(80, True, False)),
        ("utf-8", True, {"COLUMNS": "wide"}, View(80, True, False)),
        ("ascii", False, {}, View(80, False, True)),
        ("latin-1", True, {}, View(80, True, True)),
    ],
)
def test_a_stream_and_the_environment_say_what_can_be_shown(
    monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool, environment: dict[str, str], expected: View
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert view_of(Stream(encoding, terminal)) == expected


def test_a_file_has_no_width_and_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert View() == view_of(None) == View(80, False, False)


def test_the_width_is_that_of_the_terminal_that_is_written_to() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 63, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        assert view_of(stream) == View(63, True, False)
    os.close(ours)
