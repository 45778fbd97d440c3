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
    task: str | None = typer.Option(
        None, "--task", metavar="TASK", help="list the classes of this task, such as token-classification, instead"
    ),
) -> None:
    """List the types that tiny: takes: those of the installed transformers with a language model.

    tiny: takes the name of a class with another head, too: --task lists those of one task. Not every one can be made
    tiny: gacheck run says so where it cannot.

    Example: gacheck models gemma
    """
    require_stdout()
    check_packages()
    with loading():
        from gacheck.measure.heads.tasks import class_names
        from gacheck.measure.models.building import check_task, language_model_types

    if task is not None:
        check_task(task)
    known = language_model_types() if task is None else dict.fromkeys(class_names(task), task)
    wanted = (pattern or "").lower().removeprefix(STAND_IN_PREFIX)
    found = {name: more for name, more in known.items() if wanted in f"{name} {more}".lower()}
    if not found:
        close = difflib.get_close_matches(wanted, known, n=3)
        raise ConfigError(
            f"No type or class {'with a language model' if task is None else f'of {task}'} contains {pattern!r}.",
            why="The installed transformers knows none by that name.",
            fix=f"did you mean {' or '.join(close)}?" if close else "gacheck models  lists all of them",
        )
    longest = max(map(len, found))
    write_out("".join(f"{STAND_IN_PREFIX}{name:<{longest}}  {more}\n" for name, more in found.items()))
