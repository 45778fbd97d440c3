"""The order of releases."""

from __future__ import annotations


def numbers_of(release: str) -> tuple[int, ...]:
    """Return the numbers of a final release, by which it is ordered."""
    return tuple(map(int, release.split(".")))
