"""The user's own code: found by name, and whatever it raises said in words."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from gacheck.errors import GacheckError, ModelError, one_line, place_of

TAKE_OUT = 'take the call out, or put it below  if __name__ == "__main__":'
"""What to do about code that ends the program."""


@contextmanager
def failures_as(explain: Callable[[BaseException], GacheckError]) -> Iterator[None]:
    """Turn whatever is raised into an error for people, also what is to end the program; let interruptions through.

    Args:
        explain: Makes the error; those that are for people already pass as they are.
    """
    try:
        yield
    except (GacheckError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise explain(error) from error


def what_happened(error: BaseException) -> str:
    """Say on one line what was raised, and where, if that was in code of the user's own."""
    place = place_of(error, of_user=True)
    if isinstance(error, SystemExit):
        return f"it called {exit_call(error)}{place}"
    kind, message = type(error).__name__, one_line(error)
    return f"{kind if message == kind else f'{kind}: {message}'}{place}"


def exit_call(error: SystemExit) -> str:
    """Return the call that raised it."""
    return one_line(f"sys.exit({'' if error.code is None else repr(error.code)})")


def import_object(path: str) -> Any:
    """Import `pkg.mod:name`, also from the working folder.

    Raises:
        ModelError: There is no such module or class, or the module ends the program when it is imported.
    """
    module_name, _, class_name = path.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))

    def explain(error: BaseException) -> ModelError:
        return ModelError(
            f"{path} cannot be imported: {what_happened(error)}",
            why="Classes and functions of your own are named as package.module:name.",
            fix=TAKE_OUT
            if isinstance(error, SystemExit)
            else "check the spelling, and that the module is installed or in the working folder",
        )

    with failures_as(explain):
        return getattr(importlib.import_module(module_name), class_name)


def import_trainer(path: str) -> Any:
    """Import a subclass of the Trainer.

    Raises:
        ModelError: There is no such module or class, or it is another kind of class.
    """
    found = import_object(path)
    if isinstance(found, type) and issubclass(found, transformers.Trainer):
        return found
    raise ModelError(
        f"{path} is no subclass of transformers.Trainer.",
        why="The passes are trainings under it.",
        fix="name a class that derives from transformers.Trainer",
    )
