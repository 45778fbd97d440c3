"""What was read of one class: whether the count reaches its loss, and what the Trainer takes it for."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from gacheck.lint.calls import Arguments, is_label
from gacheck.lint.classes import ClassSource, Method, parameters
from gacheck.lint.objects import Function, Instance
from gacheck.lint.reader import Reader
from gacheck.lint.sources import PACKAGE
from gacheck.lint.trainer import TrainerSource
from gacheck.lint.values import (
    COUNT,
    OTHER,
    Bag,
    Const,
    Count,
    Foreign,
    Items,
    Labels,
    Loss,
    Output,
    Tensor,
    Use,
    Value,
    added,
    combine,
    tensors_in,
)
from gacheck.rules.facts import CodeLocation

Answer = Literal["reaches", "dropped", "unknown"]
Effect = Literal["fine", "affected", "mean_of_means", "unknown"]

LABELS = "labels"
"""What the Trainer counts; labels of other names it does not."""

# Of the losses that a problem's type chooses between, the one whose mean the count is for.
_COUNTED = "crossentropy"


@dataclass(frozen=True)
class Finding:
    """What was read of a class.

    Attributes:
        class_name: Its name.
        model_type: The folder of transformers in which it stands; None for the user's own.
        file: In which it stands.
        answer: Whether the count gets into the loss.
        trail: The lines from forward's to the one that uses the count, or that computes the loss without it.
        why: What is open, or how the count is lost.
        apart: Lines of other losses that are computed without the count, for other kinds of labels.
        declared: What `accepts_loss_kwargs` says; None where the class says nothing, or nothing that can be read.
        takes_kwargs: Whether forward takes `**kwargs`.
        flag: What the Trainer sets by default; None where that cannot be read.
    """

    class_name: str
    model_type: str | None
    file: str
    answer: Answer
    trail: tuple[CodeLocation, ...] = ()
    why: str = ""
    apart: tuple[CodeLocation, ...] = ()
    declared: bool | None = None
    takes_kwargs: bool = False
    flag: bool | None = None

    @property
    def effect(self) -> Effect:
        """What a user gets who changes nothing."""
        if self.flag is None:
            return "unknown"
        if not self.flag:
            return "mean_of_means"
        effects: dict[Answer, Effect] = {"reaches": "fine", "dropped": "affected", "unknown": "unknown"}
        return effects[self.answer]

    @property
    def place(self) -> CodeLocation | None:
        """The first line of the model's own that has to do with it."""
        return self.trail[0] if self.trail else None


def takes_labels(made: ClassSource) -> bool:
    """Whether a class's forward, its own or one that it inherits, takes labels."""
    found = made.member("forward")
    return found is not None and isinstance(found[1], Method) and any(map(is_label, _names(found[1])))


def _names(node: Method) -> list[str]:
    return [each.arg for each in parameters(node)]


def read_class(reader: Reader, made: ClassSource, trainer: TrainerSource) -> Finding:
    """Read a class."""
    reader.begin()
    name = made.source.name
    inside = name.startswith(f"{PACKAGE}.models.")
    finding = Finding(made.name, name.split(".")[2] if inside else None, str(made.source.path), "unknown")
    found = made.member("forward")
    if found is None or not isinstance(found[1], Method):
        bases = ", ".join(made.foreign)
        return replace(finding, why=f"its forward is not in what was read{f' ({bases})' if bases else ''}")
    home, forward = found
    declared, is_read = _declared(reader, made)
    kwarg = forward.args.kwarg
    named = [*_names(forward), *([kwarg.arg] if kwarg is not None else [])]
    finding = replace(
        finding,
        declared=declared,
        takes_kwargs=kwarg is not None,
        flag=trainer.flag(declared, named, takes_kwargs=kwarg is not None) if is_read else None,
    )
    wrapper = _wrapped_by(reader, home, forward)
    if wrapper is not None:
        return replace(finding, why=f"{wrapper} wraps its forward, and is not read", flag=None)
    return _answered(reader, made, Function(forward, home.source, home, Instance(made)), finding)


def _declared(reader: Reader, made: ClassSource) -> tuple[bool | None, bool]:
    """Return what `accepts_loss_kwargs` says, and whether that could be read."""
    instance = Instance(made)
    is_there = made.member("accepts_loss_kwargs") is not None or any(made.set_on_self("accepts_loss_kwargs"))
    if not is_there:
        return None, not made.foreign
    value = reader.attribute(instance, "accepts_loss_kwargs")
    known = isinstance(value, Const) and isinstance(value.value, (bool, type(None)))
    return (bool(value.value), True) if isinstance(value, Const) and known else (None, False)


