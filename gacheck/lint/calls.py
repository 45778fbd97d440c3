"""Calls: of methods of values that are known, of torch, and of what is not read."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gacheck.lint.arithmetic import reduced
from gacheck.lint.comprehensions import elements
from gacheck.lint.expressions import evaluate
from gacheck.lint.joining import added, combine, divided_by_count, join_all, multiplied
from gacheck.lint.objects import Frame
from gacheck.lint.values import (
    CHOSEN,
    COUNT,
    NONE,
    OTHER,
    Bag,
    Const,
    Count,
    Criterion,
    Items,
    Labels,
    Loss,
    Output,
    Tensor,
    Use,
    Value,
    counts_in,
    tensors_in,
)

if TYPE_CHECKING:
    from gacheck.lint.reader import Reader

Place = tuple[Any, ...]

# Losses of torch by their names: functions, and classes that make one.
_FUNCTION = re.compile(r"(\w*_loss|\w*cross_entropy\w*|kl_div)$")
_CRITERION = re.compile(r"[A-Z]\w*Loss$")
_DIVISIONS = ("div", "true_divide", "divide", "div_")
_PLAIN = ("torch", "builtins", "math", "numpy")
_STRING = frozenset({"startswith", "endswith", "removeprefix", "removesuffix", "replace", "lower", "upper", "strip"})
# What a tensor says of itself besides its values.
_SHAPE = frozenset({"size", "dim", "numel", "ndim", "shape", "device", "dtype"})


@dataclass(frozen=True)
class Arguments:
    """What a function is called with.

    Attributes:
        named: By name; open where a dictionary is handed on of which not all is known.
    """

    positional: tuple[Value, ...] = ()
    named: Bag = field(default_factory=Bag)

    @property
    def all(self) -> list[Value]:
        """Every argument that is known."""
        return [*self.positional, *self.named.present]

    @property
    def has_labels(self) -> bool:
        """Whether labels, or a loss, are among them; or something is called so."""
        given = tensors_in(self.all)
        return any(each.labels is Labels.THESE or each.losses for each in given) or any(
            is_label(name) for name, value in self.named.entries.items() if isinstance(value, Tensor)
        )

    @property
    def may_have_count(self) -> bool:
        """Whether the count is among them, or may be in a dictionary that is not known."""
        return bool(counts_in(self.all)) or self.named.get(COUNT) == OTHER


def is_label(name: str) -> bool:
    """Whether the Trainer takes an argument of this name for labels."""
    return "label" in name or name in ("start_positions", "end_positions")


def arguments_of(reader: Reader, frame: Frame, node: ast.Call) -> Arguments:
    """Return the arguments of a call."""
    positional: list[Value] = []
    named = Bag()
    for each in node.args:
        value = evaluate(reader, frame, each.value if isinstance(each, ast.Starred) else each)
        if isinstance(each, ast.Starred):
            positional += elements(value)
        else:
            positional.append(value)
    for keyword in node.keywords:
        value = evaluate(reader, frame, keyword.value)
        if keyword.arg is not None:
            named = named.put(keyword.arg, value)
        elif isinstance(value, Bag):
            named = value.over(named)
        elif value != NONE:
            named = Bag(named.entries, open=True)
    return Arguments(tuple(positional), named)


def unread(name: str, given: Arguments, place: Place, merge: Callable[[Loss, Loss], Loss] = added) -> Value:
    """Return what a call gives of which the source is not read: without the count it cannot use it."""
    found = tensors_in(given.all)
    if not found:
        return Count(sure=False) if any(isinstance(each, Count) for each in given.all) else OTHER
    if given.may_have_count:
        why = f"{name} is called with the count and the labels, and is not read"
        return Tensor(Labels.MADE, frozenset({Loss(Use.OPEN, name, place, why=why)}), place)
    made = combine(given.all, place, merge)
    return replace(made, labels=Labels.MADE) if isinstance(made, Tensor) else made


def call_foreign(name: str, given: Arguments, place: Place) -> Value:
    """Call something of torch, of Python or of a package that is not read."""
    package, last = name.split(".")[0], name.split(".")[-1]
    if package == "torch":
        if _CRITERION.match(last):
            return Criterion(last, _reduction(given))
        if _FUNCTION.match(last):
            return compute_loss(last, _reduction(given), given, place)
        if last in _DIVISIONS and len(given.positional) == 2 and isinstance(given.positional[1], Count):
            return divided_by_count(given.positional[0], given.positional[1], place)
    if package not in _PLAIN:
        return unread(name, given, place)
    found = combine(given.all, place, added)
    if isinstance(found, Tensor):
        if counts_in(given.all):
            return unread(name, given, place)
        return reduced(found, last) if last in ("mean", "sum") else found
    return join_all(counts_in(given.all)) if counts_in(given.positional) else OTHER


def _reduction(given: Arguments) -> str:
    value = given.named.get("reduction")
    if value is None:
        return "mean"
    return value.value if isinstance(value, Const) and isinstance(value.value, str) else CHOSEN


def compute_loss(kind: str, reduction: str, given: Arguments, place: Place) -> Value:
    """Compute a loss of torch: nothing that it is given can be the count."""
    if not tensors_in(given.all):
        return OTHER
    return Tensor(Labels.MADE, frozenset({Loss(Use.NO, kind, place, reduction)}), place)


def call_method(reader: Reader, frame: Frame, node: ast.Call, owner: Value) -> Value | None:
    """Call a method of a tensor, a dictionary, a list, a string or an output; None where it has none such."""
    assert isinstance(node.func, ast.Attribute)
    name = node.func.attr
    if isinstance(owner, Bag):
        return _of_bag(reader, frame, node, owner)
    if isinstance(owner, (Tensor, Count)):
        return _of_tensor(name, owner, arguments_of(reader, frame, node), frame.place(node))
    if isinstance(owner, Items):
        return _of_list(reader, frame, node, owner)
    if isinstance(owner, Const) and isinstance(owner.value, str):
        given = arguments_of(reader, frame, node).positional
        values = [each.value for each in given if isinstance(each, Const)]
        known = name in _STRING and len(values) == len(given)
        return Const(getattr(owner.value, name)(*values)) if known else OTHER
    if isinstance(owner, Output):
        if name == "to_tuple":
            return Items(tuple(each for each in owner.fields.values() if each != NONE))
        return _of_bag(reader, frame, node, Bag(owner.fields))
    return None


def _of_tensor(name: str, owner: Tensor | Count, given: Arguments, place: Place) -> Value:
    if name in _SHAPE:
        return OTHER
    counts = counts_in(given.all)
    if isinstance(owner, Count):
        return owner
    if counts:
        if name in _DIVISIONS and isinstance(given.positional[0], Count):
            return divided_by_count(owner, given.positional[0], place)
        return unread(name, Arguments((owner, *given.positional), given.named), place)
    made = combine([owner, *given.all], place, multiplied)
    return reduced(made, name) if name in ("mean", "sum") else made


def _of_bag(reader: Reader, frame: Frame, node: ast.Call, owner: Bag) -> Value:
    assert isinstance(node.func, ast.Attribute)
    given = arguments_of(reader, frame, node)
    name, positional = node.func.attr, given.positional
    key = positional[0].value if positional and isinstance(positional[0], Const) else None
    if name in ("get", "pop", "setdefault"):
        default = positional[1] if len(positional) > 1 else NONE
        found = owner.get(key) if isinstance(key, str) else OTHER
        result = default if found is None else found
        if name == "pop" and isinstance(key, str):
            _rebind(frame, node, owner.put(key, None))
        elif name == "setdefault" and isinstance(key, str):
            _rebind(frame, node, owner.put(key, result))
        return result
    if name == "update":
        more = positional[0] if positional else Bag()
        more = more if isinstance(more, Bag) else Bag(open=True)
        _rebind(frame, node, given.named.over(more.over(owner)))
        return NONE
    if name == "items":
        pairs = [Items((Const(key), value)) for key, value in owner.entries.items() if value is not None]
        return Items((*([Items((OTHER, OTHER))] if owner.open else []), *pairs))
    if name == "values":
        return Items((*([OTHER] if owner.open else []), *owner.present))
    return owner if name in ("copy", "keys") else OTHER


def _rebind(frame: Frame, node: ast.Call, value: Value) -> None:
    """Bind what a method changed to the variable on which it was called."""
    assert isinstance(node.func, ast.Attribute)
    if isinstance(node.func.value, ast.Name):
        frame.variables[node.func.value.id] = value


def _of_list(reader: Reader, frame: Frame, node: ast.Call, owner: Items) -> Value:
    assert isinstance(node.func, ast.Attribute)
    positional = arguments_of(reader, frame, node).positional
    if node.func.attr == "append":
        _rebind(frame, node, Items((*owner.items, *positional)))
        return NONE
    if node.func.attr == "extend":
        _rebind(frame, node, Items((*owner.items, *(each for more in positional for each in elements(more)))))
        return NONE
    return join_all(owner.items) if owner.items else OTHER


def call_builtin(name: str, given: Arguments, place: Place) -> Value | None:
    """Call a function of Python that says something of values as they are known here; None for any other."""
    positional = given.positional
    if name == "dict":
        first = positional[0] if positional and isinstance(positional[0], Bag) else Bag()
        return given.named.over(first)
    if name == "len" and positional and isinstance(positional[0], Const) and isinstance(positional[0].value, str):
        return Const(len(positional[0].value))
    if name == "zip":
        return Items((Items(tuple(join_all(elements(each)) for each in positional)),))
    if name == "enumerate" and positional:
        return Items(tuple(Items((OTHER, each)) for each in elements(positional[0])))
    if name in ("list", "tuple", "reversed", "sorted", "iter", "next"):
        return positional[0] if positional and isinstance(positional[0], (Items, Bag)) else None
    if name in ("len", "range", "isinstance", "hasattr", "print", "type", "id", "callable"):
        return OTHER
    return None


def label_level(values: Iterable[Value]) -> bool:
    """Whether labels themselves are among values."""
    return any(each.labels is Labels.THESE for each in tensors_in(values))
