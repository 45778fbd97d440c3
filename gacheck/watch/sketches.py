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

# Numbers in all that a model's sketch has, spread over its parameters: processes tell each other their sketches.
BUDGET = 8192
FEWEST_BUCKETS, MOST_BUCKETS = 8, 256

# Elements that are taken at a time.
PIECE = 2**18


class Sketcher:
    """Makes sketches of the gradients of a model's trained parameters.

    Attributes:
        names: Of the parameters, as `named_parameters` has them.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self._parameters = [p for _, p in trained]
        share = BUDGET // max(1, len(trained))
        self._num_buckets = min(MOST_BUCKETS, max(FEWEST_BUCKETS, share))
        generator = torch.Generator().manual_seed(0)
        # Whole rows of buckets, so that every piece begins at the first one.
        self._length = PIECE // self._num_buckets * self._num_buckets
        self._signs = torch.randint(0, 2, (self._length,), generator=generator, dtype=torch.int8).float() * 2 - 1
        self._signs_on: dict[torch.device, torch.Tensor] = {}

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

    def of(self, gradient: torch.Tensor) -> torch.Tensor:
        """Sketch one tensor, (buckets,), on its device."""
        gradient = gradient.detach()
        flat = (gradient.to_dense() if gradient.is_sparse else gradient).flatten()
        signs = self._signs_on.setdefault(flat.device, self._signs.to(flat.device))
        wide = torch.float32 if flat.device.type == "mps" else torch.float64
        total = torch.zeros(self._num_buckets, dtype=wide, device=flat.device)
        for number, piece in enumerate(torch.split(flat, self._length)):
            # Neighbours in the same place of two pieces are not to fall in the same bucket with the same sign.
            signed = piece * signs[: len(piece)].to(piece.dtype)
            rest = -len(piece) % self._num_buckets
            if rest:
                signed = torch.nn.functional.pad(signed, (0, rest))
            buckets = signed.view(-1, self._num_buckets).sum(0, dtype=wide)
            total += buckets.roll(number * 7)
        return total

    @contextmanager
    def received(self, scale: float = 1.0) -> Iterator[torch.Tensor]:
        """Sketch what a backward within the block gives each parameter, and free it at once.

        The parameters must hold no gradients. Yields the sketch, which is whole after the block.
        """
        sketch, handles = self.nothing(), []
        found: dict[int, torch.Tensor] = {}

        def keep(index: int) -> None:
            def sketched(parameter: torch.Tensor) -> None:
                assert parameter.grad is not None
                gradient, parameter.grad = self.of(parameter.grad), None
                # Several backwards add up.
                found[index] = found[index] + gradient if index in found else gradient

            parameter: Any = self._parameters[index]
            handles.append(parameter.register_post_accumulate_grad_hook(sketched))

        for index in range(len(self._parameters)):
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
