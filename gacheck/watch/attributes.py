"""An object's attributes at one moment, and what they hold, far down; all of it can be put back in place."""

from __future__ import annotations

import enum
import functools
import itertools
import operator
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

# A Trainer's attributes that hold what it is fed: large, and nobody keeps books in them.
DATA = frozenset({"train_dataset", "eval_dataset"})

# Where the noting ends, whatever hangs together: so far from the objects that were asked for, after so many things,
# at tensors of so many elements, and so many in all.
MOST_STEPS = 10
MOST_THINGS = 20_000
MOST_ELEMENTS = 2**22
MOST_ELEMENTS_IN_ALL = 2**24
# Tensors up to this size are compared whether or not torch has counted a write: one to `.data` it does not count.
FEW_ELEMENTS = 2**12

# What computes the same whether it has been used before or not, feeds a training, steps it, or is bound to a device.
OTHERS = (torch.optim.Optimizer, LRScheduler, Dataset, DataLoader, Sampler, enum.Enum)
OTHERS_BY_NAME = frozenset(
    {"PreTrainedTokenizerBase", "ProcessorMixin", "FeatureExtractionMixin", "ImageProcessingMixin", "_LRScheduler"}
)
# Of these packages and of the standard library no object is looked into; gacheck's own notes above all are to stay.
PLAIN_HOLDERS = frozenset({"types", "argparse", "collections"})
CLOSED = frozenset(getattr(sys, "stdlib_module_names", ())) - PLAIN_HOLDERS | {
    *("gacheck", "torch", "numpy", "pyarrow", "pandas", "PIL", "triton", "deepspeed", "bitsandbytes"),
    *("tokenizers", "datasets", "huggingface_hub", "tqdm", "rich", "ray", "optuna"),
    *("wandb", "mlflow", "comet_ml", "clearml", "swanlab", "tensorboard", "tensorboardX"),
    # Of the standard library, where Python 3.9 does not say what is in it.
    *("builtins", "functools", "logging", "threading", "concurrent", "asyncio", "multiprocessing"),
    *("queue", "weakref", "io", "_io", "_thread"),
}
TRAINED_OF_OURS = "gacheck.measure.selftest."  # planted Trainers and models
OPEN_PARTS = ("torch.amp.", "torch.cuda.amp.")  # a GradScaler
# Their objects change; their classes and functions have no attributes of a training's.
LIBRARIES = frozenset({"transformers", "accelerate", "peft", "trl"})


class _Kept(Protocol):
    def restore(self) -> None: ...


class _Mapping:
    """A dict, also one with attributes or an order of its own; what its class makes of a change is passed by."""

    def __init__(self, mapping: dict[Any, Any]) -> None:
        self._of: Any = OrderedDict if isinstance(mapping, OrderedDict) else dict
        self._mapping = mapping
        self._keys, self._values = list(self._of.keys(mapping)), list(self._of.values(mapping))

    def restore(self) -> None:
        now = self._mapping
        if _same(self._of.keys(now), self._keys) and _same(self._of.values(now), self._values):
            return
        self._of.clear(now)
        for key, value in zip(self._keys, self._values):
            self._of.__setitem__(now, key, value)


class _Items:
    """A list, set, deque or bytearray."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection
        self._of: Any = next(kind for kind in (list, set, deque, bytearray) if isinstance(collection, kind))
        self._items = list(self._of.__iter__(collection))

    def restore(self) -> None:
        now = self._collection
        if _same(self._of.__iter__(now), self._items) and len(now) == len(self._items):
            return
        self._of.clear(now)
        (self._of.update if self._of is set else self._of.extend)(now, self._items)


def _same(these: Iterable[Any], those: list[Any]) -> bool:
    """Return whether they are the very same things, in the same order."""
    these = list(these)
    return len(these) == len(those) and all(map(operator.is_, these, those))


class _Names:
    """What has attributes outside a `__dict__`: the slots of an object, a class, the variable of a closure."""

    def __init__(self, owner: Any, read: Callable[[], dict[str, Any]]) -> None:
        self._owner = owner
        self._read = read
        self.values = read()

    def restore(self) -> None:
        now = self._read()
        for name in now.keys() - self.values.keys():
            delattr(self._owner, name)
        for name, value in self.values.items():
            if name not in now or now[name] is not value:
                setattr(self._owner, name, value)


class _Tensor:
    """The values of a tensor; what was not written to is not either: a graph may have saved it to be differentiated.

    Nor does torch know afterwards that one was written to which holds its values again.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._values = tensor.detach().clone()
        self._is_small = tensor.numel() <= FEW_ELEMENTS
        self._version = None if tensor.is_inference() else tensor._version
        keep = getattr(torch.autograd, "_unsafe_preserve_version_counter", None)
        self._keeper = keep(tensor) if keep is not None and self._version is not None else None

    def restore(self) -> None:
        now = self._tensor
        is_written = self._version is None or now._version != self._version
        if (is_written or self._is_small) and not torch.equal(now, self._values):
            is_written = True
            with torch.inference_mode(self._version is None), torch.no_grad():
                now.copy_(self._values)
        if is_written and self._keeper is not None:
            self._keeper.__exit__(None, None, None)


