"""What a training's own code puts in the place of transformers' Trainer: read from classes and their code, not run."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from gacheck.rules.facts import Overrides

METHODS = ("training_step", "compute_loss", "get_batch_samples")
COUNT = "num_items_in_batch"
MICRO_BATCHES = "current_gradient_accumulation_steps"
SCALED = "loss_is_scaled_for_ga"


def read_overrides(trainer: Any) -> Overrides:
    """Read what the training's own code puts in the place of transformers' own."""
    steps = {name: _read_method(trainer, name) for name in METHODS}
    function = getattr(trainer, "compute_loss_func", None)
    loss = steps["compute_loss"]
    return Overrides(
        training_step=steps["training_step"].name,
        compute_loss=loss.name,
        get_batch_samples=steps["get_batch_samples"].name,
        calls_own=tuple(name for name, each in steps.items() if each.calls_own),
        drops_count=tuple(name for name, each in steps.items() if each.drops_count and name != "get_batch_samples"),
        loss_is_scaled_for_ga=getattr(trainer, SCALED, None),
        loss_is_scaled_set_by=_setter(trainer, SCALED),
        compute_loss_func=name_of(function),
        label_smoother=getattr(trainer, "label_smoother", None) is not None
        and function is None
        and (loss.name is None or loss.calls_own),
        counts_micro_batches=any(MICRO_BATCHES in code.co_names for code in _codes_of_transformers(trainer)),
    )


@dataclass(frozen=True)
class _Method:
    """What stands for a method of the Trainer: where it is not transformers' own, its name and what its code does."""

    name: str | None
    calls_own: bool
    drops_count: bool


def _read_method(trainer: Any, name: str) -> _Method:
    """Follow the definitions from the object down to transformers' own, or to one that does not call on.

    The one that does not call on is named, unless a library has it and code of the user's own stands before it.
    """
    outermost, drops, of_user = None, False, None
    for owner, function in _definitions(trainer, name):
        if is_of_transformers(function):
            return _Method(outermost, outermost is not None, drops)
        code = getattr(function, "__code__", None)
        is_put_there = owner is None or is_of_transformers(owner)
        found = name_of(function) if is_put_there else f"{name_of(owner)}.{name}"
        drops = drops or (code is not None and _never_reads_count(code))
        of_user = found if not _is_installed(function) else of_user
        # What calls on names the method again: super().compute_loss(…), or Trainer.compute_loss(self, …).
        if code is None or not any(name in each.co_names for each in _with_nested(code)):
            return _Method(of_user or found, False, drops)
        outermost = outermost or found
    return _Method(outermost, False, drops)


def _definitions(trainer: Any, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield what defines a method, a class or None for the object itself, and the function, outermost first."""
    own = vars(trainer).get(name)
    functions = [(each, inspect.unwrap(vars(each)[name])) for each in type(trainer).__mro__ if name in vars(each)]
    if own is not None:
        function = inspect.unwrap(own)
        function = getattr(function, "__func__", function)
        # What wraps a method of the class, as our own watch does, is that method.
        if all(function is not each for _, each in functions):
            yield None, function
    yield from functions


def _is_installed(function: Any) -> bool:
    """Whether a function is an installed package's."""
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    return "site-packages" in file or "dist-packages" in file


def _never_reads_count(code: CodeType) -> bool:
    """Whether a function that is given the count by its name has no line that reads it."""
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount :]
    if COUNT in arguments:
        return COUNT not in _names_read(code)
    has_kwargs = bool(code.co_flags & inspect.CO_VARKEYWORDS)
    place = 1 if code.co_flags & inspect.CO_VARARGS else 0
    return not has_kwargs or rest[place] not in _names_read(code)


def _names_read(code: CodeType) -> set[str]:
    """Return the local names that a function reads, in functions within it too."""
    read: set[str] = set()
    for each in _with_nested(code):
        for instruction in dis.get_instructions(each):
            if instruction.opname.startswith("LOAD_"):
                value = instruction.argval
                read.update(value if isinstance(value, tuple) else (value,) if isinstance(value, str) else ())
    return read


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_nested(constant)


def _codes_of_transformers(trainer: Any) -> Iterator[CodeType]:
    """Yield the code of the Trainer's own methods."""
    for each in type(trainer).__mro__:
        if is_of_transformers(each):
            found = (getattr(inspect.unwrap(value), "__code__", None) for value in vars(each).values())
            yield from (code for code in found if code is not None)


def _setter(trainer: Any, name: str) -> str | None:
    """Return the class that sets an attribute; None where the object has it itself, or transformers alone."""
    if name in vars(trainer):
        return None
    return next((name_of(c) for c in type(trainer).__mro__ if name in vars(c) and not is_of_transformers(c)), None)


def is_of_transformers(thing: Any) -> bool:
    """Whether a class or a function is transformers' own."""
    return str(getattr(thing, "__module__", "")).partition(".")[0] == "transformers"


def name_of(thing: Any) -> str | None:
    """Return package.module:name of a class or a function; None for what has no such name."""
    name = getattr(thing, "__qualname__", None)
    module = getattr(thing, "__module__", None)
    if name is None or module is None:
        return None if thing is None else f"{type(thing).__module__}:{type(thing).__name__}"
    if module == "__main__":
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        module = getattr(spec, "name", None) or "__main__"
    return f"{module}:{name.rsplit('.', 1)[-1]}"
