"""Finds the line where a model computes its loss, by watching which call returned it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gacheck.rules.facts import CodeLocation

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parents[1])


class ScalarTrace(TorchFunctionMode):
    """Remembers for every scalar that a torch function returns which lines of code asked for it.

    Args:
        model: Whose own lines are looked for.
        trainer: Whose lines count as well, where it computes the loss itself.
    """

    def __init__(self, model: torch.nn.Module, trainer: Any = None) -> None:
        super().__init__()
        self._owners = {id(owner) for owner in (*model.modules(), trainer) if owner is not None}
        self._seen: list[tuple[torch.Tensor, tuple[CodeLocation, ...]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call on, and note the lines if a scalar came out."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dim() == 0 and result.is_floating_point():
            self._seen.append((result, self._lines(sys._getframe(1))))
        return result

    def location_of(self, loss: torch.Tensor) -> tuple[CodeLocation, ...]:
        """Return the lines from the owner's to the call that returned `loss`; empty if it was not seen."""
        return next((lines for result, lines in reversed(self._seen) if result is loss), ())

    def _lines(self, frame: FrameType | None) -> tuple[CodeLocation, ...]:
        lines: list[CodeLocation] = []
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(_OURS):
                break  # we asked: from here on the lines are ours and those of whoever called us
            if not code.co_filename.startswith(_TORCH):
                lines.append(CodeLocation(file=code.co_filename, line=frame.f_lineno, function=code.co_name))
                if id(frame.f_locals.get("self")) in self._owners:
                    break
            frame = frame.f_back
        return tuple(reversed(lines))
