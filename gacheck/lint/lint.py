"""The door to this package: names → what was read of their classes."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gacheck.lint.answer import read_class
from gacheck.lint.finding import LintReport
from gacheck.lint.reader import Reader
from gacheck.lint.selecting import select
from gacheck.lint.sources import Library
from gacheck.lint.trainer import read_trainer


def lint(names: Sequence[str] = (), root: Path | None = None) -> LintReport:
    """Read classes.

    Args:
        names: Classes, model types, patterns of class names, files, or `file.py:Class`; none means every class of
            transformers that takes labels.
        root: The folder of transformers; by default that of the installed one.

    Raises:
        ConfigError: A name means nothing, or its file cannot be read.
        PackageError: transformers is not installed, and is asked about.
    """
    with _without_collection():
        library = Library(root)
        reader, trainer = Reader(library), read_trainer(library)
        findings = (read_class(reader, made, trainer) for made in select(reader, names))
        report = LintReport(library.version, tuple(sorted(findings, key=lambda each: each.class_name.lower())))
        reader.close()
        return report


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep Python from looking for garbage in syntax trees, of which all is used: it takes most of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
