"""What every command does with a result: exit codes, the screen, files and errors. Nothing else prints."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from gacheck.commands.ranks import is_first, rank
from gacheck.errors import GacheckError, ResourceError
from gacheck.record.writing import write_whole
from gacheck.reporters.reporter import MAX_WIDTH, View
from gacheck.reporters.text import clean

if TYPE_CHECKING:
    from gacheck.rules.table import Severity


def exit_code(severity: Severity, *, strict: bool = False, exit_zero: bool = False) -> int:
    """Return 0 for fine, 1 for a failing verdict, 3 for an inconclusive one."""
    if exit_zero:
        return 0
    return {"ok": 0, "warn": int(strict), "fail": 1, "inconclusive": 3}[severity]


def view_of(stream: TextIO | None, *, saved: str | None = None, verbose: bool = False) -> View:
    """Ask a stream, and the environment, what it can show; of none, what a file can.

    Args:
        stream: Where a text is to be printed.
        saved: What the text is to say of where the record lies.
        verbose: Whether it is to say all.
    """
    if stream is None or stream.closed:
        return View(saved=saved, verbose=verbose)
    return View(_width(stream), _shows_color(stream), not _speaks_unicode(stream), saved, verbose)


def _width(stream: TextIO) -> int:
    """Return the columns; COLUMNS goes first, as for `shutil.get_terminal_size`, which knows stdout alone."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    if not stream.isatty():
        return MAX_WIDTH
    try:
        return os.get_terminal_size(stream.fileno()).columns or MAX_WIDTH
    except (OSError, ValueError):
        return MAX_WIDTH  # a stand-in for a terminal, as in a notebook


def _shows_color(stream: TextIO) -> bool:
    """Decide as Python's own tools do: NO_COLOR before FORCE_COLOR before what the terminal is."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _speaks_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def write_out(content: str | bytes) -> None:
    """Print on stdout; bytes as they are, since an encoding or line ends of the terminal's would spoil them.

    A reader that went away is content with what it has: the rest is dropped without a word.

    Raises:
        ResourceError: stdout is closed, or the disk behind it is full.
    """
    require_stdout()
    try:
        _write(sys.stdout, content)
    except OSError as error:
        _drop(sys.stdout)
        if error.errno == errno.EPIPE:
            return
        raise ResourceError(
            f"Standard output could not be written: {error.strerror or error}.",
            why="The output is incomplete.",
            fix="free some space or send the output elsewhere; a run that was saved is shown by  gacheck report",
        ) from error


def write_err(text: str) -> None:
    """Print on stderr. If that fails there is nowhere left to say so."""
    if sys.stderr is None:
        return
    try:
        _write(sys.stderr, text)
    except (OSError, ValueError):
        _drop(sys.stderr)


def flush_out() -> None:
    """Bring out what others have printed, for the interpreter would fail at it with a code of its own.

    Raises:
        ResourceError: As for `write_out`.
    """
    if sys.stdout is not None:
        write_out("")


def require_stdout() -> None:
    """Refuse a closed stdout; what takes long asks before it begins.

    Raises:
        ResourceError: stdout is closed.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise ResourceError(
            "Standard output is closed.",
            why="The result would be printed there.",
            fix="leave out  >&-  or send the output to a file or to /dev/null",
        )


def _write(stream: TextIO, content: str | bytes) -> None:
    if isinstance(content, str):
        # What the encoding lacks is shown as an escape: half a verdict helps nobody.
        encoding = stream.encoding or "utf-8"
        stream.write(content.encode(encoding, "backslashreplace").decode(encoding))
    else:
        stream.flush()
        stream.buffer.write(content)
    stream.flush()


def _drop(stream: TextIO) -> None:
    """Send all that is still to come nowhere, also what waits in the buffers for the interpreter's end."""
    # A stand-in for a stream has no descriptor.
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
        stream.flush()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        ResourceError: The disk is full or the folder cannot be written.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise ResourceError(
            f"{path} could not be written: {error.strerror}.",
            why="The result is incomplete on disk.",
            fix="free some space or choose another folder",
        ) from error


def give_up(error: GacheckError) -> NoReturn:
    """Print an error and end the process, in whatever thread: the main one hangs."""
    show_error(error)
    os._exit(error.exit_code)


def show_error(error: GacheckError) -> None:
    """Print an error on stderr. It may quote names from outside: each of its three parts stays one harmless line."""
    name = "gacheck:" if is_first() else f"gacheck, rank {rank()}:"
    name = f"\x1b[1;31m{name}\x1b[0m" if view_of(sys.stderr).color else name
    write_err(f"{name} {clean(error.what)}\n  why  {clean(error.why)}\n  do   {clean(error.fix)}\n")
