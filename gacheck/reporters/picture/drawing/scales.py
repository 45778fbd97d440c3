"""Axes on which growth by k is a straight line, and on which a small difference looks small; plain numbers as ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

# From here on a linear axis flattens the lower curves into one line, and a logarithmic one has ticks at 1, 2, 5.
LOG_FROM = 3.0

# The least share of the right answer that an axis shows: else 0.1 % would look like a landslide.
LEAST_SPAN = 0.1

# Of an axis, above and below all that is drawn: room for the numbers beside the points.
MARGIN = 0.16

# Ticks nearer to each other than this share of the axis would run into each other.
LEAST_TICK_DISTANCE = 0.08


def are_multiples(values: Sequence[float]) -> bool:
    """Return whether values that a logarithmic axis can show are multiples of each other."""
    finite = _finite(values)
    return min(finite) > 0 and max(finite) > LOG_FROM * min(finite)


def is_log_by_k(ks: Sequence[int], values: Sequence[float]) -> bool:
    """Return whether both axes are to be logarithmic, or else both linear: so growth by k is a straight line.

    Linear axes keep what is added per micro-batch straight too, but have no room for every small k beside a large one.
    """
    return are_multiples(values) or (min(_finite(values)) > 0 and len(legible(ks, log=False)) < len(ks))


def set_scales_by_k(axes: Axes, ks: Sequence[int], values: Sequence[float]) -> None:
    """Make both axes logarithmic, or both linear."""
    is_log = is_log_by_k(ks, values)
    if is_log:
        axes.set_xscale("log")
        _set_log(axes, values)
    else:
        _set_linear(axes, values)
    ticks = legible(ks, log=is_log)
    low, high = (math.log(min(ks)), math.log(max(ks))) if is_log else (min(ks), max(ks))
    room = 0.09 * (high - low) or 0.35
    back = math.exp if is_log else float
    axes.set_xlim(back(low - room), back(high + room))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([str(k) for k in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


def set_scale_of_losses(axes: Axes, values: Sequence[float]) -> None:
    """Make the axis of losses over steps logarithmic where they are multiples of each other."""
    if are_multiples(values):
        _set_log(axes, values)
    else:
        _set_linear(axes, values)


def legible(ks: Sequence[int], *, log: bool) -> list[int]:
    """Choose the k whose ticks do not run into each other; the largest is among them."""
    places = {k: math.log(k) if log else float(k) for k in ks}
    least = LEAST_TICK_DISTANCE * (max(places.values()) - min(places.values()))
    chosen: list[int] = []
    for k in sorted(ks, reverse=True):
        if not chosen or places[chosen[-1]] - places[k] >= least:
            chosen.append(k)
    return chosen[::-1]


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _set_log(axes: Axes, values: Sequence[float]) -> None:
    finite = _finite(values)
    low, high = math.log(min(finite)), math.log(max(finite))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if are_multiples(values) else MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    low, high = _with_room(low, high, math.log1p(LEAST_SPAN))
    axes.set_ylim(math.exp(low), math.exp(high))


def _set_linear(axes: Axes, values: Sequence[float]) -> None:
    finite = _finite(values)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.set_ylim(*_with_room(min(finite), max(finite), LEAST_SPAN * max(map(abs, finite))))


def _with_room(low: float, high: float, least: float) -> tuple[float, float]:
    extra = max(0.0, least - (high - low)) / 2
    low, high = low - extra, high + extra
    room = MARGIN * ((high - low) or 1.0)
    return low - room, high + room


def plain(value: float) -> str:
    """Write a tick: no exponent where a person would write none."""
    return f"{value:,.7g}" if 1e-4 <= abs(value) < 1e7 or not value else f"{value:.0e}"
