"""Which classes of the installed transformers take labels: read from their source, since to import all takes long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import transformers

from gacheck.measure.heads.tasks import WITHOUT_LABELS, auto_classes, class_names, takes_labels, task_of

_CLASS = re.compile(r"^class (\w+)(?:\(([^)]*)\))?:", re.MULTILINE)
_FORWARD = re.compile(r"^    def forward\((.*?)\)(?: ->[^:]*)?:\n", re.MULTILINE | re.DOTALL)
_ARGUMENT = re.compile(r"(?:^|,)\s*(\*{0,2}\w+)", re.MULTILINE)
_LOSS = re.compile(r"\bloss\w*(:[^=\n]*)?\s*=|loss_function\(")


@dataclass(frozen=True)
class _Class:
    """A class as its source says it.

    Attributes:
        bases: Names of what it derives from.
        arguments: Of its forward, `**kwargs` among them; None where it inherits one.
        has_loss: Whether its code sets a loss.
    """

    bases: tuple[str, ...]
    arguments: frozenset[str] | None
    has_loss: bool


@cache
def head_classes() -> dict[str, str]:
    """Return the classes that take labels, or whose loss needs none, each with its task, in order.

    The task is empty where no auto class makes it. What no auto class makes counts where its code sets a loss: the
    inside of a model may be handed labels that it only looks at.
    """
    made = {name for task in auto_classes() for name in class_names(task)}
    found: dict[str, str] = {}
    for name in sorted(set(dir(transformers)) & set(_classes())):
        task = task_of(name)
        lineage = list(_lineage(name))
        labelled = takes_labels(_forward_arguments(lineage)) or task in WITHOUT_LABELS
        if labelled and (name in made or any(each.has_loss for each in lineage)):
            found[name] = task or ""
    return found


def _forward_arguments(lineage: list[_Class]) -> set[str]:
    """Return what a forward takes, or hands on to the one that it overrides."""
    names: set[str] = set()
    for arguments in (each.arguments for each in lineage if each.arguments is not None):
        names |= arguments
        if not any(name.startswith("**") for name in arguments):
            break
    return names


def _lineage(name: str) -> Iterator[_Class]:
    """Walk through a class and what it derives from, the nearest first."""
    found = _classes().get(name)
    if found is not None:
        yield found
        for base in found.bases:
            yield from _lineage(base)


@cache
def _classes() -> dict[str, _Class]:
    """Read the classes of all models, and of what they share."""
    root = Path(transformers.__file__).parent
    files = (root / "modeling_layers.py", *sorted(root.glob("models/**/modeling_*.py")))
    return {name: each for file in files if file.is_file() for name, each in _read(file.read_text("utf-8"))}


def _read(source: str) -> Iterator[tuple[str, _Class]]:
    starts = list(_CLASS.finditer(source))
    for start, end in zip(starts, [*(each.start() for each in starts[1:]), len(source)], strict=True):
        code = source[start.end() : end]
        forward = _FORWARD.search(code)
        arguments = None if forward is None else frozenset(_ARGUMENT.findall(forward[1]))
        bases = tuple(re.findall(r"[\w.]+", start[2] or ""))
        yield start[1], _Class(bases, arguments, _LOSS.search(code) is not None)
