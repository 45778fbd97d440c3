"""Statements: how they change what is known of variables. Branches that cannot be decided are both followed."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gacheck.lint.arithmetic import arithmetic
from gacheck.lint.comprehensions import elements
from gacheck.lint.expressions import evaluate, item
from gacheck.lint.joining import join
from gacheck.lint.objects import Frame, Function
from gacheck.lint.values import NONE, OTHER, Bag, Const, Items, Tensor, Value, tensors_in, truth

if TYPE_CHECKING:
    from gacheck.lint.reader import Reader

Variables = dict[str, Value]

# A loop is read so often at most: what it adds is known by then.
ROUNDS = 8


def execute(reader: Reader, frame: Frame, body: Iterable[ast.stmt]) -> bool:
    """Read statements in order; return whether what follows them is reached."""
    return all(_statement(reader, frame, node) for node in body)


def _statement(reader: Reader, frame: Frame, node: ast.stmt) -> bool:
    if isinstance(node, ast.Return):
        frame.returned.append(NONE if node.value is None else evaluate(reader, frame, node.value))
        return False
    if isinstance(node, ast.Raise):
        frame.raised.append(frame.place(node))
        return False
    if isinstance(node, ast.If):
        return _if(reader, frame, node)
    if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
        return _loop(reader, frame, node)
    if isinstance(node, ast.Try):
        return _try(reader, frame, node)
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return execute(reader, frame, node.body)
    _simple(reader, frame, node)
    return True


def _simple(reader: Reader, frame: Frame, node: ast.stmt) -> None:
    if isinstance(node, ast.Assign):
        value = evaluate(reader, frame, node.value)
        for target in node.targets:
            assign(reader, frame, target, value)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        assign(reader, frame, node.target, evaluate(reader, frame, node.value))
    elif isinstance(node, ast.AugAssign):
        left, right = evaluate(reader, frame, node.target), evaluate(reader, frame, node.value)
        assign(reader, frame, node.target, arithmetic(left, right, node.op, frame, node))
    elif isinstance(node, ast.Expr):
        evaluate(reader, frame, node.value)
    else:
        _declare(reader, frame, node)


def _declare(reader: Reader, frame: Frame, node: ast.stmt) -> None:
    """Read what binds names without computing anything."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        frame.variables[node.name] = Function(node, frame.source, frame.owner, around=frame.variables)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for name, origin in frame.source.imports(node).items():
            frame.variables[name] = reader.names.bound(frame.source, name, origin)
    elif isinstance(node, ast.Delete):
        for target in node.targets:
            _delete(reader, frame, target)


def _delete(reader: Reader, frame: Frame, target: ast.expr) -> None:
    if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
        bag, key = evaluate(reader, frame, target.value), evaluate(reader, frame, target.slice)
        if isinstance(bag, Bag) and isinstance(key, Const):
            frame.variables[target.value.id] = bag.put(key.value, None)


def assign(reader: Reader, frame: Frame, target: ast.expr, value: Value) -> None:
    """Bind a target."""
    if isinstance(target, ast.Name):
        frame.variables[target.id] = value
    elif isinstance(target, ast.Starred):
        assign(reader, frame, target.value, Items((value,)))
    elif isinstance(target, (ast.Tuple, ast.List)):
        for index, each in enumerate(target.elts):
            assign(reader, frame, each, _unpacked(value, index, frame, each))
    elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
        _set_attribute(reader, frame, target.value.id, target.attr, value)
    elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
        _set_item(reader, frame, target, value)


def _unpacked(value: Value, index: int, frame: Frame, node: ast.expr) -> Value:
    return value if isinstance(value, Tensor) else item(value, Const(index), frame, node)


def _set_attribute(reader: Reader, frame: Frame, name: str, attribute: str, value: Value) -> None:
    from gacheck.lint.objects import Instance
    from gacheck.lint.values import Output

    owner = frame.variables.get(name)
    if isinstance(owner, Output):
        frame.variables[name] = Output({**owner.fields, attribute: value})
    elif isinstance(owner, Instance):
        reader.attributes.remember(owner, attribute, value)


def _set_item(reader: Reader, frame: Frame, target: ast.Subscript, value: Value) -> None:
    assert isinstance(target.value, ast.Name)
    name, holder, key = target.value.id, evaluate(reader, frame, target.value), evaluate(reader, frame, target.slice)
    if isinstance(holder, Bag):
        is_name = isinstance(key, Const) and isinstance(key.value, str)
        frame.variables[name] = (
            holder.put(key.value, value) if is_name and isinstance(key, Const) else Bag(holder.entries, open=True)
        )
    elif tensors_in([value]):
        # Part of a tensor is filled, as shifted labels are.
        frame.variables[name] = join(holder, value) if isinstance(holder, Tensor) else value


def merge(states: list[Variables]) -> Variables:
    """Return what is known after branches."""
    merged = states[0]
    for state in states[1:]:
        names = {*merged, *state}
        merged = {name: join(merged.get(name, NONE), state.get(name, NONE)) for name in names}
    return merged


def _branches(reader: Reader, frame: Frame, bodies: list[list[ast.stmt]]) -> bool:
    """Read several branches, each from here; go on with what is known after those that are left open."""
    before, after = frame.variables, []
    for body in bodies:
        frame.variables = dict(before)
        if execute(reader, frame, body):
            after.append(frame.variables)
    frame.variables = merge(after) if after else before
    return bool(after)


def _if(reader: Reader, frame: Frame, node: ast.If) -> bool:
    known = truth(evaluate(reader, frame, node.test))
    if known is not None:
        return execute(reader, frame, node.body if known else node.orelse)
    return _branches(reader, frame, [node.body, node.orelse])


def _loop(reader: Reader, frame: Frame, node: ast.For | ast.AsyncFor | ast.While) -> bool:
    if isinstance(node, ast.While):
        _branches(reader, frame, [node.body, []])
        return True
    over = evaluate(reader, frame, node.iter)
    known = isinstance(over, (Items, Bag))
    for each in elements(over)[:ROUNDS] if known else [*elements(over)] * 2:
        assign(reader, frame, node.target, each)
        if known:
            execute(reader, frame, node.body)
        else:
            _branches(reader, frame, [node.body, []])
    return execute(reader, frame, node.orelse)


def _try(reader: Reader, frame: Frame, node: ast.Try) -> bool:
    reached = _branches(reader, frame, [[*node.body, *node.orelse], *(handler.body for handler in node.handlers)])
    return execute(reader, frame, node.finalbody) and reached


__all__ = ["OTHER", "assign", "execute"]