class _Array:
    """The values of a NumPy array."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._values = array.copy()

    def restore(self) -> None:
        if self._array.tobytes() != self._values.tobytes():
            self._array[...] = self._values


class _Generator:
    """Where a random generator of somebody's own stands."""

    def __init__(self, state: Any, put: Callable[[Any], Any]) -> None:
        self._state = state
        self._put = put

    def restore(self) -> None:
        self._put(self._state)


class ObjectState:
    """The attributes of objects at one moment, and what the objects and collections among them hold, far down.

    All is put back in place, since others may hold the same things. Weights and buffers come back as the same tensors,
    whatever values they have by then. What cannot be noted or put back is passed over: see the bounds above.

    Args:
        things: Whose attributes are noted.
        without: What is not looked into, wherever it is met.

    Attributes:
        modules: All that were met.
    """

    def __init__(self, *things: Any, without: Iterable[Any] = ()) -> None:
        self.modules: list[torch.nn.Module] = []
        self._kept: list[_Kept] = []
        self._empty: list[Any] = []
        self._num_elements = 0
        self._seen = {id(each) for each in without}
        self._waiting: deque[tuple[_Noter, Any, int]] = deque()
        # However many are asked for, what they hold is looked into.
        self._most = MOST_THINGS + len(self._seen) + 4 * len(things)
        for thing in things:
            cls: Any = type(thing)
            # What is asked for is looked into, whatever it is.
            self._note_by(_noter_of(cls) or ObjectState._note_object, thing, 0)
        while self._waiting:
            noter, value, steps = self._waiting.popleft()
            with suppress(Exception):
                noter(self, value, steps)
        # Another object may come to have the number of one that is gone.
        del self._seen, self._waiting

    def restore(self) -> None:
        """Put everything back."""
        for collection in self._empty:
            if collection:
                collection.clear()
        for kept in self._kept:
            with suppress(Exception):
                kept.restore()

    def _note(self, value: Any, steps: int) -> None:
        """Have a value noted, and then what it holds: what is near before what is far."""
        cls: Any = type(value)
        noter = _noter_of(cls)
        if noter is not None:
            self._note_by(noter, value, steps)

    def _note_by(self, noter: _Noter, value: Any, steps: int) -> None:
        if id(value) not in self._seen and steps <= MOST_STEPS and len(self._seen) < self._most:
            self._seen.add(id(value))
            self._waiting.append((noter, value, steps))

    def _note_all(self, values: Iterable[Any], steps: int) -> None:
        for value in itertools.islice(values, MOST_THINGS):
            cls: Any = type(value)
            if cls in PLAIN:
                continue
            if cls in EMPTIED and not value:  # most of what a module has
                self._empty.append(value)
            else:
                self._note(value, steps + 1)

    def _note_collection(self, collection: Any, steps: int) -> None:
        if isinstance(collection, dict):
            self._kept.append(_Mapping(collection))
            self._note_all(list(dict.values(collection)), steps)
        else:
            if not isinstance(collection, tuple):
                self._kept.append(_Items(collection))
            if not isinstance(collection, bytearray):
                self._note_all(collection, steps)
        if _package(type(collection).__module__) not in CLOSED:  # a kind of its own, with attributes
            self._note_object(collection, steps)

    def _note_object(self, thing: Any, steps: int) -> None:
        cls: Any = type(thing)
        attributes = getattr(thing, "__dict__", None)
        if isinstance(attributes, dict):
            self._kept.append(_Mapping(attributes))
            self._note_all([v for name, v in attributes.items() if name not in DATA], steps)
        slots = _slots_of(cls)
        if slots:
            self._note_names(
                thing, lambda: {name: getattr(thing, name) for name in slots if hasattr(thing, name)}, steps
            )
        self._note_classes(cls, steps)

    def _note_module(self, module: torch.nn.Module, steps: int) -> None:
        self.modules.append(module)
        attributes = vars(module)
        self._kept.append(_Mapping(attributes))
        for registry in map(attributes.get, ("_parameters", "_buffers", "_modules")):
            if isinstance(registry, dict):
                self._kept.append(_Mapping(registry))
                self._seen.add(id(registry))
        self._note_all(attributes.values(), steps)
        if attributes["_modules"]:
            for part in module.children():  # they are as near as the whole
                self._note(part, steps)
        self._note_classes(type(module), steps)

    def _note_classes(self, cls: Any, steps: int) -> None:
        for each in _own_classes(cls):
            if id(each) not in self._seen:
                self._seen.add(id(each))
                self._waiting.append((ObjectState._note_class, each, steps))

    def _note_class(self, cls: Any, steps: int) -> None:
        """Note what a class of the user's own counts and collects for all its instances."""

        def read() -> dict[str, Any]:
            return {name: v for name, v in vars(cls).items() if not (name.startswith("__") and name.endswith("__"))}

        self._note_names(cls, read, steps)

    def _note_names(self, owner: Any, read: Callable[[], dict[str, Any]], steps: int) -> None:
        names = _Names(owner, read)
        self._kept.append(names)
        self._note_all(names.values.values(), steps)

    def _note_function(self, function: types.FunctionType, steps: int) -> None:
        """Note its attributes, the values of its arguments by default, and the variables that it encloses."""
        if _package(function.__globals__.get("__name__")) in CLOSED | LIBRARIES:
            return
        self._kept.append(_Mapping(vars(function)))
        self._note_all([*vars(function).values(), function.__defaults__, function.__kwdefaults__], steps)
        for cell in function.__closure__ or ():
            self._note_names(cell, functools.partial(_content, cell), steps)

    def _note_method(self, method: Any, steps: int) -> None:
        self._note_all([method.__self__, method.__func__], steps)

    def _note_partial(self, partial: Any, steps: int) -> None:
        self._note_all([partial.func, partial.args, partial.keywords, vars(partial)], steps)

    def _note_tensor(self, tensor: torch.Tensor, steps: int) -> None:
        size = tensor.numel()
        if isinstance(tensor, torch.nn.Parameter) or tensor.layout != torch.strided or tensor.device.type == "meta":
            return
        if (size > 1 and tensor.grad_fn is not None) or size > min(
            MOST_ELEMENTS, MOST_ELEMENTS_IN_ALL - self._num_elements
        ):
            return
        self._num_elements += size
        self._kept.append(_Tensor(tensor))

    def _note_array(self, array: Any, steps: int) -> None:
        if array.size <= min(MOST_ELEMENTS, MOST_ELEMENTS_IN_ALL - self._num_elements) and not array.dtype.hasobject:
            self._num_elements += array.size
            self._kept.append(_Array(array))

    def _note_generator(self, generator: Any, steps: int) -> None:
        if isinstance(generator, random.Random):
            self._kept.append(_Generator(generator.getstate(), generator.setstate))
        elif hasattr(generator, "bit_generator"):
            bits = generator.bit_generator
            self._kept.append(_Generator(bits.state, functools.partial(setattr, bits, "state")))
        else:  # torch's, or one of NumPy's former kind
            self._kept.append(_Generator(generator.get_state(), generator.set_state))


