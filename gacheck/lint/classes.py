"""Classes as their source declares them: bases in Python's order, methods, and what they set on themselves."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from gacheck.lint.sources import Source
from gacheck.lint.values import Foreign, Value

Method = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(eq=False)
class ClassSource(Value):
    """A class.

    Attributes:
        bases: As far as their source was found.
        unread: The full names of bases whose source was not.
    """

    source: Source
    node: ast.ClassDef
    bases: list[ClassSource] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name

    @cached_property
    def members(self) -> dict[str, Method | ast.expr]:
        """Methods, and what is assigned in the class; of a property its getter."""
        found: dict[str, Method | ast.expr] = {}
        for node in self.node.body:
            if isinstance(node, Method):
                if not any(isinstance(each, ast.Attribute) and each.attr == "setter" for each in node.decorator_list):
                    found[node.name] = node
            elif isinstance(node, ast.Assign):
                found |= {each.id: node.value for each in node.targets if isinstance(each, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                found[node.target.id] = node.value
        return found

    @cached_property
    def assigned(self) -> dict[str, list[tuple[Method, ast.expr]]]:
        """What its methods assign to an attribute of `self`, with the method that does."""
        found: dict[str, list[tuple[Method, ast.expr]]] = {}
        for method in self.members.values():
            if not isinstance(method, Method):
                continue
            for node in statements_in(method.body):
                for target, value in _assignments(node):
                    if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                        found.setdefault(target.attr, []).append((method, value))
        return found

    @cached_property
    def order(self) -> list[ClassSource]:
        """The class and what it inherits from, in the order in which Python looks."""
        return [self, *_merged([*(base.order for base in self.bases), list(self.bases)])]

    def member(self, name: str, after: ClassSource | None = None) -> tuple[ClassSource, Method | ast.expr] | None:
        """Return a member and the class that has it; only of classes behind one, where that is given."""
        order = self.order if after is None else self.order[self.order.index(after) + 1 :]
        return next(((each, each.members[name]) for each in order if name in each.members), None)

    def method(self, name: str) -> tuple[ClassSource, Method] | None:
        """Return a method, with the class that has it; None where nothing is called so, or something else is."""
        found = self.member(name)
        return (found[0], found[1]) if found is not None and isinstance(found[1], Method) else None

    def set_on_self(self, name: str) -> Iterator[tuple[ClassSource, Method, ast.expr]]:
        """Yield what is assigned to an attribute of `self`: by the first class that does."""
        for each in self.order:
            if name in each.assigned:
                yield from ((each, method, value) for method, value in each.assigned[name])
                return

    @property
    def foreign(self) -> list[str]:
        """The bases anywhere that were not read, torch's own aside."""
        return [name for each in self.order for name in each.unread if not _is_known(name)]

    def inherits(self, name: str) -> bool:
        """Whether a class of this name is among what it inherits from."""
        return any(each.name == name for each in self.order[1:])


def _is_known(name: str) -> bool:
    return name.split(".")[0] in ("torch", "builtins", "abc", "typing", "enum", "dataclasses", "collections")


def statements_in(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements and those within them; what is in their expressions is not looked at, which is most of it."""
    for node in body:
        yield node
        for name in ("body", "orelse", "finalbody"):
            yield from statements_in(getattr(node, name, ()))
        for handler in getattr(node, "handlers", ()):
            yield from statements_in(handler.body)


def _assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield node.target, node.value


def _merged(chains: list[list[ClassSource]]) -> Iterator[ClassSource]:
    """Yield the classes of all chains, none before what stands in front of it in any: Python's own order (C3)."""
    chains = [chain[:] for chain in chains if chain]
    while chains:
        heads = [chain[0] for chain in chains]
        first = next((head for head in heads if not any(head in chain[1:] for chain in chains)), heads[0])
        yield first
        chains = [rest for chain in chains if (rest := [each for each in chain if each is not first])]


class Classes:
    """Makes classes of their source, each once.

    Args:
        resolve: Returns what an expression at the top of a module is.
    """

    def __init__(self, resolve: Callable[[Source, ast.expr], Value]) -> None:
        self._resolve = resolve
        self._made: dict[int, ClassSource] = {}

    def of(self, source: Source, node: ast.ClassDef) -> ClassSource:
        """Return the class of a definition."""
        if id(node) not in self._made:
            made = self._made[id(node)] = ClassSource(source, node)
            for base in node.bases:
                self._add_base(made, base)
        return self._made[id(node)]

    def close(self) -> None:
        """Let go of them: their orders hold themselves."""
        for each in self._made.values():
            each.__dict__.clear()
        self._made.clear()

    def _add_base(self, made: ClassSource, base: ast.expr) -> None:
        # Generic[T] is Generic here.
        value = self._resolve(made.source, base.value if isinstance(base, ast.Subscript) else base)
        if isinstance(value, ClassSource):
            if value is not made:
                made.bases.append(value)
        else:
            made.unread.append(value.name if isinstance(value, Foreign) else ast.unparse(base))


def parameters(node: Method) -> list[ast.arg]:
    """Return the parameters of a method, `self` and the stars aside."""
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return every[1:] if every and every[0].arg in ("self", "cls") else every


def defaults(node: Method | ast.Lambda) -> dict[str, ast.expr]:
    """Return the defaults of parameters by their names."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    last: Sequence[ast.arg] = positional[len(positional) - len(arguments.defaults) :]
    pairs = [*zip(last, arguments.defaults, strict=True)]
    pairs += [(each, value) for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value]
    return {each.arg: value for each, value in pairs}
