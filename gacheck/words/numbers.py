"""Numbers in a sentence."""

from __future__ import annotations

MOST_DECIMALS = 9


def percent(share: float) -> str:
    """Write a share with two digits, 0.1 % or 12 %; from the whole on as a factor."""
    return f"{share * 100:.2g} %" if share < 0.995 else f"a factor of {1 + share:.2g}"


def power(share: float) -> str:
    """Write a small share as 8e-9."""
    return f"{share:.0e}".replace("e-0", "e-")


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Write two losses with three decimals, or as many more as it takes to tell them apart."""
    decimals = next((d for d in range(3, MOST_DECIMALS) if f"{one:.{d}f}" != f"{other:.{d}f}"), MOST_DECIMALS)
    return f"{one:.{decimals}f}", f"{other:.{decimals}f}"
