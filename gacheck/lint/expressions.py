"""Expressions: what is known of the value of each."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gacheck.lint.arithmetic import arithmetic
from gacheck.lint.comprehensions import read_dictionary, read_list
from gacheck.lint.joining import added, combine, join, join_all, multiplied
from gacheck.lint.objects import Frame, Function
from gacheck.lint.values import (
    NONE,
    OTHER,
    Bag,
    Const,
    Count,
    Foreign,
    Items,
    Other,
    Output,
    Value,
    truth,
)

if TYPE_CHECKING:
    from gacheck.lint.reader import Reader


def evaluate(reader: Reader, frame: Frame, node: ast.expr) -> Value:
    """Return what is known of an expression."""
    read: Callable[[Any, Frame, Any], Value] | None = _KINDS.get(type(node))
    if read is not None:
        return read(reader, frame, node)
    # What is left of it may bind a name, or be made of a loss.
    parts = [evaluate(reader, frame, each) for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)]
    return combine(parts, frame.place(node), added)


def _name(reader: Reader, frame: Frame, node: ast.Name) -> Value:
    if node.id in frame.variables:
        return frame.variables[node.id]
    return reader.names.resolve(frame.source, node.id)


def _attribute(reader: Reader, frame: Frame, node: ast.Attribute) -> Value:
    return reader.attributes.of(evaluate(reader, frame, node.value), node.attr)


def _subscript(reader: Reader, frame: Frame, node: ast.Subscript) -> Value:
    value = evaluate(reader, frame, node.value)
    if isinstance(node.slice, ast.Slice):
        index: Value = OTHER
        bounds = _bounds(reader, frame, node.slice)
        if bounds is not None and isinstance(value, Items):
            return Items(value.items[bounds])
        if bounds is not None and isinstance(value, Const) and isinstance(value.value, str):
            return Const(value.value[bounds])
    else:
        index = evaluate(reader, frame, node.slice)
    return item(value, index, frame, node)


def _bounds(reader: Reader, frame: Frame, node: ast.Slice) -> slice | None:
    ends = [NONE if each is None else evaluate(reader, frame, each) for each in (node.lower, node.upper, node.step)]
    values = [each.value for each in ends if isinstance(each, Const) and isinstance(each.value, (int, type(None)))]
    return slice(*values) if len(values) == len(ends) else None


def item(value: Value, index: Value, frame: Frame, node: ast.expr) -> Value:
    """Return `value[index]`."""
    key = index.value if isinstance(index, Const) else None
    if isinstance(value, Bag):
        return (value.get(key) or OTHER) if isinstance(key, str) else join_all(value.present)
    if isinstance(value, Output):
        return _field(value, key)
    if isinstance(value, Items):
        if isinstance(key, int) and -len(value.items) <= key < len(value.items):
            return value.items[key]
        return join_all(value.items) if value.items else OTHER
    if isinstance(value, Count):
        return value
    return combine([value, index], frame.place(node), multiplied)


def _field(output: Output, key: Any) -> Value:
    if isinstance(key, str):
        return output.fields.get(key, OTHER)
    present = [each for each in output.fields.values() if each != NONE]
    return present[key] if isinstance(key, int) and -len(present) <= key < len(present) else OTHER


def _binary(reader: Reader, frame: Frame, node: ast.BinOp) -> Value:
    left, right = evaluate(reader, frame, node.left), evaluate(reader, frame, node.right)
    return arithmetic(left, right, node.op, frame, node)


def _boolean(reader: Reader, frame: Frame, node: ast.BoolOp) -> Value:
    stops_at = isinstance(node.op, ast.Or)
    open_values: list[Value] = []
    for each in node.values:
        value = evaluate(reader, frame, each)
        known = truth(value)
        if known is stops_at:
            return join_all([*open_values, value]) if open_values and not isinstance(value, Const) else value
        if known is None:
            open_values.append(value)
    if not open_values:
        return value
    return value if known is not None and isinstance(value, (Bag, Count)) else join_all(open_values)


def _unary(reader: Reader, frame: Frame, node: ast.UnaryOp) -> Value:
    value = evaluate(reader, frame, node.operand)
    if isinstance(node.op, ast.Not):
        known = truth(value)
        return OTHER if known is None else Const(not known)
    if isinstance(node.op, ast.USub) and isinstance(value, Const) and isinstance(value.value, (int, float)):
        return Const(-value.value)
    return value


def _compare(reader: Reader, frame: Frame, node: ast.Compare) -> Value:
    values = [evaluate(reader, frame, each) for each in (node.left, *node.comparators)]
    if len(values) == 2:
        known = _compared(values[0], values[1], node.ops[0])
        if known is not None:
            return Const(known)
    is_tensor = isinstance(node.ops[0], (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE))
    return combine(values, frame.place(node), multiplied) if is_tensor else OTHER


def _compared(left: Value, right: Value, operator: ast.cmpop) -> bool | None:
    """Return what a comparison says; None where that is not known."""
    if isinstance(operator, (ast.Is, ast.IsNot)) or NONE in (left, right):
        same = _is_none(left) if right == NONE else _is_none(right) if left == NONE else None
    elif isinstance(operator, (ast.In, ast.NotIn)):
        same = _is_in(left, right)
    elif isinstance(operator, (ast.Eq, ast.NotEq)) and isinstance(left, Const) and isinstance(right, Const):
        same = bool(left.value == right.value)
    else:
        return None
    return same if same is None or isinstance(operator, (ast.Is, ast.In, ast.Eq)) else not same


def _is_none(value: Value) -> bool | None:
    if isinstance(value, Const):
        return value.value is None
    if isinstance(value, Count):
        return False if value.sure else None
    return None if isinstance(value, (Other, Foreign)) else False


def _is_in(key: Value, holder: Value) -> bool | None:
    if not isinstance(key, Const):
        return None
    if isinstance(holder, Bag):
        value = holder.get(key.value)
        return None if value == OTHER or (isinstance(value, Count) and not value.sure) else value is not None
    if isinstance(holder, Items) and all(isinstance(each, Const) for each in holder.items):
        return key in holder.items
    if isinstance(holder, Const) and isinstance(holder.value, str) and isinstance(key.value, str):
        return key.value in holder.value
    return None


def _conditional(reader: Reader, frame: Frame, node: ast.IfExp) -> Value:
    known = truth(evaluate(reader, frame, node.test))
    if known is not None:
        return evaluate(reader, frame, node.body if known else node.orelse)
    return join(evaluate(reader, frame, node.body), evaluate(reader, frame, node.orelse))


def _items(reader: Reader, frame: Frame, node: ast.Tuple | ast.List | ast.Set) -> Value:
    found: list[Value] = []
    for each in node.elts:
        if isinstance(each, ast.Starred):
            value = evaluate(reader, frame, each.value)
            found += value.items if isinstance(value, Items) else []
        else:
            found.append(evaluate(reader, frame, each))
    return Items(tuple(found))


def _dictionary(reader: Reader, frame: Frame, node: ast.Dict) -> Value:
    bag = Bag()
    for key, each in zip(node.keys, node.values, strict=True):
        value = evaluate(reader, frame, each)
        if key is None:
            bag = (value if isinstance(value, Bag) else Bag(open=True)).over(bag)
            continue
        name = evaluate(reader, frame, key)
        is_name = isinstance(name, Const) and isinstance(name.value, str)
        bag = bag.put(name.value, value) if is_name and isinstance(name, Const) else bag.over(Bag(open=True))
    return bag


def _lambda(reader: Reader, frame: Frame, node: ast.Lambda) -> Value:
    return Function(node, frame.source, frame.owner, around=frame.variables)


def _named(reader: Reader, frame: Frame, node: ast.NamedExpr) -> Value:
    value = evaluate(reader, frame, node.value)
    reader.assign(frame, node.target, value)
    return value


def _call(reader: Reader, frame: Frame, node: ast.Call) -> Value:
    return reader.call_node(frame, node)


_KINDS: dict[type, Callable[[Any, Frame, Any], Value]] = {
    ast.Constant: lambda reader, frame, node: Const(node.value),
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.BinOp: _binary,
    ast.BoolOp: _boolean,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.Tuple: _items,
    ast.List: _items,
    ast.Set: _items,
    ast.Dict: _dictionary,
    ast.ListComp: read_list,
    ast.SetComp: read_list,
    ast.GeneratorExp: read_list,
    ast.DictComp: read_dictionary,
    ast.Lambda: _lambda,
    ast.NamedExpr: _named,
    ast.Call: _call,
    ast.JoinedStr: lambda reader, frame, node: OTHER,
}
