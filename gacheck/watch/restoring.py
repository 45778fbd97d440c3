"""Puts back what extra forwards and trainings change: random state, buffers, attributes, gradients."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gacheck.watch.attributes import ObjectState

# Buffers of whole numbers beyond this size are weights, packed: nobody counts in them, and a copy could be too much.
LARGE_BYTES = 2**26


@dataclass(frozen=True)
class RandomState:
    """Where the generators stand that a forward may draw from: Python's, NumPy's if it is loaded, torch's."""

    of_python: Any
    of_numpy: Any
    of_torch: torch.Tensor
    of_devices: tuple[tuple[str, tuple[int, ...], torch.Tensor], ...]

    @classmethod
    def now(cls, model: torch.nn.Module) -> RandomState:
        """Read the generators, also of all devices of the kinds that are in use."""
        kinds = {parameter.device.type for parameter in model.parameters()}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            kinds.add("cuda")  # of another model, say
        states = []
        for kind in sorted(kinds):
            read = getattr(getattr(torch, kind, None), "get_rng_state", None)
            if read is not None:
                states += [(kind, number, read(*number)) for number in _numbers(kind)]
        numpy = sys.modules.get("numpy")
        return cls(random.getstate(), numpy and numpy.random.get_state(), torch.get_rng_state(), tuple(states))

    def restore(self) -> None:
        """Put the generators back."""
        random.setstate(self.of_python)
        if self.of_numpy is not None:
            sys.modules["numpy"].random.set_state(self.of_numpy)
        torch.set_rng_state(self.of_torch)
        for kind, number, state in self.of_devices:
            getattr(torch, kind).set_rng_state(state, *number)


def _numbers(kind: str) -> list[tuple[int, ...]]:
    """Number the devices of a kind; Metal's is only one, and has none."""
    return [()] if kind == "mps" else [(i,) for i in range(getattr(torch, kind).device_count())]


@contextmanager
def undisturbed(model: torch.nn.Module, start: RandomState | None = None) -> Iterator[None]:
    """Leave random state, buffers and attributes as they were: an extra forward must not change the training.

    Args:
        model: Its forwards get copies of its buffers to work on. The originals are not touched, not even to put them
            back: a graph that is still to be differentiated may have saved them.
        start: What the block draws from, so that it repeats an earlier forward; by default the present state.
    """
    before = RandomState.now(model)
    state = ObjectState(*model.modules())
    try:
        _work_on_copies(state.modules)
        if start is not None:
            start.restore()
        with weights_kept(_others(state.modules, model.modules())):
            yield
    finally:
        state.restore()
        before.restore()


def _work_on_copies(modules: list[torch.nn.Module]) -> None:
    """Put a copy in the place of every buffer."""
    copies: dict[int, torch.Tensor] = {}
    for module in modules:
        for name, buffer in module._buffers.items():
            if buffer is None or (not buffer.is_floating_point() and buffer.nbytes > LARGE_BYTES):
                continue
            if id(buffer) not in copies:
                copies[id(buffer)] = buffer.detach().clone()
            module._buffers[name] = copies[id(buffer)]


@contextmanager
def books_kept(trainer: Any) -> Iterator[None]:
    """Put back what a Trainer counts and collects: a question must not be logged as a training.

    What it holds counts as well, down to the last object: its arguments and its state, accelerate's, a loss function
    with a memory, a second model. The model that it trains is left alone.
    """
    model = getattr(trainer, "model", None)
    trained = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    state = ObjectState(trainer, without=trained)
    try:
        _work_on_copies(state.modules)
        with gradients_aside(*state.modules, without=trained), weights_kept(_others(state.modules, trained)):
            yield
    finally:
        state.restore()


def _others(modules: Iterable[torch.nn.Module], trained: Iterable[torch.nn.Module]) -> list[torch.nn.Parameter]:
    """Return the parameters of modules that are none of a model's."""
    of_model = {id(parameter) for module in trained for parameter in module._parameters.values()}
    found = {id(p): p for module in modules for p in module._parameters.values() if p is not None}
    return [parameter for key, parameter in found.items() if key not in of_model]


