"""`gacheck models`: which stand-ins there are."""

from __future__ import annotations

import difflib

import typer

from gacheck.commands.measuring import check_packages, loading
from gacheck.commands.output import require_stdout, write_out
from gacheck.config import STAND_IN_PREFIX
from gacheck.errors import ConfigError


def models(
    pattern: str | None = typer.Argument(None, metavar="TEXT", help="list those alone whose type or class contains it"),
) -> None:
    """List the types that tiny: takes: those of the installed transformers with a language model.

    Not every one can be made tiny: gacheck run says so where it cannot.

    Example: gacheck models gemma
    """
    require_stdout()
    check_packages()
    with loading():
        from gacheck.measure.models.building import language_model_types

    types = language_model_types()
    wanted = (pattern or "").lower().removeprefix(STAND_IN_PREFIX)
    found = {name: classes for name, classes in types.items() if wanted in f"{name} {classes}".lower()}
    if not found:
        close = difflib.get_close_matches(wanted, types, n=3)
        raise ConfigError(
            f"No type or class with a language model contains {pattern!r}.",
            why="The installed transformers knows none by that name.",
            fix=f"did you mean {' or '.join(close)}?" if close else "gacheck models  lists all of them",
        )
    longest = max(map(len, found))
    write_out("".join(f"{STAND_IN_PREFIX}{name:<{longest}}  {classes}\n" for name, classes in found.items()))
