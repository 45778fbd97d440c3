"""By how much rounding may change the gradient of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gacheck.watch.description import autocast_unit
from gacheck.watch.seen import Seen
from gacheck.watch.sketches import Sketcher

# No more is allowed for, however little of a loss is left above its own rounding.
MOST = 0.05


class Rounding:
    """What is known of it, and what was measured.

    Args:
        trainer: Whose gradients.
        sketcher: Of its model.

    Attributes:
        repeated: By how much the gradient of a micro-batch that was done twice differs, relative to its norm:
            (parameters,); None where that was not measured.
        rescaled: By how much one differs that was taken at another scale, likewise.
    """

    def __init__(self, trainer: Any, sketcher: Sketcher) -> None:
        self._unit = autocast_unit(trainer)
        units = [torch.finfo(p.dtype).eps / 2 if p.dtype.is_floating_point else 0.0 for p in sketcher.parameters]
        self._units = torch.tensor(units, dtype=torch.float64)
        self.repeated: torch.Tensor | None = None
        self.rescaled: torch.Tensor | None = None

    def of(self, gradient: torch.Tensor, seen: Sequence[Seen], scale: float) -> torch.Tensor:
        """Return by how much a gradient may be off: a norm a parameter.

        Adding up rounds once a micro-batch, by half a unit in the last place of what has come together. Under autocast
        each gradient was rounded to that precision before. Where a target is nearly known by heart, p − 1 is small and
        is rounded as p is.

        Args:
            gradient: Its sketch, (parameters, buckets).
            seen: The micro-batches that it comes from.
            scale: By which mixed precision scales what is present after each.
        """
        whole = [each.present.norm(dim=1) / scale for each in seen if each.present is not None]
        largest = torch.stack([*whole, gradient.norm(dim=1)]).amax(0)
        rounding = largest * (self._units * (len(seen) + 1) + self._unit + _of_cross_entropy(seen))
        for measured in (self.repeated, self.rescaled):
            if measured is not None:
                rounding = rounding + measured * float(gradient.norm())
        return rounding


def _of_cross_entropy(seen: Sequence[Seen]) -> float:
    """Return what rounding may take of the gradient at the logits, relative: as much as of the loss itself."""
    plain = [each.replayed.plain for each in seen if each.replayed is not None and each.replayed.is_plain]
    shares = [each.noise_nats / each.mean_nats for each in plain if each is not None and each.mean_nats > 0]
    return min(MOST, max(shares, default=0.0))
