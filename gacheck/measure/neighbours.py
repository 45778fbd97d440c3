"""Modules that lie in the working folder: found first while the user's own code is imported, and last from then on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class _Neighbours(MetaPathFinder):
    """Finds a module in a folder where nobody else has found it, as code does that imports something when it is called.

    A folder without `__init__.py` is none: one that a program writes its logs to would pass for an installed package.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a top-level module lies; None where it lies elsewhere."""
        spec = PathFinder.find_spec(fullname, [self.folder], target) if path is None else None
        return spec if spec is not None and spec.origin is not None else None


@contextmanager
def working_folder_first() -> Iterator[None]:
    """Within the block, import from the working folder before anything else; afterwards what nothing else is called."""
    folder = str(Path.cwd())
    if "" in sys.path or folder in sys.path:  # as who started the program has it
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the code may have taken it out
            sys.path.remove(folder)
        if not any(isinstance(each, _Neighbours) and each.folder == folder for each in sys.meta_path):
            sys.meta_path.append(_Neighbours(folder))
