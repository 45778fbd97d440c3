"""Reads one class: whether the count reaches its loss, and what the Trainer takes it for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import replace

from gacheck.lint.calls import Arguments, is_label
from gacheck.lint.classes import ClassSource, Method, defaults, parameters
from gacheck.lint.finding import Effect, Finding
from gacheck.lint.joining import added, combine
from gacheck.lint.objects import Function, Instance
from gacheck.lint.reader import Reader
from gacheck.lint.sources import PACKAGE
from gacheck.lint.trainer import TrainerSource
from gacheck.lint.values import (
    CHOSEN,
    COUNT,
    OTHER,
    Bag,
    Const,
    Count,
    Items,
    Labels,
    Loss,
    Output,
    Tensor,
    Use,
    Value,
    tensors_in,
)
from gacheck.rules.facts import CodeLocation

LABELS = "labels"
"""What the Trainer counts; labels of other names it does not."""

# Of the losses that a problem's type chooses between, the one whose mean the count is for.
_COUNTED = "crossentropy"

# Labels that are no tensor: the Trainer gives up counting them.
_LISTS = re.compile(r"\b(list|tuple|dict)\b", re.IGNORECASE)


def takes_labels(made: ClassSource) -> bool:
    """Whether a class's forward, its own or an inherited one, takes labels: by name, or for one that it overrides."""
    forwards = [each for base in made.order if isinstance(each := base.members.get("forward"), Method)]
    if not forwards:
        return False
    named = [any(map(is_label, _names(each))) for each in forwards]
    return named[0] or (forwards[0].args.kwarg is not None and not _names(forwards[0]) and any(named))


def _names(node: Method) -> list[str]:
    return [each.arg for each in parameters(node)]


def read_class(reader: Reader, made: ClassSource, trainer: TrainerSource) -> Finding:
    """Read a class."""
    reader.begin()
    name = made.source.name
    model_type = name.split(".")[2] if name.startswith(f"{PACKAGE}.models.") else None
    finding = Finding(made.name, model_type, str(made.source.path))
    found = made.method("forward")
    if found is None:
        bases = ", ".join(made.foreign)
        return replace(finding, why=f"its forward is not in what was read{f' ({bases})' if bases else ''}")
    home, forward = found
    wrapper = reader.wrapper_of(forward, home.source)
    if wrapper is not None:
        return replace(finding, why=f"{wrapper} wraps its forward, and is not read")
    declared, is_read = _declared(reader, made)
    kwarg = forward.args.kwarg
    named = [*_names(forward), *([kwarg.arg] if kwarg is not None else [])]
    finding = replace(
        finding,
        declared=declared,
        takes_kwargs=kwarg is not None,
        flag=trainer.flag(declared, named, takes_kwargs=kwarg is not None) if is_read else None,
        counted=_is_counted(forward),
    )
    finding = _answered(reader, made, Function(forward, home.source, home, Instance(made)), finding)
    if not finding.counted and trainer.divides_uncounted:
        # Nothing is handed over: there is no count that could reach the loss, or be dropped.
        finding = replace(finding, answer="unknown")
    return replace(finding, effect=_effect(finding, trainer))


def _is_counted(forward: Method) -> bool:
    """Whether the Trainer counts the labels: a tensor that is called so."""
    named = {each.arg: each.annotation for each in parameters(forward)}
    if LABELS not in named:
        # What forward hands on as it came may have them.
        return not any(map(is_label, named)) and forward.args.kwarg is not None
    annotation = named[LABELS]
    return annotation is None or not _LISTS.search(ast.unparse(annotation))


def _effect(finding: Finding, trainer: TrainerSource) -> Effect:
    """Say what a user gets who changes nothing."""
    if finding.flag is None or not finding.has_loss:
        return "unknown"
    if not finding.flag:
        return "mean_of_means"
    if not finding.counted:
        return "mean_of_means" if trainer.divides_uncounted else "affected"
    effects: dict[str, Effect] = {"reaches": "fine", "dropped": "affected"}
    return effects.get(finding.answer, "unknown")


