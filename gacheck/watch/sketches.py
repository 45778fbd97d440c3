"""Gradients as linear sketches: some hundred numbers a parameter, so that no second copy of them is ever held.

A sketch gives every element of a tensor a random sign, and adds the elements up in buckets. It is linear: the sketch of
a sum is the sum of the sketches. Inner products of sketches are those of the tensors, up to some per cent; where two
tensors are equal, or equal up to a factor, so are their sketches.

Source: Charikar, Chen, Farach-Colton, "Finding frequent items in data streams" (2002).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gacheck.watch.spread import is_spread, whole

# Numbers in all that a model's sketch has, spread over its parameters: processes tell each other their sketches.
BUDGET = 8192
FEWEST_BUCKETS, MOST_BUCKETS = 8, 256

# The signs repeat after so many elements, and those of the pieces after so many.
PIECE = 2**14
MOST_SIGNS = 2**10

# Elements that are taken at a time: what a processor's cache holds, and what keeps an accelerator busy.
ON_PROCESSOR, ON_ACCELERATOR = 2**18, 2**24


def _signs(generator: torch.Generator, number: int) -> torch.Tensor:
    return torch.randint(0, 2, (number,), generator=generator, dtype=torch.int8).float() * 2 - 1


class Sketcher:
    """Makes sketches of the gradients of all that is trained.

    Args:
        model: Its parameters, those too that are not trained yet.
        optimizer: That may train others besides; None without.

    Attributes:
        names: Of the parameters, as `named_parameters` has them.
    """

    def __init__(self, model: torch.nn.Module, optimizer: Any = None) -> None:
        trained = [(name, p) for name, p in model.named_parameters() if p.is_floating_point() or p.is_complex()]
        known = {id(p) for _, p in trained}
        groups = enumerate(getattr(optimizer, "param_groups", ()))
        others = [(f"optimizer.param_groups[{i}][{j}]", p) for i, g in groups for j, p in enumerate(g["params"])]
        trained += [(name, p) for name, p in others if id(p) not in known]
        self.names = [name for name, _ in trained]
        self._parameters = [p for _, p in trained]
        self._is_spread = is_spread(model)
        share = BUDGET // max(1, len(trained))
        self._num_buckets = min(MOST_BUCKETS, max(FEWEST_BUCKETS, share))
        generator = torch.Generator().manual_seed(0)
        # Whole rows of buckets, so that every piece begins at the first one.
        rows = PIECE // self._num_buckets
        self._signs = _signs(generator, rows * self._num_buckets).view(rows, self._num_buckets)
        # In each bucket others, lest pieces that are alike vanish together, as of a gradient whose rows are the same.
        self._signs_of_pieces = _signs(generator, MOST_SIGNS * self._num_buckets).view(MOST_SIGNS, self._num_buckets)
        self._signs_on: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The parameters, in the order of `names`."""
        return self._parameters

    def nothing(self) -> torch.Tensor:
        """Return the sketch of gradients that are all zero, (parameters, buckets), float64."""
        return torch.zeros(len(self._parameters), self._num_buckets, dtype=torch.float64)

    def present(self, scale: float = 1.0) -> torch.Tensor:
        """Sketch the gradients as they stand, over `scale`."""
        return self._joined({i: self.of(p.grad) for i, p in enumerate(self._parameters) if p.grad is not None}) / scale

    def versions(self) -> list[int]:
        """Return how often torch has counted a write to each parameter."""
        return [parameter._version for parameter in self._parameters]

    def is_updated(self, versions: list[int]) -> bool:
        """Whether an optimizer has worked since: on a parameter that was written to and whose gradient was freed."""
        return any(p.grad is None and p._version != v for p, v in zip(self._parameters, versions))

    def of(self, gradient: torch.Tensor) -> torch.Tensor:
        """Sketch one tensor, (buckets,), on its device."""
        gradient = whole(gradient.detach())
        flat = (gradient.to_dense() if gradient.is_sparse else gradient).flatten()
        device, length = flat.device, self._signs.numel()
        within, between = self._signs_on.setdefault(device, (self._signs.to(device), self._signs_of_pieces.to(device)))
        wide = torch.float32 if device.type == "mps" else torch.float64
        # The few terms of a piece add up well enough in float32, which is several times as fast.
        narrow = flat.dtype if flat.dtype == torch.float64 else torch.float32
        total = torch.zeros(self._num_buckets, dtype=wide, device=device)
        at_a_time = (ON_PROCESSOR if device.type == "cpu" else ON_ACCELERATOR) // length * length
        for number, part in enumerate(torch.split(flat, at_a_time)):
            part = torch.nn.functional.pad(part, (0, -len(part) % length))
            pieces = part.view(-1, *within.shape) * within.to(part.dtype)
            # What lies in the same place of two pieces falls in the same bucket, with the same sign or another.
            first = number * (at_a_time // length)
            chosen = between[torch.arange(first, first + len(pieces), device=device) % len(between)]
            total += (chosen * pieces.sum(1, dtype=narrow)).sum(0, dtype=wide)
        return total

    @contextmanager
    def received(self, scale: float = 1.0) -> Iterator[torch.Tensor]:
        """Sketch what a backward within the block gives each parameter, and free it at once.

        The parameters must hold no gradients. Yields the sketch, which is whole after the block.
        """
        sketch, handles = self.nothing(), []
        found: dict[int, torch.Tensor] = {}
        if self._is_spread:
            # FSDP2 puts gradients where no such hook sees them.
            yield sketch
            sketch += self.present(scale)
            for each in self._parameters:
                each.grad = None
            return

        def keep(index: int) -> None:
            def sketched(parameter: torch.Tensor) -> None:
                assert parameter.grad is not None
                gradient, parameter.grad = self.of(parameter.grad), None
                # Several backwards add up.
                found[index] = found[index] + gradient if index in found else gradient

            parameter: Any = self._parameters[index]
            handles.append(parameter.register_post_accumulate_grad_hook(sketched))

        for index, each in enumerate(self._parameters):
            if each.requires_grad:
                keep(index)
        try:
            yield sketch
        finally:
            for handle in handles:
                handle.remove()
        sketch += self._joined(found) / scale

    def _joined(self, found: dict[int, torch.Tensor]) -> torch.Tensor:
        joined = self.nothing()
        if found:
            device = next(iter(found.values())).device
            joined[list(found)] = torch.stack([sketch.to(device) for sketch in found.values()]).cpu().double()
        return joined
