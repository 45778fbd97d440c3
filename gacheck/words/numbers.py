"""Numbers in a sentence."""

from __future__ import annotations


def percent(share: float) -> str:
    """Write a share with two digits, 0.1 % or 12 %; from the whole on as a factor."""
    return f"{share * 100:.2g} %" if share < 0.995 else f"a factor of {1 + share:.2g}"


def power(share: float) -> str:
    """Write a small share as 8e-9."""
    return f"{share:.0e}".replace("e-0", "e-")
