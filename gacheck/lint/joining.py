"""What is known of a value that comes from several: from two branches, or computed of several tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce
from itertools import product

from gacheck.lint.values import (
    NONE,
    OTHER,
    Bag,
    Const,
    Count,
    Either,
    Items,
    Labels,
    Loss,
    Other,
    Output,
    Tensor,
    Use,
    Value,
    tensors_in,
)
from gacheck.rules.facts import CodeLocation

# Of the losses that branches leave open, as many are told apart.
ALTERNATIVES = 24


def join(a: Value, b: Value) -> Value:
    """Return what is known of a value that is `a` or `b`, depending on a branch."""
    if a == b:
        return a
    if NONE in (a, b):
        return _or_none(b if a == NONE else a)
    if isinstance(a, Count) and isinstance(b, Count):
        return Count(sure=False)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return Tensor(max(a.labels, b.labels, key=_rank), _few(a.losses | b.losses), a.place or b.place)
    if isinstance(a, Bag) and isinstance(b, Bag):
        names = {*a.entries, *b.entries}
        return Bag({name: _join_entries(a.get(name), b.get(name)) for name in names}, a.open or b.open)
    if isinstance(a, Items) and isinstance(b, Items):
        return _join_items(a, b)
    if isinstance(a, Output) and isinstance(b, Output):
        names = {*a.fields, *b.fields}
        return Output({name: join(a.fields.get(name, NONE), b.fields.get(name, NONE)) for name in names})
    return _join_unlike(a, b)


def _rank(labels: Labels) -> int:
    return labels.value


def _or_none(value: Value) -> Value:
    """Return what is known of a value that may be missing; a loss that is missing is none."""
    if isinstance(value, Count):
        return Count(sure=False)
    return OTHER if isinstance(value, Const) else value


def _join_entries(a: Value | None, b: Value | None) -> Value | None:
    if a is None or b is None:
        present = a if b is None else b
        return None if present is None else _or_none(present)
    return join(a, b)


def _join_items(a: Items, b: Items) -> Items:
    """Join tuples; a list may have grown in a branch."""
    shorter, longer = sorted((a.items, b.items), key=len)
    joined = tuple(join(x, y) for x, y in zip(a.items, b.items, strict=False))
    return Items((*joined, *longer[len(shorter) :]))


def _join_unlike(a: Value, b: Value) -> Value:
    """Join values of two kinds: what bears on a loss stays."""
    options = [each for value in (a, b) for each in (value.options if isinstance(value, Either) else (value,))]
    for kind in (Tensor, Output, Items, Bag):
        for each in (a, b):
            if isinstance(each, kind) and tensors_in([each]):
                return each
    if any(isinstance(each, Count) for each in options):
        return Count(sure=False)
    known = [each for each in options if not isinstance(each, (Other, Const, Bag, Items, Output))]
    if not known:
        return OTHER
    # What may be something else is called as something that is not read.
    return Either(tuple(dict.fromkeys([*known, *([OTHER] if OTHER in options else [])])))


def join_all(values: Iterable[Value]) -> Value:
    """Join any number of values; of none, None."""
    every = list(values)
    return reduce(join, every) if every else NONE


def combine(values: Iterable[Value], place: tuple[CodeLocation, ...], merge: Callable[[Loss, Loss], Loss]) -> Value:
    """Return what is known of a tensor that is computed of several: of all losses in them."""
    found = tensors_in(values)
    if not found:
        return OTHER
    labels = max((each.labels for each in found), key=_rank)
    made = [each.losses for each in found if each.losses]
    losses = reduce(lambda a, b: _few({merge(x, y) for x, y in product(a, b)}), made) if made else frozenset()
    return Tensor(labels, frozenset(losses), place)


def added(a: Loss, b: Loss) -> Loss:
    """Return the sum of two losses: one that uses the count beside one that does not is neither."""
    if a.use is b.use or a.use is Use.OPEN:
        return a if a.reduction == b.reduction else replace(a, reduction="?")
    if b.use is Use.OPEN:
        return b
    lines = {each.use: each.trail[0].line for each in (a, b) if each.trail}
    why = f"the loss of line {lines.get(Use.YES)} uses the count, that of line {lines.get(Use.NO)} does not"
    return replace(a, use=Use.OPEN, why=why)


def multiplied(a: Loss, b: Loss) -> Loss:
    """Return the product of a loss and a factor: the count may be in either."""
    uses = (a.use, b.use)
    use = Use.OPEN if Use.OPEN in uses else Use.YES if Use.YES in uses else Use.NO
    first = a if a.use is use else b
    return replace(first, use=use, reduction="?")


def divided_by_count(value: Value, count: Count, place: tuple[CodeLocation, ...]) -> Value:
    """Return a value divided by the count."""
    if not isinstance(value, Tensor):
        return Count(count.sure) if isinstance(value, Count) else OTHER
    losses = value.losses or {Loss(Use.NO, "arithmetic", place)}
    return replace(value, losses=frozenset(_divided(each, count, place) for each in losses), place=place)


def _divided(loss: Loss, count: Count, place: tuple[CodeLocation, ...]) -> Loss:
    if not count.sure:
        return replace(loss, use=Use.OPEN, trail=place, why="it is divided by what may be the count or something else")
    if loss.use is not Use.NO:
        return replace(loss, use=Use.OPEN, trail=place, why="it is divided by the count more than once")
    if loss.reduction == "mean":
        return replace(loss, use=Use.OPEN, trail=place, why="a mean is divided by the count")
    return replace(loss, use=Use.YES, trail=place)


def _few(losses: Iterable[Loss]) -> frozenset[Loss]:
    """Keep as many alternatives as are told apart; beyond that nothing is known."""
    every = frozenset(losses)
    if len(every) <= ALTERNATIVES:
        return every
    uses = {each.use for each in every}
    first = min(every, key=lambda each: (str(each.trail), each.kind))
    if len(uses) == 1:
        return frozenset({first})
    return frozenset({replace(first, use=Use.OPEN, why="it depends on more branches than are followed")})
