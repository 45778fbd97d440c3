"""Operators: what becomes of losses that are added, multiplied, and divided by the count."""

from __future__ import annotations

import ast

from gacheck.lint.joining import added, combine, divided_by_count, multiplied
from gacheck.lint.objects import Frame
from gacheck.lint.values import Bag, Count, Items, Loss, Tensor, Use, Value
from gacheck.rules.facts import CodeLocation


def arithmetic(left: Value, right: Value, operator: ast.operator, frame: Frame, node: ast.AST) -> Value:
    """Return the result of an operator."""
    place = frame.place(node)
    if isinstance(left, Bag) and isinstance(right, Bag):
        return right.over(left)
    if isinstance(left, Items) or isinstance(right, Items):
        return _concatenated(left, right)
    if isinstance(right, Count):
        return _with_count(left, right, operator, place)
    if isinstance(left, Count):
        return left if not isinstance(right, Tensor) else _with_count(right, left, operator, place)
    if isinstance(operator, ast.Div) and _counts_labels(right):
        return _mean(combine([left, right], place, multiplied))
    if isinstance(operator, (ast.Add, ast.Sub)):
        return combine([left, right], place, added)
    result = combine([left, right], place, multiplied)
    return reduced(result, "?") if _counts_labels(left) or _counts_labels(right) else result


def _with_count(value: Value, count: Count, operator: ast.operator, place: tuple[CodeLocation, ...]) -> Value:
    if isinstance(operator, (ast.Div, ast.FloorDiv)):
        return divided_by_count(value, count, place)
    if not isinstance(value, Tensor):
        return count
    why = "it is computed with the count, but not divided by it"
    return Tensor(value.labels, frozenset({Loss(Use.OPEN, "arithmetic", place, why=why)}), place)


def _counts_labels(value: Value) -> bool:
    return isinstance(value, Tensor) and not value.losses


def _mean(value: Value) -> Value:
    return reduced(value, "mean")


def reduced(value: Value, reduction: str) -> Value:
    """Return a tensor whose losses are reduced."""
    if not isinstance(value, Tensor):
        return value
    losses = frozenset(Loss(each.use, each.kind, each.trail, reduction, each.why) for each in value.losses)
    return Tensor(value.labels, losses, value.place)


def _concatenated(left: Value, right: Value) -> Value:
    """Return two tuples in one; of one that is not known, nothing stands in it."""
    return Items(tuple(each for side in (left, right) for each in (side.items if isinstance(side, Items) else ())))