@contextmanager
def gradients_aside(*models: torch.nn.Module, without: Iterable[torch.nn.Module] = ()) -> Iterator[None]:
    """Give every parameter no gradient within the block, and afterwards the very tensor that it had.

    Args:
        models: Whose parameters.
        without: Modules that may share some; those are left alone.
    """
    others = {id(parameter) for module in without for parameter in module._parameters.values()}
    parameters = {id(p): p for model in models for p in model.parameters()}
    held = [(parameter, parameter.grad) for key, parameter in parameters.items() if key not in others]
    try:
        for parameter, _ in held:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in held:
            parameter.grad = gradient


class _CopyOnWrite(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what parameters hold before the first operation that writes to them.

    Attributes:
        kept: Storage → a tensor of it and a copy.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parameters = {key: p for p in parameters if (key := _storage(p)) is not None}
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for place, argument in enumerate(func._schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    written = args[place] if place < len(args) else kwargs.get(argument.name)
                    for each in written if isinstance(written, (list, tuple)) else (written,):
                        self._keep(each)
        return func(*args, **kwargs)

    def _keep(self, tensor: Any) -> None:
        key = _storage(tensor)
        if key is not None and key in self._parameters and key not in self.kept:
            whole = self._parameters[key].data
            self.kept[key] = whole, whole.clone()


def _storage(tensor: Any) -> int | None:
    """Name the memory that a tensor lies in; None for what has none of its own, as one spread over devices."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except Exception:
        return None


@contextmanager
def weights_kept(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Put back the weights that somebody's code changes within the block; those that it does not cost no memory.

    Such code looks ahead before it takes a gradient, say, or lets a second model follow the first.
    Source: Foret et al., "Sharpness-aware minimization" (2021), for the first.
    """
    held = [(parameter, parameter.data) for parameter in parameters]
    if not held:
        yield
        return
    mode = _CopyOnWrite(parameter for parameter, _ in held)
    try:
        with mode:
            yield
    finally:
        for parameter, data in held:
            if _storage(parameter) != _storage(data):
                parameter.data = data
        for tensor, before in mode.kept.values():
            tensor.copy_(before)


def adds_up(hook: Any) -> bool:
    """Whether a hook of transformers adds up the parts of one gradient that the processes have: that is its backward.

    Source: ReplicatedWithGradAllReduce, transformers/distributed/tensor_parallel.py, 5.24.0.
    """
    return str(getattr(hook, "__module__", "")).startswith("transformers.distributed.")


@contextmanager
def hooks_muted(model: torch.nn.Module) -> Iterator[None]:
    """Let no hook act that waits for a gradient of a parameter or of a module; those that are added in the block do.

    Such a hook may do the optimizer's work, layer by layer, or scale what it is given. Hooks on a forward are part of
    what is computed and stay, and so do those that add up a gradient's parts. Backward keeps hold of the collections
    themselves, so they are emptied in place.
    A module's hooks enter the graph at its forward: that has to happen within the block, too.
    """
    held = [(hooks, list(hooks.items())) for hooks in _gradient_hooks(model)]
    for hooks, before in held:
        hooks.clear()
        hooks.update((key, hook) for key, hook in before if adds_up(hook))
    try:
        yield
    finally:
        for hooks, before in held:
            hooks.clear()
            hooks.update(before)


def _gradient_hooks(model: torch.nn.Module) -> Iterator[dict[int, Any]]:
    owners = (*model.parameters(), *model.modules())
    yield from (torch.nn.modules.module._global_backward_hooks, torch.nn.modules.module._global_backward_pre_hooks)
    for owner in owners:
        for name in ("_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks"):
            hooks = getattr(owner, name, None)
            if hooks:
                yield hooks
