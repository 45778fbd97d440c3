"""Text for a terminal: harmless characters, colours, wrapping by columns, numbers of even width."""

from __future__ import annotations

import math

from rich.cells import cell_len, chop_cells

from gacheck.rules.table import Severity

NOT_MEASURED = "–"

_ASCII = str.maketrans({"█": "#", "░": ".", "·": "-", "−": "-", "–": "-", "×": "x", "…": "~", "→": "->"})

HEADS: dict[Severity, str] = {"fail": "FAIL", "warn": "WARN", "ok": "OK", "inconclusive": "?"}
_COLORS: dict[Severity, str] = {"fail": "31", "warn": "33", "ok": "32", "inconclusive": "36"}


def paint(line: str, severity: Severity) -> str:
    """Colour the word with which a line begins."""
    return paint_word(line, HEADS[severity], severity)


def paint_word(line: str, word: str, severity: Severity) -> str:
    """Colour a word of its own with which a line begins, as a severity is."""
    return f"\x1b[1;{_COLORS[severity]}m{word}\x1b[0m{line.removeprefix(word)}"


def clean(text: str) -> str:
    """Show what is not printable as an escape.

    Model names and error messages come from outside: an ESC would reach the terminal's own commands, a newline
    or a right-to-left mark would forge a line of the verdict.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def ascii_only(text: str) -> str:
    """Spell the text in ASCII, for terminals and logs that know nothing else."""
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def shorten(text: str, columns: int) -> str:
    """Cut a text to so many columns; the whole of it is in the JSON."""
    return text if cell_len(text) <= columns else chop_cells(text, columns - 1)[0].rstrip() + "…"


def wrap(text: str, first: str, width: int, *, indent: int | None = None, whole_words: bool = False) -> list[str]:
    """Wrap `text` after the label `first`, all later lines indented below its end.

    Args:
        indent: Columns before later lines; by default as many as `first` takes.
        whole_words: Never break a word, even if it is too long: a path must stay copyable.
    """
    hang = " " * (cell_len(first) if indent is None else indent)
    lines, line, is_empty = [], first, True
    for word in _words(text, width - max(cell_len(first), len(hang)), whole_words=whole_words):
        candidate = line + word if is_empty else f"{line} {word}"
        if cell_len(candidate) > width and not is_empty:
            lines.append(line.rstrip())
            candidate = hang + word
        line, is_empty = candidate, False
    return [*lines, line.rstrip()]


def _words(text: str, room: int, *, whole_words: bool) -> list[str]:
    words = text.split(" ")
    if whole_words:
        return words
    return [piece for word in words for piece in (chop_cells(word, room) if cell_len(word) > room else [word])]


def figure(value: float | None) -> str:
    """Write a loss or a ratio: three decimals, or an exponent where those would say nothing."""
    if value is None:
        return NOT_MEASURED
    if not math.isfinite(value):
        return str(float(value))
    if value and not 5e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:.3f}"


def difference(value: float | None) -> str:
    """Write a difference with its sign; what rounds to nothing has none."""
    if value is None or not math.isfinite(value):
        return figure(value)
    if abs(value) < 5e-4:
        return "0.000"
    return f"{'+' if value > 0 else '−'}{figure(abs(value))}"


def duration(seconds: float) -> str:
    """Write a duration."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"
