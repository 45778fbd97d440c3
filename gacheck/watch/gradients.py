"""From sketches to the inner products that are told: of all parameters, and of those that are furthest off."""

from __future__ import annotations

import base64
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gacheck.rules.facts import GradientProducts

# Parameters that are told of by themselves, by each of two ways to be far off.
MOST_PARAMETERS = 3

# A parameter whose gradient is a millionth of the whole is not told of: what differs there is rounding.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True)
class ReplayGradients:
    """The gradients of a step's replays, as sketches.

    Attributes:
        vectors: (replays, parameters, buckets): of plain cross-entropy, then of the own loss where that is another.
    """

    vectors: torch.Tensor

    @classmethod
    def of(cls, plain: Sequence[torch.Tensor | None], own: Sequence[torch.Tensor | None]) -> ReplayGradients | None:
        """Put together those of all micro-batches; None where some micro-batch has neither.

        Args:
            plain: Of each micro-batch's cross-entropy; None where it has no logits or labels.
            own: Of its own loss; None where that is the same.
        """
        wanted = [p if o is None else o for p, o in zip(plain, own)]
        whole = [each for each in wanted if each is not None]
        known = [each for each in plain if each is not None]
        if not whole or len(whole) < len(wanted):
            return None
        is_other = any(o is not None for o in own)
        if len(known) < len(plain):
            return cls(torch.stack(whole))
        return cls(torch.stack([*known, *(whole if is_other else ())]))

    def __len__(self) -> int:
        return len(self.vectors)

    def products(
        self, gradient: torch.Tensor, noise: torch.Tensor, names: Sequence[str], suspects: Sequence[Sequence[float]]
    ) -> tuple[GradientProducts, ...]:
        """Hold a gradient against them.

        Args:
            gradient: Its sketch, (parameters, buckets).
            noise: By how much rounding may change it: a norm a parameter.
            names: Of the parameters.
            suspects: Multipliers of the replays; the parameters that are furthest from each are told of.
        """
        chosen: list[int] = []
        for multiplied in (*suspects, self._nearest(gradient)):
            chosen += self._furthest(gradient, noise, torch.as_tensor(multiplied, dtype=torch.float64))
        alone = [
            _products(name, gradient[i].flatten(), self.vectors[:, i].flatten(1), float(noise[i]))
            for i, name in ((i, names[i]) for i in dict.fromkeys(chosen))
        ]
        return (self.product(gradient, noise), *alone)

    def product(self, gradient: torch.Tensor, noise: torch.Tensor) -> GradientProducts:
        """Hold the gradient of all parameters against them."""
        return _products(None, gradient.flatten(), self.vectors.flatten(1), float(noise.norm()))

    def _nearest(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the multipliers with which the replays come nearest."""
        columns = self.vectors.flatten(1).T
        if not bool(torch.isfinite(columns).all() and torch.isfinite(gradient).all()):
            return torch.zeros(len(self), dtype=torch.float64)
        found: torch.Tensor = torch.linalg.lstsq(columns, gradient.flatten()[:, None], driver="gelsd").solution
        return found[:, 0]

    def _furthest(self, gradient: torch.Tensor, noise: torch.Tensor, multiplied: torch.Tensor) -> list[int]:
        predicted = torch.einsum("v,vpb->pb", multiplied, self.vectors)
        off = (gradient - predicted).norm(dim=1)
        counts = off > NEGLIGIBLE * gradient.norm()
        wanted = predicted.norm(dim=1)
        score = torch.where(counts, off / (noise + wanted).clamp_min(1e-300), torch.zeros(()).double())
        # Those that should have none are not to crowd out those that should have another.
        return [
            int(i)
            for kind in (wanted > 0, wanted == 0)
            for i in (score * kind).topk(min(MOST_PARAMETERS, int((score * kind > 0).sum()))).indices
        ]


def _products(name: str | None, gradient: torch.Tensor, vectors: torch.Tensor, noise: float) -> GradientProducts:
    gram = vectors @ vectors.T
    size = len(vectors)
    return GradientProducts(
        parameter=name,
        square=float(gradient @ gradient),
        with_replays=tuple((vectors @ gradient).tolist()),
        among_replays=tuple(float(gram[i, j]) for i in range(size) for j in range(i + 1)),
        noise=noise,
    )


def encode(sketch: torch.Tensor | None) -> str | None:
    """Write a sketch as text, in float32: other processes are told it."""
    if sketch is None:
        return None
    numbers = sketch.float().contiguous()
    return base64.b64encode(ctypes.string_at(numbers.data_ptr(), numbers.nbytes)).decode()


def decode(text: str | None, like: torch.Tensor) -> torch.Tensor | None:
    """Read what `encode` wrote, in the shape of another sketch."""
    if text is None:
        return None
    numbers = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32)
    return numbers.double().reshape(like.shape)
