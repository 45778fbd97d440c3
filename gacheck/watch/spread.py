"""Weights that FSDP2 has spread over the processes of a training, and what a repeated micro-batch has to do about them.

Each process holds a part of every weight, and of its gradient once that is the mean over all. A forward and a backward
are then collective: all processes do them together, or wait for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def is_spread(model: torch.nn.Module) -> bool:
    """Whether a process holds but a part of the weights."""
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor whole, which all processes have to ask for together where it is spread."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


@contextmanager
def apart(model: Any) -> Iterator[None]:
    """Let backwards within the block give the parameters their gradients at once, and leave no trace of it.

    Between two micro-batches of a step FSDP2 keeps what has come together whole and to itself: that is put aside, lest
    the gradient of a repeated micro-batch is added to it.
    """
    groups = list(_groups(model))
    if not groups:
        yield
        return
    gather_in(model)
    parameters = [parameter for group in groups for parameter in group.fsdp_params]
    flags = [(group, group.reduce_grads, group.all_reduce_grads) for group in groups]
    held = [(each, each.unsharded_accumulated_grad, _whole_gradient(each)) for each in parameters]
    try:
        for group in groups:
            group.reduce_grads = group.all_reduce_grads = True
        for each in parameters:
            _put(each, None, None)
        yield
    finally:
        gather_in(model)
        for group, reduces, reduces_all in flags:
            group.reduce_grads, group.all_reduce_grads = reduces, reduces_all
        for each, accumulated, gradient in held:
            _put(each, accumulated, gradient)


def _groups(model: Any) -> Iterator[Any]:
    for module in model.modules():
        state = getattr(module, "_get_fsdp_state", None)
        if state is None:
            continue
        # Of the newest torch there may be several in a module.
        groups = getattr(state(), "_fsdp_param_groups", None)
        yield from groups if groups is not None else filter(None, [getattr(state(), "_fsdp_param_group", None)])


def gather_in(model: Any) -> None:
    """Leave each process with its own part: a forward without a backward leaves some weights whole."""
    for module in model.modules():
        if hasattr(module, "_get_fsdp_state"):
            module.reshard()


def _whole_gradient(parameter: Any) -> Any:
    weight = getattr(parameter, "_unsharded_param", None)
    return None if weight is None else weight.grad


def _put(parameter: Any, accumulated: Any, gradient: Any) -> None:
    parameter.unsharded_accumulated_grad = accumulated
    weight = getattr(parameter, "_unsharded_param", None)
    if weight is not None:
        weight.grad = gradient
