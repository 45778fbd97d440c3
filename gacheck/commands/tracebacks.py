"""Tracebacks, for who asks: by --traceback, before or after the command, or by GACHECK_TRACEBACK=1."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from gacheck.commands.output import write_err
from gacheck.errors import GacheckError
from gacheck.frames import LOG

VARIABLE = "GACHECK_TRACEBACK"
OPTION = "--traceback"
HELP = "show the traceback of an error whole"


class _Tracebacks(logging.Handler):
    """Prints the tracebacks of errors that become part of a record: the program itself goes on after them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one on stderr."""
        if record.exc_info and record.exc_info[1] is not None:
            show(record.exc_info[1])


_HANDLER = _Tracebacks(logging.DEBUG)


@contextmanager
def on_request() -> Iterator[None]:
    """Show tracebacks within the block once they are asked for, and then no more."""
    level = LOG.level
    _ask(os.environ.get(VARIABLE, "0") not in ("", "0"))
    try:
        yield
    finally:
        LOG.removeHandler(_HANDLER)
        LOG.setLevel(level)


def are_asked_for() -> bool:
    """Whether tracebacks are to be shown."""
    return _HANDLER in LOG.handlers


def show(error: BaseException) -> None:
    """Print the traceback on stderr, with those of the errors that it came from; of one in our words the cause's."""
    known = isinstance(error, GacheckError) and error.__cause__ is not None
    write_err("".join(traceback.format_exception(error.__cause__ if known else error)))


def option() -> Any:
    """Declare the option, for a command or for the program."""
    return typer.Option(False, OPTION, callback=_ask, is_eager=True, help=HELP)


def with_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option, which works by being there."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def called(*args: Any, traceback: bool = False, **kwargs: Any) -> Any:
        return command(*args, **kwargs)

    parameter = inspect.Parameter("traceback", inspect.Parameter.KEYWORD_ONLY, default=option(), annotation=bool)
    parameters = [*signature.parameters.values(), parameter]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _ask(wanted: bool) -> None:
    if wanted and not are_asked_for():
        LOG.addHandler(_HANDLER)
        LOG.setLevel(logging.DEBUG)
