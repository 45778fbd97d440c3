"""Does your loss change with gradient_accumulation_steps? A diagnosis, proven by arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gacheck.api import Attachment, FaultWarning, attach, check
    from gacheck.errors import FaultError, GacheckError
    from gacheck.words.analysis import Analysis

__version__ = "0.1.0"
__all__ = ["Analysis", "Attachment", "FaultError", "FaultWarning", "GacheckError", "attach", "check"]

_HOMES = {"Analysis": "gacheck.words.analysis", "FaultError": "gacheck.errors", "GacheckError": "gacheck.errors"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the package itself also loads where torch alone is installed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "gacheck.api")), name)