# Of other packages, those whose decorators hand arguments on as they are.
_HARMLESS = frozenset({"torch", "functools", "typing", "typing_extensions", PACKAGE})


def _wrapped_by(reader: Reader, home: ClassSource, forward: Method) -> str | None:
    """Return the decorator around a forward of which is not known what it hands on."""
    for each in forward.decorator_list:
        value = reader.evaluate_top(home.source, each.func if isinstance(each, ast.Call) else each)
        origin = value.name if isinstance(value, Foreign) else getattr(getattr(value, "source", None), "name", "")
        if origin.split(".")[0] not in _HARMLESS:
            return ast.unparse(each)
    return None


def _answered(reader: Reader, made: ClassSource, forward: Function, finding: Finding) -> Finding:
    """Read the forward as the Trainer calls it."""
    assert isinstance(forward.node, Method)
    arguments = forward.node.args
    names = _names(forward.node)
    labels = [name for name in names if is_label(name)]
    hands_all = not labels and arguments.kwarg is not None
    # Where there are `labels`, others may be missing.
    sure = [LABELS] if LABELS in labels or not labels else labels
    given: dict[str, Value | None] = dict.fromkeys(names, OTHER) | {name: Tensor(Labels.THESE) for name in sure}
    takes_count = arguments.kwarg is not None or COUNT in names
    given[COUNT] = Count() if takes_count else None
    if not labels and not hands_all:
        return replace(finding, why="its forward takes no labels")
    frame = reader.read(forward, Arguments((), Bag(given, open=True)))
    losses = [loss for value in frame.returned for loss in _losses(value)]
    if frame.raised and not frame.returned:
        return replace(finding, trail=frame.raised[0], why="its forward raises an error where it is given labels")
    here = (CodeLocation(str(forward.source.path), forward.node.lineno, forward.name),)
    if not takes_count:
        return replace(finding, answer="dropped", trail=_line(losses, here), why=f"its forward takes no {COUNT}")
    if labels and LABELS not in labels:
        why = f"the Trainer counts what is called {LABELS}, and its forward takes {', '.join(labels)}"
        return replace(finding, answer="dropped", trail=_line(losses, here), why=why)
    return _judged(losses, finding)


def _line(losses: Iterable[Loss], default: tuple[CodeLocation, ...]) -> tuple[CodeLocation, ...]:
    return next((each.trail for each in losses), default)


def _losses(value: Value) -> list[Loss]:
    """Return the losses that a forward returns: in its output's field, or first in a tuple."""
    if isinstance(value, Output):
        value = value.fields.get("loss", OTHER)
    elif isinstance(value, Bag):
        value = value.get("loss") or OTHER
    elif isinstance(value, Items) and value.items:
        value = value.items[0]
    if isinstance(value, (Items, Output, Bag)):
        value = combine(tensors_in([value]), (), added)
    if not isinstance(value, Tensor) or not (value.losses or value.place):
        return []
    return _in_order(value.losses or [Loss(Use.NO, "arithmetic", value.place)])


def _in_order(losses: Iterable[Loss]) -> list[Loss]:
    return sorted(losses, key=lambda each: [(line.file, line.line) for line in each.trail])


def _judged(losses: list[Loss], finding: Finding) -> Finding:
    """Say what follows from the losses that a forward may return."""
    if not losses:
        return replace(finding, why="no loss was found in what its forward returns")
    counted = [each for each in losses if _COUNTED in each.kind.lower().replace("_", "")]
    asked = losses if len({each.use for each in losses}) == 1 else counted or losses
    uses = {each.use for each in asked}
    if uses == {Use.YES}:
        apart = tuple(each.trail[-1] for each in losses if each.use is not Use.YES and each.trail)
        return replace(finding, answer="reaches", trail=asked[0].trail, apart=apart)
    if uses == {Use.NO}:
        return replace(finding, answer="dropped", trail=asked[0].trail)
    is_open = next((each for each in asked if each.use is Use.OPEN), None)
    if is_open is not None:
        return replace(finding, trail=is_open.trail, why=is_open.why)
    return replace(finding, trail=asked[0].trail, why="it depends on a branch whether the count is used")
