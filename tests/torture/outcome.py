"""What an attack came to, and what no attack may bring about."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gacheck.cli import main

FINE = frozenset({0, 1, 2, 3, 4})
"""Exit codes that a command may end with."""
OURS = "gacheck is at fault"
"""What an error of gacheck's own says."""


@dataclass
class Outcome:
    """How often an attack was tried, and what did not survive it.

    Attributes:
        tried: How often.
        failures: What happened where it should not have, in words.
        how: What was used, where that depends on the machine.
    """

    tried: int = 0
    failures: list[str] = field(default_factory=list)
    how: str = ""

    @property
    def survived(self) -> int:
        """How often nothing happened that should not."""
        return self.tried - len(self.failures)

    def note(self, what: str, *problems: str) -> None:
        """Count one try."""
        self.tried += 1
        found = [each for each in problems if each]
        if found:
            self.failures.append(f"{what[:300]}: {'; '.join(found)[:700]}")

    @contextlib.contextmanager
    def one(self, what: str) -> Iterator[list[str]]:
        """Count what happens in the block as one try; what is put into the list is a problem, as is an exception."""
        problems: list[str] = []
        try:
            yield problems
        except Exception as error:  # whatever gets through is what is looked for
            problems.append(f"{type(error).__name__}: {error}")
        self.note(what, *problems)


Attack = Callable[[int, Path], Outcome]


class _Text(io.TextIOWrapper):
    """Text that can be read after something was printed on it."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="\n")

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined, no-any-return]


def gacheck(*arguments: str) -> tuple[int | str, str, str]:
    """Run the program within this process.

    Returns:
        Exit code, or the name of an exception that came through; stdout; stderr.
    """
    out, err = _Text(), _Text()
    code: int | str
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, (int, str)) else 0
        except BaseException as error:
            code = repr(error)
        else:
            code = "it did not exit"
    return code, out.text(), err.text()


def problem_of(code: int | str, said: str) -> str:
    """Say what is wrong about how a command ended; nothing where it ended as it should."""
    if code not in FINE:
        return f"ended with {code!r}: {said[-300:]}"
    if "Traceback (most recent call last)" in said:
        return f"a traceback: {said[-300:]}"
    return f"a fault of its own: {said[-500:]}" if OURS in said else ""
