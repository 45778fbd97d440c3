"""Reads functions: binds their arguments, follows them into what they call, and resolves names and attributes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from gacheck.lint.attributes import Attributes
from gacheck.lint.calls import Arguments, arguments_of, call_builtin, call_foreign, call_method, compute_loss, unread
from gacheck.lint.classes import Classes, ClassSource, Method, defaults
from gacheck.lint.expressions import evaluate
from gacheck.lint.joining import join, join_all
from gacheck.lint.names import Names
from gacheck.lint.objects import Frame, Function, Instance, Super
from gacheck.lint.sources import PACKAGE, Library, Source
from gacheck.lint.statements import assign, execute
from gacheck.lint.values import (
    COUNT,
    NONE,
    OTHER,
    Bag,
    Const,
    Count,
    Criterion,
    Either,
    Foreign,
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

# Calls within calls that are followed.
DEPTH = 12

# The classes that choose another by a config.
AUTO = f"{PACKAGE}.models.auto"

# The packages whose decorators hand arguments on as they are.
HARMLESS = frozenset({"builtins", "functools", "torch", "typing", "typing_extensions", PACKAGE})

Place = tuple[CodeLocation, ...]


class Reader:
    """Reads source.

    Args:
        library: Where it is.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self.classes = Classes(self.evaluate_top)
        self.names = Names(self)
        self.attributes = Attributes(self)
        self._generators: dict[ast.AST, bool] = {}
        self._stack: list[ast.AST] = []

    def begin(self) -> None:
        """Forget what one class's forward has set on its object."""
        self.attributes.begin()

    def close(self) -> None:
        """Let go of all that was read. It refers to itself, so that Python would have to look for it everywhere."""
        self.classes.close()
        self.library.close()
        self.names.close()
        self.attributes.close()
        self._generators.clear()

    def evaluate(self, frame: Frame, node: ast.expr) -> Value:
        """Return what is known of an expression."""
        return evaluate(self, frame, node)

    def evaluate_top(self, source: Source, node: ast.expr) -> Value:
        """Return what an expression at the top of a module is."""
        return evaluate(self, Frame(source), node)

    def assign(self, frame: Frame, target: ast.expr, value: Value) -> None:
        """Bind a target."""
        assign(self, frame, target, value)

    def call_node(self, frame: Frame, node: ast.Call) -> Value:
        """Return what a call gives."""
        if isinstance(node.func, ast.Name) and node.func.id == "super" and isinstance(frame.instance, Instance):
            return Super(frame.instance, frame.owner) if frame.owner is not None else OTHER
        if isinstance(node.func, ast.Attribute):
            owner = evaluate(self, frame, node.func.value)
            result = call_method(self, frame, node, owner)
            if result is not None:
                return result
            callee = self.attributes.of(owner, node.func.attr)
        else:
            callee = evaluate(self, frame, node.func)
        given = arguments_of(self, frame, node)
        if callee in (Foreign("builtins.getattr"),) and len(given.positional) > 1:
            return self._getattr(given)
        return self.call(callee, given, frame.place(node), ast.unparse(node.func))

    def _getattr(self, given: Arguments) -> Value:
        owner, name, *default = given.positional
        is_name = isinstance(name, Const) and isinstance(name.value, str)
        found = self.attributes.of(owner, name.value) if isinstance(name, Const) and is_name else OTHER
        return join(found, default[0]) if default and found != OTHER and isinstance(owner, Bag) else found

    def call(self, callee: Value, given: Arguments, place: Place, name: str) -> Value:
        """Return what calling a value gives.

        Args:
            callee: What is called.
            given: With what.
            place: The line.
            name: How the callee is written there.
        """
        if isinstance(callee, Either):
            return join_all(self.call(each, given, place, name) for each in callee.options)
        if isinstance(callee, Function):
            return self._call_function(callee, given, place, name)
        if isinstance(callee, ClassSource):
            return self._construct(callee, given)
        if isinstance(callee, Instance):
            return self._call_instance(callee, given, place, name)
        if isinstance(callee, Criterion):
            return compute_loss(callee.kind, callee.reduction, given, place)
        if isinstance(callee, Foreign):
            if callee.name.startswith("builtins."):
                known = call_builtin(callee.name.removeprefix("builtins."), given, place)
                if known is not None:
                    return known
            return call_foreign(callee.name, given, place)
        # A part of the model that is given inputs made of labels, as decoders are, computes no loss.
        is_part = name.startswith("self.") and not given.has_labels
        return OTHER if is_part else unread(name, given, place)

    def _call_function(self, function: Function, given: Arguments, place: Place, name: str) -> Value:
        known = [*given.all, *function.around.values()]
        matters = bool(tensors_in(known)) or any(isinstance(each, Count) for each in given.all)
        if not matters:
            makes_one = isinstance(function.bound, ClassSource) and "from_" in function.name
            return Instance(function.bound) if makes_one and isinstance(function.bound, ClassSource) else OTHER
        if len(self._stack) >= DEPTH or function.node in self._stack or self._is_wrapped(function):
            return unread(name, given, place)
        return self.run(function, given, place)

    def wrapper_of(self, node: Method, source: Source) -> str | None:
        """Return the decorator around a function of which is not known what it hands on; None where there is none."""
        for each in node.decorator_list:
            value = self.evaluate_top(source, each.func if isinstance(each, ast.Call) else each)
            origin = value.name if isinstance(value, Foreign) else getattr(getattr(value, "source", None), "name", "")
            if origin.split(".")[0] not in HARMLESS:
                return ast.unparse(each)
        return None

    def _is_wrapped(self, function: Function) -> bool:
        node = function.node
        return not isinstance(node, ast.Lambda) and self.wrapper_of(node, function.source) is not None

    def _call_instance(self, instance: Instance, given: Arguments, place: Place, name: str) -> Value:
        if not given.has_labels:
            return OTHER
        method = next((m for m in ("forward", "__call__") if instance.of.member(m) is not None), None)
        function = OTHER if method is None else self.attributes.member(instance, instance.of.member(method))
        if not isinstance(function, Function):
            return unread(name, given, place)
        return self._call_function(function, given, place, name)

    def _construct(self, made: ClassSource, given: Arguments) -> Value:
        if made.member("forward") is not None or made.member("__call__") is not None:
            return Instance(made)
        if not tensors_in(given.all):
            return Instance(made) if not list(given.named.present) else Output(dict(_known(given.named)))
        names = [name for each in reversed(made.order) for name in _fields(each)]
        return Output(dict(zip(names, given.positional, strict=False)) | dict(_known(given.named)))

    def run(self, function: Function, given: Arguments, place: Place) -> Value:
        """Read a function as it is called; return what it returns."""
        refused = self._refusal(function, given, place)
        if refused is not None:
            return refused
        result = join_all(self.read(function, given).returned)
        if not self._is_generator(function):
            known = {loss for each in tensors_in(given.all) for loss in each.losses}
            return _called_from(result, place, known)
        return OTHER

    def read(self, function: Function, given: Arguments) -> Frame:
        """Read a function as it is called; return its frame, with what each of its returns returns."""
        frame = self._frame(function, given)
        self._stack.append(function.node)
        try:
            if isinstance(function.node, ast.Lambda):
                frame.returned.append(evaluate(self, frame, function.node.body))
            elif execute(self, frame, function.node.body):
                frame.returned.append(NONE)
            return frame
        finally:
            self._stack.pop()

    def _is_generator(self, function: Function) -> bool:
        node = function.node
        if node not in self._generators:
            inside = () if isinstance(node, ast.Lambda) else ast.walk(node)
            self._generators[node] = any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in inside)
        return self._generators[node]

    def _refusal(self, function: Function, given: Arguments, place: Place) -> Value | None:
        """Return what is known where a function does not take the count that it is called with."""
        count = given.named.entries.get(COUNT)
        arguments = function.node.args
        names = {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        if not isinstance(count, Count) or arguments.kwarg is not None or COUNT in names:
            return None
        why = f"{function.name} is called with {COUNT}, and takes no such argument"
        return Tensor(Labels.MADE, frozenset({Loss(Use.OPEN, function.name, place, why=why)}), place)

    def _frame(self, function: Function, given: Arguments) -> Frame:
        arguments = function.node.args
        frame = Frame(function.source, function.name, function.owner, variables=dict(function.around))
        positional = list(given.positional)
        if function.bound is not None:
            positional.insert(0, function.bound)
        named = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
        taken = dict(zip(named, positional, strict=False))
        if arguments.vararg is not None:
            frame.variables[arguments.vararg.arg] = Items(tuple(positional[len(named) :]))
        default = defaults(function.node)
        rest = given.named
        for name in [*named, *(each.arg for each in arguments.kwonlyargs)]:
            if name not in taken:
                taken[name] = self._argument(function, name, rest, default.get(name))
            rest = rest.put(name, None)
        frame.variables |= taken
        if arguments.kwarg is not None:
            frame.variables[arguments.kwarg.arg] = rest
        first = taken.get(named[0]) if named else None
        frame.instance = first if isinstance(first, Instance) else None
        return frame

    def _argument(self, function: Function, name: str, given: Bag, default: ast.expr | None) -> Value:
        found = given.get(name)
        if found is not None and found != OTHER:
            return found
        if found == OTHER and name == COUNT:
            return Count(sure=False)
        value = OTHER if default is None else evaluate(self, Frame(function.source), default)
        return value if found is None else OTHER


def _known(bag: Bag) -> Iterator[tuple[str, Value]]:
    return ((name, value) for name, value in bag.entries.items() if value is not None)


def _fields(made: ClassSource) -> list[str]:
    """Return the fields that a dataclass declares."""
    nodes = (each for each in made.node.body if isinstance(each, ast.AnnAssign))
    return [each.target.id for each in nodes if isinstance(each.target, ast.Name)]


def _called_from(value: Value, place: Place, known: set[Loss]) -> Value:
    """Return a value with the calling line in front of the lines of all losses that the call made."""
    if isinstance(value, Tensor):
        losses = {each if each in known else replace(each, trail=place + each.trail) for each in value.losses}
        return Tensor(value.labels, frozenset(losses), place + value.place if value.losses else place)
    if isinstance(value, Items):
        return Items(tuple(_called_from(each, place, known) for each in value.items))
    if isinstance(value, Output):
        return Output({name: _called_from(each, place, known) for name, each in value.fields.items()})
    if isinstance(value, Bag):
        return Bag(
            {n: None if v is None else _called_from(v, place, known) for n, v in value.entries.items()}, value.open
        )
    return value
