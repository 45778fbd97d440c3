"""What every command does with a result: exit codes, files and errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from gacheck.errors import GacheckError, ResourceError
from gacheck.reporters.text import clean
from gacheck.rules.table import Severity


def exit_code(severity: Severity, *, strict: bool = False, exit_zero: bool = False) -> int:
    """Return 0 for fine, 1 for a failing verdict, 3 for an inconclusive one."""
    if exit_zero:
        return 0
    return {"ok": 0, "warn": int(strict), "fail": 1, "inconclusive": 3}[severity]


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        ResourceError: The disk is full or the folder cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ResourceError(
            f"{path} could not be written: {error.strerror}.",
            why="The result is incomplete on disk.",
            fix="free some space or choose another folder",
        ) from error


def speaks_unicode(stream: TextIO) -> bool:
    """Whether a stream can show bars and signs."""
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def show_error(error: GacheckError) -> None:
    """Print an error on stderr. It may quote names from outside: each of its three parts stays one harmless line."""
    print(f"gacheck: {clean(error.what)}", file=sys.stderr)
    print(f"  why  {clean(error.why)}\n  do   {clean(error.fix)}", file=sys.stderr)