_Noter = Callable[[ObjectState, Any, int], None]

PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device, torch.Size})
EMPTIED = (dict, OrderedDict, list, set, deque)

_BY_BASE: tuple[tuple[Any, _Noter], ...] = (
    (torch.nn.Module, ObjectState._note_module),
    (torch.Tensor, ObjectState._note_tensor),
    ((torch.Generator, random.Random), ObjectState._note_generator),
    ((dict, list, tuple, set, deque, bytearray), ObjectState._note_collection),
    (types.FunctionType, ObjectState._note_function),
    (types.MethodType, ObjectState._note_method),
    (functools.partial, ObjectState._note_partial),
)
_BY_NAME: dict[str, _Noter] = {
    "numpy.ndarray": ObjectState._note_array,
    "numpy.random._generator.Generator": ObjectState._note_generator,
    "numpy.random.mtrand.RandomState": ObjectState._note_generator,
}


@functools.cache
def _noter_of(cls: Any) -> _Noter | None:
    """Return what notes the instances of a class; None where they hold nothing that changes, or nothing of interest."""
    if cls in PLAIN or issubclass(cls, OTHERS) or not OTHERS_BY_NAME.isdisjoint(c.__name__ for c in cls.__mro__):
        return None
    for bases, noter in _BY_BASE:
        if issubclass(cls, bases):
            return noter
    by_name = _BY_NAME.get(f"{cls.__module__}.{cls.__qualname__}")
    if by_name is not None:
        return by_name
    is_open = _package(cls.__module__) not in CLOSED or cls.__module__.startswith(OPEN_PARTS)
    return ObjectState._note_object if is_open else None


@functools.cache
def _own_classes(cls: Any) -> tuple[type, ...]:
    """Return those of a class and its bases that are the user's own."""
    closed = CLOSED | LIBRARIES | PLAIN_HOLDERS
    return tuple(each for each in cls.__mro__ if _package(each.__module__) not in closed)


@functools.cache
def _slots_of(cls: Any) -> tuple[str, ...]:
    classes = [each for each in cls.__mro__ if _package(each.__module__) not in CLOSED | PLAIN_HOLDERS]
    return tuple(name for c in classes for name, v in vars(c).items() if isinstance(v, types.MemberDescriptorType))


def _content(cell: Any) -> dict[str, Any]:
    try:
        return {"cell_contents": cell.cell_contents}
    except ValueError:  # a variable that has no value yet
        return {}


def _package(module: Any) -> str:
    """Return the package of a module; of those of gacheck's own that train something, the module itself."""
    name = str(module)
    return name if name.startswith(TRAINED_OF_OURS) else name.partition(".")[0]
