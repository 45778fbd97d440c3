"""What a bare Trainer is told so that it trains on the processor, and writes and reports nothing."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "remove_unused_columns": False,
}
