"""How much memory a run is going to take, estimated before its first pass and held against what is free.

What the passes hold at their largest: the weights, and a copy from which they are put back; a gradient for each that is
trained; the optimizer's state; and what one micro-batch keeps for its backward. The last is found by a forward of
tensors without data (torch's FakeTensorMode), so that it takes neither memory nor time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from transformers import Trainer, TrainingArguments

from gacheck.errors import ResourceError
from gacheck.measure.isolation.processes import available_bytes
from gacheck.watch.batches import Batch

MARGIN = 1.2
"""An estimate is held to be off by a fifth: what might fit is tried."""
LEAST_WORK = 10**10
"""Weights times values of a micro-batch, below which no memory is too small: some twelve stand-ins' worth."""
USUAL_STATE = 2.0
"""Of Adam, in sizes of a weight."""
SMALLER = (
    "check a small stand-in of the same architecture with  --tiny,  halve the weights with  --dtype bfloat16,  keep no "
    "copy of them with  --low-memory,  less of each micro-batch with  --max-length 64  or  --effective-batch-size 8,  "
    "or spread them over several GPUs with  --processes 8 --shard fsdp"
)


@dataclass(frozen=True)
class Need:
    """What a run takes beyond the model, bytes.

    Attributes:
        copy: Of the weights, from which they are put back; 0 where that is no memory.
        gradients: One for each parameter that is trained.
        optimizer: Its state.
        activations: What the largest micro-batch keeps for its backward, and two gradients of the largest of it; None
            where a model cannot be asked without data.
    """

    copy: int
    gradients: int
    optimizer: int
    activations: int | None = None

    @property
    def total(self) -> int:
        """All of it."""
        return self.copy + self.gradients + self.optimizer + (self.activations or 0)

    def told(self) -> str:
        """Say what takes it."""
        parts = {"a copy of the weights": self.copy, "gradients": self.gradients, "optimizer": self.optimizer}
        parts |= {} if self.activations is None else {"one micro-batch": self.activations}
        return ", ".join(f"{name} {_gigabytes(size)}" for name, size in parts.items())


def estimate(model: torch.nn.Module, batch: Batch, args: TrainingArguments, *, copy: bool) -> Need:
    """Estimate what the passes take.

    Args:
        model: On its device.
        batch: The largest micro-batch, anywhere.
        args: Of a pass.
        copy: Whether the weights are put back from a copy in memory.
    """
    trained = [each for each in model.parameters() if each.requires_grad]
    gradients = _size(trained)
    return Need(
        copy=_size([*model.parameters(), *model.buffers()]) if copy else 0,
        gradients=gradients,
        optimizer=round(_state_of_a_weight(args) * gradients),
        activations=_activations(model, batch),
    )


def check_memory(name: str, need: Need, device: torch.device, num_processes: int = 1) -> None:
    """Refuse a run that cannot fit.

    Args:
        name: Of the model.
        need: Of the run.
        device: Where it is trained.
        num_processes: Of this machine, each of which needs as much of the processor's memory.

    Raises:
        ResourceError: It needs more than what is free, whatever the estimate may be off by.
    """
    free = free_bytes(device)
    if free is not None and device.type == "cpu":
        free //= num_processes
    if free is None or need.total <= free * MARGIN:
        return
    each = f" in each of {num_processes} processes" if num_processes > 1 else ""
    raise ResourceError(
        f"The passes of {name} need about {_gigabytes(need.total)} more{each}, and {_gigabytes(free)} are free{each}.",
        why=f"Estimated before the first pass: {need.told()}.",
        fix=SMALLER,
    )


def check_weights(name: str, num_weights: int, dtype: torch.dtype) -> None:
    """Refuse weights that do not fit by themselves, before they are read or made.

    Raises:
        ResourceError: They do not.
    """
    num_bytes, free = num_weights * dtype.itemsize, free_bytes(torch.device("cpu"))
    if free is not None and num_bytes > free:
        raise ResourceError(
            f"The weights of {name} take {_gigabytes(num_bytes)}, and {_gigabytes(free)} are free.",
            why="The passes take gradients, the optimizer's state and a copy besides.",
            fix="check a small stand-in of the same architecture, which runs the same code:  --tiny",
        )


def num_saved(folder: Path) -> int:
    """Return how many weights lie in the safetensors of a folder; their names and shapes alone are read."""
    num = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as content:
            num += sum(math.prod(content.get_slice(name).get_shape()) for name in content.keys())  # noqa: SIM118
    return num


def num_to_make(build: Callable[[], Any]) -> int:
    """Return how many weights a model has that is yet to be built: a model without data is; 0 where that fails."""
    with suppress(Exception), torch.device("meta"):
        return sum(each.numel() for each in build().parameters())
    return 0


def num_values(row: Mapping[str, Any]) -> int:
    """Return how long a row is, in what there is most of."""
    sizes = (each.numel() if isinstance(each, torch.Tensor) else len(each) for each in row.values() if _is_long(each))
    return max(sizes, default=0)


def _is_long(value: object) -> bool:
    return isinstance(value, (torch.Tensor, list, tuple))


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory is free on a device; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes() if device.type == "cpu" else None


def _size(tensors: Sequence[torch.Tensor]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


def _state_of_a_weight(args: TrainingArguments) -> float:
    """Return how much an optimizer keeps for each weight, in sizes of it: that of the class that the Trainer takes."""
    with suppress(Exception):  # some need a GPU, or the model
        optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(args)
        weight = torch.nn.Parameter(torch.zeros(256, 256))
        weight.grad = torch.zeros_like(weight)
        optimizer = optimizer_class([weight], **options)
        optimizer.step()
        state: Mapping[str, Any] = optimizer.state[weight]
        return _size([each for each in state.values() if isinstance(each, torch.Tensor)]) / _size([weight])
    return USUAL_STATE


def _activations(model: torch.nn.Module, batch: Batch) -> int | None:
    """Return the bytes that a forward keeps for backward beside weights and inputs, and the largest of it twice more.

    The largest are most often the logits: a loss's backward holds two gradients of their size at a time.
    """
    kept: dict[int, FakeTensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, FakeTensor):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    was_training = model.training
    try:
        with FakeTensorMode() as mode:
            weights = {name: mode.from_tensor(each) for name, each in model.named_parameters()}
            buffers = {name: mode.from_tensor(each) for name, each in model.named_buffers()}
            inputs = {name: mode.from_tensor(each) for name, each in batch.items()}
            with torch.autograd.graph.saved_tensors_hooks(note, lambda each: each):
                torch.func.functional_call(model.train(), {**weights, **buffers}, kwargs=inputs)
    except Exception:  # what it does may depend on its data
        return None
    finally:
        model.train(was_training)
    for each in (*weights.values(), *buffers.values(), *inputs.values()):
        kept.pop(each.untyped_storage()._cdata, None)
    sizes = [each.untyped_storage().nbytes() for each in kept.values()]
    return sum(sizes) + 2 * max(sizes, default=0)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
