"""Attributes: of an object what its classes declare and set, of a module its names; and the loss function."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from gacheck.lint.calls import Arguments
from gacheck.lint.classes import ClassSource, Method, parameters, statements_in
from gacheck.lint.joining import join_all
from gacheck.lint.objects import Frame, Function, Instance, ModuleObject, Super
from gacheck.lint.sources import PACKAGE, Imported, Source
from gacheck.lint.values import NONE, OTHER, Bag, Const, Count, Foreign, Output, Tensor, Value, counts_in, tensors_in

if TYPE_CHECKING:
    from gacheck.lint.reader import Reader


class Attributes:
    """Looks attributes up; those of a class's objects once.

    Args:
        reader: Reads what they are set to.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._attributes: dict[tuple[int, str], Value] = {}
        self._remembered: dict[tuple[int, str], Value] = {}

    def begin(self) -> None:
        """Forget what a forward has set on its own object."""
        self._remembered.clear()

    def close(self) -> None:
        """Forget them all."""
        self._attributes.clear()
        self._remembered.clear()

    def of(self, owner: Value, name: str) -> Value:
        """Return what `owner.name` is."""
        if isinstance(owner, Instance):
            return self._of_instance(owner, name)
        if isinstance(owner, Super):
            return self.member(owner.instance, owner.instance.of.member(name, owner.after))
        if isinstance(owner, ClassSource):
            found = owner.member(name)
            if found is None or not isinstance(found[1], Method):
                return self.member(Instance(owner), found)
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
            return self._reader.names.imported(Imported(PACKAGE, name))
        return self._reader.names.resolve(source, name)

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
            return self.member(owner, found)
        assigned = [self._assigned(owner, *each) for each in owner.of.set_on_self(name)]
        if assigned:
            return join_all(assigned)
        return OTHER if found is None else self.member(owner, found)

    def member(self, owner: Instance, found: tuple[ClassSource, Method | ast.expr] | None) -> Value:
        """Return a member of an object's class."""
        if found is None:
            return OTHER
        home, node = found
        if not isinstance(node, Method):
            return self._reader.evaluate(Frame(home.source, home.name, home), node)
        marks = _decorators(node)
        function = Function(node, home.source, home, None if "staticmethod" in marks else owner)
        if marks & {"property", "cached_property"}:
            return self._reader.run(function, Arguments(), ())
        return function

    def _assigned(self, owner: Instance, home: ClassSource, method: Method, node: ast.expr) -> Value:
        """Return what a method assigns to an attribute, as far as it says that by itself."""
        given: dict[str, Value] = {each.arg: OTHER for each in parameters(method)}
        frame = Frame(home.source, method.name, home, owner, {**given, "self": owner})
        local = [
            each.value
            for each in (statements_in(method.body) if isinstance(node, ast.Name) else ())
            if isinstance(node, ast.Name) and isinstance(each, ast.Assign) and _is_named(each.targets, node.id)
        ]
        found = [self._reader.evaluate(frame, each) for each in local or [node]]
        # A model of transformers is made of its config alone, which is all that the Trainer's users give it.
        may_be_given = isinstance(node, ast.Name) and node.id in given and not home.source.name.startswith(PACKAGE)
        return join_all([*found, OTHER] if may_be_given else found)

    def remember(self, owner: Instance, name: str, value: Value) -> None:
        """Keep what a forward sets on its own object, if it bears on a loss."""
        if counts_in([value]) or tensors_in([value]):
            self._remembered[id(owner.of), name] = value

    def _loss_function(self, owner: Instance) -> Value:
        """Return what `self.loss_function` is: what a class sets, or what transformers maps its name to."""
        found = owner.of.member("loss_function")
        if found is not None and found[0].name != "PreTrainedModel":
            return self.member(owner, found)
        for name in ("loss_function", "_loss_function"):
            assigned = [each for each in owner.of.set_on_self(name) if each[0].name != "PreTrainedModel"]
            if assigned:
                return join_all(self._assigned(owner, *each) for each in assigned)
        if found is None:
            return OTHER
        mapping = self._reader.names.resolve(found[0].source, "LOSS_MAPPING")
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


def _bound_of_class(owner: ClassSource, node: Method) -> Value | None:
    return owner if "classmethod" in _decorators(node) else None


def _decorators(node: Method) -> set[str]:
    """Return the last names of a method's decorators."""
    return {ast.unparse(each).split("(")[0].split(".")[-1] for each in node.decorator_list}


def _is_named(targets: list[ast.expr], name: str) -> bool:
    return any(isinstance(each, ast.Name) and each.id == name for each in targets)
