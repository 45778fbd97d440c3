"""Takes from an SVG what nobody sees: half of it, as matplotlib writes it."""

from __future__ import annotations

import re

# Before the drawing itself, and between and in its parts.
_UNSEEN = re.compile(
    rb"<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->"
    rb"| id=\"[a-z.]+_\d+(?:\.\d+)?\"| transform=\"rotate\(-0 [^\"]*\"",
    re.DOTALL,
)
_LINE_ENDS = re.compile(rb"\s*\n\s*")
_TAG = re.compile(rb"<[^>]+>")
_DECIMALS = re.compile(rb"\d+\.\d{3,}")


def compact(svg: bytes) -> bytes:
    """Leave out comments and the like; a hundredth of a point is fine enough for every coordinate."""
    left = _LINE_ENDS.sub(b"\n", _UNSEEN.sub(b"", svg))
    # What stands between tags is text, and its numbers are somebody's losses.
    return _TAG.sub(lambda tag: _DECIMALS.sub(_rounded, tag[0]), left)


def _rounded(number: re.Match[bytes]) -> bytes:
    return b"%g" % round(float(number[0]), 2)
