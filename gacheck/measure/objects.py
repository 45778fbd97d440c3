"""Classes and functions of the user's own, by name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import transformers

from gacheck.errors import ModelError


def import_object(path: str) -> Any:
    """Import `pkg.mod:name`, also from the working folder.

    Raises:
        ModelError: There is no such module or class.
    """
    module_name, _, class_name = path.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # the module is the user's: it may raise anything while it is imported
        raise ModelError(
            f"{path} cannot be imported: {type(error).__name__}: {error}",
            why="Classes and functions of your own are named as package.module:name.",
            fix="check the spelling, and that the module is installed or in the working folder",
        ) from error


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
