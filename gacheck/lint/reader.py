"""Reads functions: binds their arguments, follows them into what they call, and resolves names and attributes."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import replace

from gacheck.lint.calls import (
    Arguments,
    arguments_of,
    call_builtin,
    call_foreign,
    call_method,
    compute_loss,
    unread,
)
from gacheck.lint.classes import Classes, ClassSource, Method, defaults, statements_in
from gacheck.lint.expressions import evaluate
from gacheck.lint.objects import Frame, Function, Instance, ModuleObject, Super
from gacheck.lint.sources import PACKAGE, Binding, Imported, Library, Source
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
    counts_in,
    join,
    join_all,
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
        self.classes = Classes(lambda source, node: evaluate(self, Frame(source), node))
        self._resolved: dict[tuple[str, str], Value] = {}
        self._attributes: dict[tuple[int, str], Value] = {}
        self._remembered: dict[tuple[int, str], Value] = {}
        self._generators: dict[ast.AST, bool] = {}
        self._stack: list[ast.AST] = []

    def begin(self) -> None:
        """Forget what one class's forward has set on its object."""
        self._remembered.clear()

    def close(self) -> None:
        """Let go of all that was read. It refers to itself, so that Python would have to look for it everywhere."""
        self.classes.close()
        self.library.close()
        for known in (self._resolved, self._attributes, self._remembered, self._generators):
            known.clear()

    def evaluate_top(self, source: Source, node: ast.expr) -> Value:
        """Return what an expression at the top of a module is."""
        return evaluate(self, Frame(source), node)

    # Names

    def resolve(self, source: Source, name: str) -> Value:
        """Return what a name at the top of a module is."""
        key = (str(source.path), name)
        if key not in self._resolved:
            self._resolved[key] = OTHER  # of what depends on itself nothing is known
            self._resolved[key] = self._resolve(source, name)
        return self._resolved[key]

    def _resolve(self, source: Source, name: str) -> Value:
        if name in source.names:
            return self.bound(source, name, source.names[name])
        for star in source.stars:
            other = self.library.source(star)
            if other is not None and name in other.names:
                return self.resolve(other, name)
        return Foreign(f"builtins.{name}") if hasattr(builtins, name) else OTHER

    def bound(self, source: Source, name: str, binding: Binding) -> Value:
        """Return what a binding makes of a name."""
        if isinstance(binding, Imported):
            return self._imported(binding)
        if isinstance(binding, ast.ClassDef):
            return self.classes.of(source, binding)
        if isinstance(binding, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return Function(binding, source)
        return evaluate(self, Frame(source), binding)

    def _imported(self, binding: Imported) -> Value:
        module, name = binding.module, binding.name
        full = module if name is None else f"{module}.{name}"
        if full.startswith(AUTO):
            return Foreign(full)
        if module == PACKAGE and name is not None and name in self.library.homes:
            module = self.library.homes[name]
        source = self.library.source(module)
        if source is None:
            return Foreign(full)
        if name is None:
            return ModuleObject(source)
        if name in source.names or source.stars:
            return self.resolve(source, name)
        inside = self.library.source(f"{module}.{name}")
        return Foreign(full) if inside is None else ModuleObject(inside)

    # Attributes

    def attribute(self, owner: Value, name: str) -> Value:
        """Return what `owner.name` is."""
        if isinstance(owner, Instance):
            return self._of_instance(owner, name)
        if isinstance(owner, Super):
            return self._member(owner.instance, owner.instance.of.member(name, owner.after))
        if isinstance(owner, ClassSource):
            found = owner.member(name)
            if found is None or not isinstance(found[1], Method):
                return self._member(Instance(owner), found)
            return Function(found[1], found[0].source, found[0], _bound_of_class(owner, found[1]))
        if isinstance(owner, Foreign):
            return Foreign(f"{owner.name}.{name}")
        if isinstance(owner, ModuleObject):
            return self._of_module(owner.source, name)
        if isinstance(owner, Output):
            return owner.fields.get(name, OTHER)
        if isinstance(owner, Tensor):
            return OTHER if name in ("shape", "device", "dtype", "ndim") else owner
        return owner if isinstance(owner, Count) else OTHER

    def _of_module(self, source: Source, name: str) -> Value:
        if source.name == PACKAGE:
            return self._imported(Imported(PACKAGE, name))
        return self.resolve(source, name)

    def _of_instance(self, owner: Instance, name: str) -> Value:
        key = (id(owner.of), name)
        if key in self._remembered:
            return self._remembered[key]
        if key not in self._attributes:
            self._attributes[key] = OTHER
            self._attributes[key] = self._look_up(owner, name)
        return self._attributes[key]

    def _look_up(self, owner: Instance, name: str) -> Value:
        if name == "training":
            return Const(True)
        if name == "loss_function":
            return self._loss_function(owner)
        found = owner.of.member(name)
        if found is not None and isinstance(found[1], Method):
            return self._member(owner, found)
        assigned = [self._assigned(owner, *each) for each in owner.of.set_on_self(name)]
        if assigned:
            return join_all(assigned)
        return OTHER if found is None else self._member(owner, found)

    def _member(self, owner: Instance, found: tuple[ClassSource, Method | ast.expr] | None) -> Value:
        if found is None:
            return OTHER
        home, node = found
        if not isinstance(node, Method):
            return evaluate(self, Frame(home.source, home.name, home), node)
        marks = _decorators(node)
        function = Function(node, home.source, home, None if "staticmethod" in marks else owner)
        if marks & {"property", "cached_property"}:
            return self.run(function, Arguments(), ())
        return function

    def _assigned(self, owner: Instance, home: ClassSource, method: Method, node: ast.expr) -> Value:
        """Return what a method assigns to an attribute, as far as it says that by itself."""
        frame = Frame(home.source, method.name, home, owner, {"self": owner})
        local = [
            each.value
            for each in (statements_in(method.body) if isinstance(node, ast.Name) else ())
            if isinstance(node, ast.Name) and isinstance(each, ast.Assign) and _is_named(each.targets, node.id)
        ]
        return join_all(evaluate(self, frame, each) for each in local or [node])

    def remember(self, owner: Instance, name: str, value: Value) -> None:
        """Keep what a forward sets on its own object, if it bears on a loss."""
        if counts_in([value]) or tensors_in([value]):
            self._remembered[id(owner.of), name] = value

    # The loss function that transformers chooses

    def _loss_function(self, owner: Instance) -> Value:
        """Return what `self.loss_function` is: what a class sets, or what transformers maps its name to."""
        found = owner.of.member("loss_function")
        if found is not None and found[0].name != "PreTrainedModel":
            return self._member(owner, found)
        for name in ("loss_function", "_loss_function"):
            assigned = [each for each in owner.of.set_on_self(name) if each[0].name != "PreTrainedModel"]
            if assigned:
                return join_all(self._assigned(owner, *each) for each in assigned)
        if found is None:
            return OTHER
        mapping = self.resolve(found[0].source, "LOSS_MAPPING")
        if not isinstance(mapping, Bag):
            return OTHER
        return mapping.get(self._loss_type(owner, list(mapping.entries))) or mapping.get("ForCausalLM") or OTHER

    def _loss_type(self, owner: Instance, known: list[str]) -> str:
        """Return the name of the loss, as transformers finds it; empty where it finds none."""
        assigned = [each for each in owner.of.set_on_self("loss_type") if each[0].name != "PreTrainedModel"]
        value = self._assigned(owner, *assigned[0]) if assigned else NONE
        if isinstance(value, Const) and isinstance(value.value, str):
            return value.value
        if owner.of.name in known:
            return owner.of.name
        found = re.search(f"({'|'.join(known)})", owner.of.name)
        return found[0] if found is not None else ""

    # Calls

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
            callee = self.attribute(owner, node.func.attr)
        else:
            callee = evaluate(self, frame, node.func)
        given = arguments_of(self, frame, node)
        if callee in (Foreign("builtins.getattr"),) and len(given.positional) > 1:
            return self._getattr(given)
        return self.call(callee, given, frame.place(node), ast.unparse(node.func))

    def _getattr(self, given: Arguments) -> Value:
        owner, name, *default = given.positional
        found = self.attribute(owner, name.value) if isinstance(name, Const) and isinstance(name.value, str) else OTHER
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
        matters = bool(tensors_in(given.all)) or any(isinstance(each, Count) for each in given.all)
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
        is_method = not isinstance(function.node, ast.Lambda)
        return is_method and self.wrapper_of(function.node, function.source) is not None

    def _call_instance(self, instance: Instance, given: Arguments, place: Place, name: str) -> Value:
        if not given.has_labels:
            return OTHER
        method = next((m for m in ("forward", "__call__") if instance.of.member(m) is not None), None)
        function = OTHER if method is None else self._member(instance, instance.of.member(method))
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

    # Functions

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


def _bound_of_class(owner: ClassSource, node: Method) -> Value | None:
    return owner if "classmethod" in _decorators(node) else None


def _decorators(node: Method) -> set[str]:
    """Return the last names of a method's decorators."""
    return {ast.unparse(each).split("(")[0].split(".")[-1] for each in node.decorator_list}


def _is_named(targets: list[ast.expr], name: str) -> bool:
    return any(isinstance(each, ast.Name) and each.id == name for each in targets)


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


__all__ = ["Reader", "Use"]
