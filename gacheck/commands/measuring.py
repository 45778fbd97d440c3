"""What every measuring command checks before it loads anything, and what it says where loading fails."""

from __future__ import annotations

import gc
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gacheck.commands.usage import typed_apart, write_as_list
from gacheck.config import ExperimentConfig
from gacheck.errors import GacheckError, PackageError, UsageError, one_line
from gacheck.frames import place_of
from gacheck.packages import is_here, missing_package
from gacheck.record.environment import installed_version
from gacheck.releases.index import OLDEST, WHY_NOT_OLDER

# Installed where there is none: the release that gacheck is developed with.
INSTALL = {"torch": "pip install torch==2.13.0", "transformers": 'pip install -U "transformers>=4.46"'}


def check_packages() -> None:
    """Refuse a missing torch and a transformers without the flag, before either is imported.

    Raises:
        PackageError: One is missing.
        UsageError: transformers is too old.
    """
    for name in ("torch", "transformers"):
        if not is_here(name):
            raise _not_installed(name)
    version = installed_version("transformers")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version or "")[:2])
    if version is not None and numbers < OLDEST:
        raise UsageError(
            f"transformers {version}: gacheck needs 4.46 or newer.",
            why=WHY_NOT_OLDER,
            fix=INSTALL["transformers"],
        )


def one_model(positional: str | None, option: str | None, command: str) -> str | None:
    """Return the model, which may be named with or without --model.

    Raises:
        UsageError: Both are there and differ, or what is taken for a model is a further value of a list.
    """
    if positional is None:
        return option
    apart = typed_apart(sys.argv)
    if apart is not None and positional.strip(",") in apart[1]:
        raise write_as_list(*apart, f"gacheck {command}")
    if option is not None and option != positional:
        raise UsageError(
            f"Two models are named: {positional}, and --model {option}.",
            why="A run is of one model.",
            fix=f"write  gacheck {command} {positional}  or  gacheck {command} {option}",
        )
    return positional


def check_model_name(config: ExperimentConfig) -> None:
    """Refuse a model that cannot be had by its name alone, before anything is loaded.

    Raises:
        ModelError: There is none of that name.
        ConfigError: An option does not go with it.
    """
    from gacheck.measure.models.naming import check_name

    check_name(config)


@contextmanager
def loading() -> Iterator[None]:
    """Import torch, transformers and other libraries within the block; say in words why one cannot be.

    Raises:
        PackageError: One is missing or broken.
    """
    try:
        with _uncollected():
            yield
    except (GacheckError, KeyboardInterrupt):
        raise
    except Exception as error:  # a library that is broken raises what it likes
        raise _not_importable(error) from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep what is imported in the block out of the garbage collector's way.

    A sixth of the time to import the Trainer is spent on looking for garbage, of which there is none; and each training
    that it begins looks through all that the libraries hold once more.
    """
    was_on, is_first = gc.isenabled(), "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if is_first:  # what is made later in a process that goes on can become garbage
            gc.freeze()
        if was_on:
            gc.enable()


def _not_installed(name: str) -> PackageError:
    return PackageError(
        f"{name} is not installed.",
        why="The passes are trainings under transformers' own Trainer, with torch.",
        fix=INSTALL.get(name, f"pip install {name}"),
    )


def _not_importable(error: Exception) -> Exception:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "gacheck":
        return error
    missing = missing_package(error)
    if missing is not None:
        return _not_installed(missing)
    name = _imported(error) or "a library"
    return PackageError(
        f"{name} cannot be imported: {type(error).__name__}: {one_line(error)}{place_of(error)}.",
        why="It is installed, but damaged or made for another version of something that it needs.",
        fix=f"pip install --force-reinstall {name}, or make a new environment;  python -c 'import {name}'  shows more",
    )


def _imported(error: Exception) -> str | None:
    """Return the library that gacheck was importing: the outermost in the traceback that is neither of the two."""
    roots = (_root(frame.f_globals) for frame, _ in traceback.walk_tb(error.__traceback__))
    found = next((root for root in roots if root and root not in ("gacheck", "importlib", "contextlib")), None)
    named = getattr(error, "name", None)
    return found or (str(named).partition(".")[0] if named else None)


def _root(names: dict[str, Any]) -> str:
    return str(names.get("__name__") or "").partition(".")[0]
