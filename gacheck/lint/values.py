"""What is known of a value while source is read: where a loss comes from, and whether the count was used for it.

Nothing is computed. A tensor is known by whether labels went into it, and by the losses that it is made of; all that
bears on neither is `OTHER`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import reduce
from itertools import product
from typing import Any

from gacheck.rules.facts import CodeLocation

COUNT = "num_items_in_batch"
"""The argument with which the Trainer hands the count over."""

# Of the losses that branches leave open, as many are told apart.
ALTERNATIVES = 24


class Use(Enum):
    """Whether a loss is divided by the count."""

    YES = "yes"
    NO = "no"
    OPEN = "open"


class Labels(Enum):
    """What a tensor has of the labels; what is made by a function of them, such as a decoder's inputs, is made."""

    NONE = 0
    MADE = 1
    THESE = 2


@dataclass(frozen=True)
class Loss:
    """A loss that was found.

    Attributes:
        use: Whether it is divided by the count.
        kind: The name of the function or the class that computes it.
        trail: The lines from the model's own to the one that computes it, or that divides it by the count.
        reduction: What was made of the rows: `mean`, `sum`, `none`, or `?`.
        why: What is open about it.
    """

    use: Use
    kind: str
    trail: tuple[CodeLocation, ...]
    reduction: str = "?"
    why: str = ""


class Value:
    """Anything; what is said here says nothing."""


@dataclass(frozen=True)
class Other(Value):
    """What bears on no loss."""


OTHER = Other()


@dataclass(frozen=True)
class Const(Value):
    """A literal."""

    value: Any


NONE = Const(None)


@dataclass(frozen=True)
class Count(Value):
    """The Trainer's count, or what is computed of it alone; not sure where it may be something else."""

    sure: bool = True


@dataclass(frozen=True)
class Tensor(Value):
    """What labels went into.

    Attributes:
        labels: How.
        losses: What it is made of; more than one where it depends on a branch.
        place: The line that made it.
    """

    labels: Labels
    losses: frozenset[Loss] = frozenset()
    place: tuple[CodeLocation, ...] = ()


@dataclass(frozen=True)
class Bag(Value):
    """A dictionary, such as `**kwargs`.

    Attributes:
        entries: What is known to be in it, or, where None, known not to be.
        open: Whether there may be more.
    """

    entries: Mapping[str, Value | None] = field(default_factory=dict)
    open: bool = False

    def get(self, name: str) -> Value | None:
        """Return an entry; None where there is none, OTHER where there may be one."""
        return self.entries.get(name, OTHER if self.open else None)

    def put(self, name: str, value: Value | None) -> Bag:
        """Return the bag with an entry, or without."""
        return replace(self, entries={**self.entries, name: value})

    def over(self, under: Bag) -> Bag:
        """Return what `{**under, **self}` is."""
        known = {name: value for name, value in self.entries.items() if value is not None or name not in under.entries}
        return Bag({**under.entries, **known}, self.open or under.open)

    @property
    def present(self) -> Iterator[Value]:
        """What is known to be in it."""
        return (value for value in self.entries.values() if value is not None)


@dataclass(frozen=True)
class Items(Value):
    """A tuple or a list."""

    items: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Output(Value):
    """What a model returns: an object with named fields."""

    fields: Mapping[str, Value]


@dataclass(frozen=True)
class Foreign(Value):
    """What is not read, by its full name: of torch, of Python itself, or of a package that is unknown here."""

    name: str


@dataclass(frozen=True)
class Criterion(Value):
    """A loss of torch that was made and waits to be called."""

    kind: str
    reduction: str


@dataclass(frozen=True)
class Either(Value):
    """One of several functions or objects."""

    options: tuple[Value, ...]


def inner(value: Value) -> Iterator[Value]:
    """Yield a value and all that it holds."""
    yield value
    held: Iterable[Value] = ()
    if isinstance(value, Bag):
        held = value.present
    elif isinstance(value, Items):
        held = value.items
    elif isinstance(value, Output):
        held = value.fields.values()
    for each in held:
        yield from inner(each)


def tensors_in(values: Iterable[Value]) -> list[Tensor]:
    """Return what labels went into of all that values hold."""
    return [each for value in values for each in inner(value) if isinstance(each, Tensor)]


def counts_in(values: Iterable[Value]) -> list[Count]:
    """Return the counts that values hold."""
    return [each for value in values for each in inner(value) if isinstance(each, Count)]


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
    callables = tuple(
        dict.fromkeys(each for each in options if not isinstance(each, (Other, Const, Bag, Items, Output)))
    )
    return callables[0] if len(callables) == 1 and OTHER not in options else Either(callables) if callables else OTHER


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
