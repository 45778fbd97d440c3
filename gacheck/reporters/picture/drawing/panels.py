"""What each panel shows: losses against k, and losses over the steps of the passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gacheck.core.figures import PassFigures
from gacheck.reporters.grid import (
    FLAGS,
    drawn_steps,
    find_pass,
    flag_title,
    is_default,
    ran,
    right_answer,
    tried_flags,
    tried_steps,
)
from gacheck.reporters.picture.drawing.palette import Palette
from gacheck.reporters.picture.drawing.scales import is_log_by_k, legible, set_scale_of_losses, set_scales_by_k
from gacheck.reporters.text import figure
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis

LINES: dict[Flag, Literal["-", "--"]] = {Flag.ON: "-", Flag.OFF: "--"}
MARKERS = {Flag.ON: "o", Flag.OFF: "s"}
STEP_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

# More on one line run into each other; more on all of them nobody follows.
MOST_MARKERS = 12
MOST_MARKERS_IN_ALL = 64

# Points of all lines together: more than a screen can show, and each takes room in an SVG.
MOST_POINTS_IN_ALL = 520

LEGEND_COLUMNS = 4

# A band behind all else: what lies on it is right.
_RIGHT: dict[str, Any] = {"linewidth": 6, "solid_capstyle": "butt", "marker": "D", "markersize": 8}


def draw_against_k(axes: Axes, analysis: Analysis, palette: Palette) -> None:
    """Draw the loss of the first step at every k: flag on, flag off, the right answer."""
    ks = tried_steps(analysis)
    axes.set_xlabel("k = gradient_accumulation_steps")
    axes.set_ylabel("first-step loss (nats per token)")
    drawn = [_finite(p.reported_loss) for p in ran(analysis)]
    if all(map(math.isnan, drawn)):
        _say_empty(axes, palette)
        return
    answers = [_right_at(analysis, k) for k in ks]
    _plot_right(axes, ks, answers, palette, label="right answer")
    for flag in tried_flags(analysis):
        losses = [_first_loss(analysis, k, flag) for k in ks]
        _plot(axes, ks, losses, flag, palette, marker=MARKERS[flag], label=flag_title(analysis, flag))
    set_scales_by_k(axes, ks, [*drawn, *answers])
    _label_points(axes, analysis, ks, palette, log=is_log_by_k(ks, [*drawn, *answers]))
    _legend(axes, [axes.get_lines()])


def draw_over_steps(axes: Axes, analysis: Analysis, palette: Palette, flags: Sequence[Flag] = FLAGS) -> None:
    """Draw the loss of every step of every pass at `flags`, and the right answer where it is known.

    The axis is the same for every choice of flags, so that two pictures can be compared.
    """
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    steps = [s for p in ran(analysis) for s in p.steps]
    losses = [_finite(value) for s in steps for value in (s.reported_loss, s.reference_loss)]
    ks = drawn_steps(analysis)
    shown = [p for p in ran(analysis) if p.loss_kwargs in flags and p.accumulation_steps in ks]
    if not any(math.isfinite(s.reported_loss) for p in shown for s in p.steps):
        _say_empty(axes, palette)
        return
    for numbers, answers in _right_over_steps(shown):
        _plot_right(axes, numbers, answers, palette)
    for figures in sorted(shown, key=lambda p: (not p.loss_kwargs.is_on, p.accumulation_steps)):
        _draw_pass(axes, figures, _step_marker(ks, figures.accumulation_steps), palette, num_lines=len(shown))
    set_scale_of_losses(axes, losses)
    first, last = min(s.step for s in steps), max(s.step for s in steps)
    room = 0.06 * (last - first) or 0.5
    axes.set_xlim(first - room, last + room)
    _legend(axes, _steps_legend(shown, palette, ks))


def _finite(value: float | None) -> float:
    """Return NaN for all that cannot be drawn: a line breaks there."""
    return value if value is not None and math.isfinite(value) else math.nan


def _right_at(analysis: Analysis, k: int) -> float:
    shared = right_answer(analysis, k)
    if shared is not None:
        return shared
    # Two objectives, one a flag value: the picture follows what the Trainer chooses.
    chosen = next((p for flag in FLAGS if is_default(analysis, flag) and (p := find_pass(analysis, k, flag))), None)
    return _finite(chosen.reference_loss) if chosen else math.nan


def _first_loss(analysis: Analysis, k: int, flag: Flag) -> float:
    figures = find_pass(analysis, k, flag)
    return _finite(figures.reported_loss) if figures else math.nan


def _right_over_steps(passes: Sequence[PassFigures]) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Return the right answers of each pass over its judged steps; what is the same for several passes once."""
    found = {}
    for p in passes:
        known = [(s.step, s.reference_loss) for s in p.steps if s.reference_loss is not None]
        if known:
            numbers, answers = zip(*known, strict=True)
            found[tuple(map(figure, answers)), numbers] = (numbers, answers)
    return list(found.values())


def _plot_right(axes: Axes, x: Sequence[float], y: Sequence[float], palette: Palette, label: str | None = None) -> None:
    axes.plot(x, y, color=palette.right, zorder=1.5, label=label, **_RIGHT)


