"""Runs at the start of every Python process of an attached training; does nothing until transformers' Trainer comes.

It takes its folder off the path, lets the `sitecustomize` that it stands before run as if nothing were, and waits for
`transformers.trainer` to be imported. Whatever goes wrong in here stays in here: the training runs all the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

# What to do, by the environment, which reaches every process that a launcher starts.
FACTS_FOLDER = "GACHECK_ATTACH_FOLDER"  # where the facts go
NUM_STEPS = "GACHECK_ATTACH_STEPS"  # how many optimizer steps to observe
STOP = "GACHECK_ATTACH_STOP"  # not empty: end the training once they are

# The file in that folder that has a line for every training that was not watched, since one like it was.
ALIKE = "alike"

FOLDER = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(os.path.dirname(FOLDER))
TRAINER_MODULE = "transformers.trainer"


class Finder:
    """Finds gacheck where it lies, without its neighbours, and sees transformers' Trainer come."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return gacheck's own spec, the Trainer's with a hook in it, and for all else None: not mine."""
        if name == "gacheck":
            start = os.path.join(PACKAGE, "__init__.py")
            return importlib.util.spec_from_file_location(name, start, submodule_search_locations=[PACKAGE])
        if name != TRAINER_MODULE:
            return None
        spec = _others_find(name, path, target)
        if spec is not None and spec.loader is not None:
            _hook(spec.loader)
        return spec


def _others_find(name: str, path: Any, target: Any) -> Any:
    for finder in sys.meta_path:
        if isinstance(finder, Finder) or not hasattr(finder, "find_spec"):
            continue
        spec = finder.find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


def _hook(loader: Any) -> None:
    """Let the Trainer's class be watched once its module has been executed."""
    execute = loader.exec_module

    def execute_and_watch(module: Any) -> None:
        execute(module)
        try:
            importlib.import_module("gacheck.watch.hook").watch_class(module.Trainer)
        except Exception as error:
            _note("trouble", f"{type(error).__name__}: {error}")

    loader.exec_module = execute_and_watch


def _note(name: str, text: str = "") -> None:
    """Leave a word for the command that waits for the training."""
    try:
        with open(os.path.join(os.environ[FACTS_FOLDER], name), "a", encoding="utf-8") as file:
            file.write(text)
    except Exception:
        pass


def _chain() -> None:
    """Run the `sitecustomize` that this one stands before; its errors are its own."""
    ours = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)


if __name__ == "sitecustomize":
    sys.path[:] = [entry for entry in sys.path if entry != FOLDER]
    if FACTS_FOLDER in os.environ:
        _note("python")
        sys.meta_path.insert(0, Finder())
    _chain()
