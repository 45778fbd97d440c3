"""A command as it can be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from gacheck.record.command import repeating
from gacheck.record.kinds import AnyTrainingRecord


def repeat_line(record: AnyTrainingRecord) -> tuple[str, str]:
    """Return what repeats a measurement, and in which language: `sh` or `python`."""
    repeated = repeating(record)
    return ("python", repeated) if isinstance(repeated, str) else ("sh", shell_line(repeated))


def shell_line(command: Sequence[str], *, ascii: bool = False) -> str:
    """Quote the words of a command for a shell, on one line.

    Args:
        command: The words.
        ascii: Spell what is not ASCII as escapes, for logs that know nothing else.
    """
    return " ".join(_quote(word, ascii=ascii) for word in command)


def _quote(word: str, *, ascii: bool) -> str:
    """Quote for a shell; what is not printable as an escape in bash's $'…', so that it stays visible and exact."""
    if all(_is_plain(char, ascii=ascii) for char in word):
        return shlex.quote(word)
    return f"$'{''.join(_spell(char, ascii=ascii) for char in word)}'"


def _is_plain(char: str, *, ascii: bool) -> bool:
    return char.isprintable() and (char.isascii() or not ascii)


def _spell(char: str, *, ascii: bool) -> str:
    if char in "\\'":
        return f"\\{char}"
    return char if _is_plain(char, ascii=ascii) else _escape(char)


def _escape(char: str) -> str:
    code = ord(char)
    # Python's surrogates for bytes of an argument that are no UTF-8.
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
        return f"\\x{code:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
