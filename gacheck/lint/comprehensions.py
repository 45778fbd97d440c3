"""Loops and comprehensions: their elements one by one, as far as they are known."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from gacheck.lint.joining import join
from gacheck.lint.objects import Frame
from gacheck.lint.values import NONE, OTHER, Bag, Const, Count, Items, Tensor, Value, truth

if TYPE_CHECKING:
    from gacheck.lint.reader import Reader


def elements(value: Value) -> list[Value]:
    """Return what a loop over a value gives, one by one; of what is not known, one that stands for all."""
    if isinstance(value, Items):
        return list(value.items)
    if isinstance(value, Bag):
        return [Const(name) for name, each in value.entries.items() if each is not None] + [OTHER] * value.open
    return [value if isinstance(value, (Tensor, Count)) else OTHER]


def _comprehended(
    reader: Reader, frame: Frame, generators: list[ast.comprehension], give: Callable[[Frame, bool | None], None]
) -> None:
    """Call `give` in the frame of each element, with whether it is taken; None where that is not known."""
    first, *rest = generators
    for each in elements(reader.evaluate(frame, first.iter)):
        inside = Frame(frame.source, frame.function, frame.owner, frame.instance, dict(frame.variables))
        reader.assign(inside, first.target, each)
        taken = [truth(reader.evaluate(inside, test)) for test in first.ifs]
        is_taken = False if False in taken else None if None in taken else True
        if rest and is_taken is not False:
            _comprehended(reader, inside, rest, give)
        else:
            give(inside, is_taken)


def read_list(reader: Reader, frame: Frame, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Value:
    """Return the list that a comprehension makes."""
    found: list[Value] = []

    def give(inside: Frame, is_taken: bool | None) -> None:
        if is_taken is not False:
            found.append(reader.evaluate(inside, node.elt))

    _comprehended(reader, frame, node.generators, give)
    return Items(tuple(found))


def read_dictionary(reader: Reader, frame: Frame, node: ast.DictComp) -> Value:
    """Return the dictionary that a comprehension makes."""
    bag = Bag()

    def give(inside: Frame, is_taken: bool | None) -> None:
        nonlocal bag
        key, value = reader.evaluate(inside, node.key), reader.evaluate(inside, node.value)
        if not isinstance(key, Const) or not isinstance(key.value, str):
            bag = Bag(bag.entries, open=True)
        elif is_taken is False:
            # What else may be in an open one, this is not.
            bag = bag if key.value in bag.entries else bag.put(key.value, None)
        else:
            bag = bag.put(key.value, value if is_taken else join(value, NONE))

    _comprehended(reader, frame, node.generators, give)
    return bag
