"""Values that have source of their own: functions, instances, modules; and the frame in which one is read."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from gacheck.lint.classes import ClassSource, Method
from gacheck.lint.sources import Source
from gacheck.lint.values import Value
from gacheck.rules.facts import CodeLocation


@dataclass(frozen=True)
class Function(Value):
    """A function or a method.

    Attributes:
        owner: The class whose source it stands in.
        bound: What its first argument is.
        around: The variables of the function in which it is defined.
    """

    node: Method | ast.Lambda
    source: Source
    owner: ClassSource | None = None
    bound: Value | None = None
    around: Mapping[str, Value] = field(default_factory=dict, compare=False, hash=False)

    @property
    def name(self) -> str:
        """Its name."""
        return "<lambda>" if isinstance(self.node, ast.Lambda) else self.node.name


@dataclass(frozen=True)
class Instance(Value):
    """An object of a class."""

    of: ClassSource


@dataclass(frozen=True)
class Super(Value):
    """An object, seen from behind one of its classes: what `super()` returns."""

    instance: Instance
    after: ClassSource


@dataclass(frozen=True)
class ModuleObject(Value):
    """A module that was imported."""

    source: Source


@dataclass
class Frame:
    """A function while it is read.

    Attributes:
        variables: What is known of each.
        returned: What its returns return.
        raised: Where it raises.
    """

    source: Source
    function: str = "<module>"
    owner: ClassSource | None = None
    instance: Value | None = None
    variables: dict[str, Value] = field(default_factory=dict)
    returned: list[Value] = field(default_factory=list)
    raised: list[tuple[CodeLocation, ...]] = field(default_factory=list)

    def place(self, node: ast.AST) -> tuple[CodeLocation, ...]:
        """Return the line of a node."""
        return (CodeLocation(str(self.source.path), getattr(node, "lineno", 0), self.function),)
