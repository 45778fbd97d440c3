"""The fault that is planted in every trainer."""

from __future__ import annotations

from typing import Any


class TimesK:
    """Goes before a Trainer: its loss is k times too large."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        found = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        k = self.args.gradient_accumulation_steps  # type: ignore[attr-defined]
        return (found[0] * k, *found[1:]) if isinstance(found, tuple) else found * k