def _plot(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    flag: Flag,
    palette: Palette,
    *,
    marker: str,
    label: str | None,
    every: int = 1,
) -> None:
    # A smaller marker of flag off inside the one of flag on shows both where they coincide.
    axes.plot(
        x,
        y,
        color=palette.of(flag),
        linestyle=LINES[flag],
        linewidth=1.8 if flag.is_on else 1.5,
        marker=marker,
        markevery=every,
        markersize=6.5 if flag.is_on else 5,
        markerfacecolor=palette.of(flag) if flag.is_on else palette.paper,
        label=label,
    )


def _label_points(axes: Axes, analysis: Analysis, ks: Sequence[int], palette: Palette, *, log: bool) -> None:
    """Write the values: the upper curve's above its points, the lower one's below; no value twice in one place."""
    labelled = legible(ks, log=log)
    for flag in FLAGS:
        losses = [_first_loss(analysis, k, flag) for k in ks]
        others = [_first_loss(analysis, k, flag.other) for k in ks]
        texts = [figure(loss) if math.isfinite(loss) else "" for loss in losses]
        is_flat = len(set(filter(None, texts))) == 1
        for i, (loss, other) in enumerate(zip(losses, others, strict=True)):
            is_repeated = is_flat and any(texts[i + 1 :])
            is_shared = not flag.is_on and texts[i] == figure(other)
            if texts[i] and ks[i] in labelled and not is_repeated and not is_shared:
                above = math.isnan(other) or loss > other or (flag.is_on and loss == other)
                _label_point(axes, (ks[i], loss), texts[i], palette.of(flag), palette.paper, above=above)


def _label_point(axes: Axes, point: tuple[float, float], text: str, color: str, paper: str, *, above: bool) -> None:
    """Write a value above or below its point, in front of whatever line goes through there."""
    axes.annotate(
        text,
        point,
        xytext=(0, 8 if above else -9),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        color=color,
        fontsize=8,
        bbox={"facecolor": paper, "edgecolor": "none", "pad": 0.4},
    )


def _draw_pass(axes: Axes, figures: PassFigures, marker: str, palette: Palette, *, num_lines: int) -> None:
    losses = [_finite(s.reported_loss) for s in figures.steps]
    kept = thinned(losses, most=MOST_POINTS_IN_ALL // num_lines)
    steps = [figures.steps[i].step for i in kept]
    num_markers = max(1, min(MOST_MARKERS, MOST_MARKERS_IN_ALL // num_lines))
    every = -(-len(kept) // num_markers) or 1
    _plot(axes, steps, [losses[i] for i in kept], figures.loss_kwargs, palette, marker=marker, every=every, label=None)


def thinned(values: Sequence[float], most: int) -> list[int]:
    """Return the places of at most about so many values: the lowest and the highest of every stretch, and its gaps."""
    stretch = -(-3 * len(values) // most) if len(values) > most else 1
    kept: set[int] = set()
    for start in range(0, len(values), stretch):
        places = range(start, min(start + stretch, len(values)))
        known = [i for i in places if math.isfinite(values[i])]
        gaps = [i for i in places if not math.isfinite(values[i])]
        kept.update(gaps[:1])
        if known:
            kept.update((min(known, key=values.__getitem__), max(known, key=values.__getitem__)))
    return sorted(kept)


def _step_marker(ks: Sequence[int], k: int) -> str:
    return STEP_MARKERS[ks.index(k) % len(STEP_MARKERS)]


def _steps_legend(passes: Sequence[PassFigures], palette: Palette, ks: Sequence[int]) -> list[list[Line2D]]:
    """Name lines and markers once, not every pass: first the lines, below them which marker is which k."""
    lines = []
    if _right_over_steps(passes):
        lines.append(Line2D([], [], color=palette.right, label="right answer", **_RIGHT))
    lines += [
        Line2D([], [], color=palette.of(flag), linestyle=LINES[flag], label=f"flag {flag}")
        for flag in FLAGS
        if any(p.loss_kwargs is flag for p in passes)
    ]
    markers = [
        Line2D([], [], color=palette.ink, linestyle="", marker=_step_marker(ks, k), markersize=5, label=f"k={k}")
        for k in ks
        if any(p.accumulation_steps == k for p in passes)
    ]
    return [lines, *(markers[i : i + LEGEND_COLUMNS] for i in range(0, len(markers), LEGEND_COLUMNS))]


def _legend(axes: Axes, rows: Sequence[Sequence[Line2D]]) -> None:
    """Put the legend above the axes, where no curve is."""
    columns = max(map(len, rows))
    blank = Line2D([], [], linestyle="", label=" ")
    # matplotlib fills column by column.
    handles = [row[i] if i < len(row) else blank for i in range(columns) for row in rows]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.2,
        borderpad=0.2,
        ncols=columns,
        columnspacing=1.2,
        handlelength=2.4,
        handletextpad=0.6,
        fontsize=8,
    )


def _say_empty(axes: Axes, palette: Palette) -> None:
    axes.text(0.5, 0.5, "no loss to draw", transform=axes.transAxes, ha="center", va="center", color=palette.muted)
    axes.set_xticks([])
    axes.set_yticks([])
