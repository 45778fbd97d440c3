"""Errors that a person is meant to read.

Each says what happened, why it matters and what to do next; `cli.py` prints them without a traceback
and ends with the class's exit code.

    GacheckError                  4   could not run
    ├── UsageError                2   usage, configuration or input
    │   ├── ConfigError           2   an option or a YAML key
    │   ├── ModelError            2   a model or tokenizer that cannot be had
    │   ├── DataError             2   text that cannot be read, or too little of it
    │   ├── RecordError           2   a record that is missing, damaged, foreign or newer
    │   ├── PackageError          2   a package that is missing or broken
    │   └── UserCodeError         2   code of the user's own that raised something
    │       └── EndedError        2   or ended the process
    ├── ResourceError             4   memory, disk or download
    ├── CrashError                4   a fault of gacheck's own
    ├── NothingSeenError          3   a training of which nothing was seen
    └── FaultError                1   a verdict that is to stop a training or a test
"""

from __future__ import annotations

from collections.abc import Iterator

from gacheck.redaction import LONGEST_SECRET, redacted_text

MOST_CHARACTERS = 2000
"""Of a sentence of an error: a name or a library's message in it can have any length."""


def _cut(text: str) -> str:
    """Leave out the middle of a sentence that nobody would read to its end."""
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} … {text[-half:]}"


class GacheckError(Exception):
    """Base of all errors that are reported without a traceback.

    Args:
        what: What happened, one sentence.
        why: Why it matters, or what it follows from.
        fix: What to do next.
    """

    exit_code: int = 4

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(_cut(what))
        self.what, self.why, self.fix = map(_cut, (what, why, fix))

    def __str__(self) -> str:
        return f"{self.what}\n  why  {self.why}\n  do   {self.fix}"


class UsageError(GacheckError):
    """The command cannot be carried out as given."""

    exit_code = 2


class ConfigError(UsageError):
    """An option or a YAML key is unknown, out of range or contradicts another."""


class ModelError(UsageError):
    """A model or its tokenizer cannot be had."""


class DataError(UsageError):
    """Text cannot be read, or is too little for the plan."""


class RecordError(UsageError):
    """A record is missing, damaged, foreign or written by a newer gacheck."""


class PackageError(UsageError):
    """A package that is needed is not installed, or cannot be imported."""


class UserCodeError(UsageError):
    """Code of the user's own raised something."""


class EndedError(UserCodeError):
    """Code of the user's own ended the process, as sys.exit does, before there was a verdict."""


class ResourceError(GacheckError):
    """Memory, disk or network gave out; nothing is wrong with the request."""


class CrashError(GacheckError):
    """A fault of gacheck's own: something was raised that nobody expected."""


class NothingSeenError(GacheckError):
    """Nothing was seen of a training that was to be watched."""

    exit_code = 3


class FaultError(GacheckError):
    """A training normalises its loss wrongly, or nothing can be said of it, and was to stop then.

    Args:
        what: As of every error.
        why: As of every error.
        fix: As of every error.
        line: The verdict on one line, what counts first.
        verdict: The whole verdict as the terminal shows it.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str, fix: str, line: str = "", verdict: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.line = line
        self.verdict = verdict

    def __str__(self) -> str:
        return self.verdict or super().__str__()


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """Return a message on one line of at most `limit` characters, without secrets; without one, its type's name."""
    # Before it is cut: half a secret is one too.
    message = redacted_text(" ".join(str(error).split())[: limit + LONGEST_SECRET])[:limit]
    return message or (type(error).__name__ if isinstance(error, BaseException) else "")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