def _declared(reader: Reader, made: ClassSource) -> tuple[bool | None, bool]:
    """Return what `accepts_loss_kwargs` says, and whether that could be read."""
    instance = Instance(made)
    is_there = made.member("accepts_loss_kwargs") is not None or any(made.set_on_self("accepts_loss_kwargs"))
    if not is_there:
        return None, not made.foreign
    value = reader.attributes.of(instance, "accepts_loss_kwargs")
    known = isinstance(value, Const) and isinstance(value.value, (bool, type(None)))
    return (bool(value.value), True) if isinstance(value, Const) and known else (None, False)


def _answered(reader: Reader, made: ClassSource, forward: Function, finding: Finding) -> Finding:
    """Read the forward as the Trainer calls it."""
    assert isinstance(forward.node, Method)
    arguments = forward.node.args
    names = _names(forward.node)
    labels = [name for name in names if is_label(name)]
    hands_all = not labels and arguments.kwarg is not None
    # Where there are `labels`, others may be missing.
    sure = [LABELS] if LABELS in labels or not labels else labels
    # What has a default of its own, such as a reduction, no data set gives.
    set_by_default = {
        name: Const(value.value)
        for name, value in defaults(forward.node).items()
        if isinstance(value, ast.Constant) and value.value is not None
    }
    given: dict[str, Value | None] = {
        **dict.fromkeys(names, OTHER),
        **set_by_default,
        **{name: Tensor(Labels.THESE) for name in sure},
    }
    takes_count = arguments.kwarg is not None or COUNT in names
    given[COUNT] = Count() if takes_count else None
    if not labels and not hands_all:
        return replace(finding, why="its forward takes no labels")
    frame = reader.read(forward, Arguments((), Bag(given, open=True)))
    losses = [loss for value in frame.returned for loss in _losses(value)]
    if frame.raised and not frame.returned:
        why = "its forward raises an error where it is given labels"
        return replace(finding, has_loss=False, trail=frame.raised[0], why=why)
    here = (CodeLocation(str(forward.source.path), forward.node.lineno, forward.name),)
    if not takes_count:
        return replace(finding, answer="dropped", trail=_line(losses, here), why=f"its forward takes no {COUNT}")
    if not finding.counted:
        what = "a tensor" if LABELS in labels else f"what is called {LABELS}"
        why = f"the Trainer counts {what}, and its forward takes {', '.join(sure)}"
        return replace(finding, answer="dropped", trail=_line(losses, here), why=why)
    return _judged(losses, finding)


def _line(losses: list[Loss], default: tuple[CodeLocation, ...]) -> tuple[CodeLocation, ...]:
    return next((each.trail for each in [*filter(_is_counted_loss, losses), *losses]), default)


def _is_counted_loss(loss: Loss) -> bool:
    return _COUNTED in loss.kind.lower().replace("_", "")


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


def _without_count(loss: Loss, finding: Finding) -> Finding:
    """Say that a loss drops the count; a sum may be meant to be one, and has no use for it."""
    sums = {"sum": "it is a sum, which needs no count", CHOSEN: "a config chooses between a mean and a sum"}
    if loss.reduction in sums:
        return replace(finding, trail=loss.trail, why=f"its loss does not use the count, and {sums[loss.reduction]}")
    return replace(finding, answer="dropped", trail=loss.trail)


def _judged(losses: list[Loss], finding: Finding) -> Finding:
    """Say what follows from the losses that a forward may return."""
    if not losses:
        return replace(finding, has_loss=False, why="no loss was found in what its forward returns")
    counted = list(filter(_is_counted_loss, losses))
    asked = losses if len({each.use for each in losses}) == 1 else counted or losses
    uses = {each.use for each in asked}
    if uses == {Use.YES}:
        apart = tuple(each.trail[-1] for each in losses if each.use is not Use.YES and each.trail)
        return replace(finding, answer="reaches", trail=(counted or asked)[0].trail, apart=apart)
    if uses == {Use.NO}:
        return _without_count((counted or asked)[0], finding)
    is_open = next((each for each in asked if each.use is Use.OPEN), None)
    if is_open is not None:
        return replace(finding, trail=is_open.trail, why=is_open.why)
    return replace(finding, trail=asked[0].trail, why="it depends on a branch whether the count is used")
