"""What is known of a value while source is read: where a loss comes from, and whether the count was used for it.

Nothing is computed. A tensor is known by whether labels went into it, and by the losses that it is made of; all that
bears on neither is `OTHER`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from gacheck.rules.facts import CodeLocation

COUNT = "num_items_in_batch"
"""The argument with which the Trainer hands the count over."""


CHOSEN = "chosen"
"""A reduction that stands in no source: a config has it."""


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
        reduction: What was made of the rows: `mean`, `sum`, `none`, chosen elsewhere, or `?`.
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


def truth(value: Value) -> bool | None:
    """Return whether a value is true; None where that is not known."""
    if isinstance(value, Const):
        return bool(value.value)
    if isinstance(value, Count):
        return value.sure or None
    if isinstance(value, Bag):
        return any(True for _ in value.present) or (None if value.open else False)
    if isinstance(value, Items):
        return bool(value.items) or None
    return None if isinstance(value, (Other, Tensor, Foreign)) else True
