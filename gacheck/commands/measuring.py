"""What every measuring command checks before it loads anything."""

from __future__ import annotations

import re

from gacheck.errors import UsageError
from gacheck.record.environment import installed_version

OLDEST_TRANSFORMERS = (4, 46)


def check_transformers() -> None:
    """Refuse a transformers without the flag, before it is imported.

    Raises:
        UsageError: It is missing or too old.
    """
    version = installed_version("transformers")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version or "")[:2])
    if numbers < OLDEST_TRANSFORMERS:
        raise UsageError(
            f"transformers {version or 'is not installed'}: gacheck needs 4.46 or newer.",
            why="Older Trainers have no model_accepts_loss_kwargs; they always take the mean of means.",
            fix='pip install -U "transformers>=4.46"',
        )
