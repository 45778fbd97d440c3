"""Draws the picture of a run: loss against k, and loss over steps. Imports matplotlib: imported when one is drawn.

Flag on and off differ in colour, line and marker, so that neither print nor colour-blindness takes one away.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gacheck.core.figures import PassFigures
from gacheck.reporters.grid import (
    FLAGS,
    find_pass,
    flag_title,
    is_default,
    name_passes,
    ran,
    right_answer,
    tried_flags,
    tried_steps,
)
from gacheck.reporters.text import ascii_only, clean, figure, shorten
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis

# Okabe and Ito's colours: told apart by all eyes, and of unequal lightness.
COLORS = {Flag.ON: "#0072B2", Flag.OFF: "#D55E00"}
RIGHT_COLOR = "#999999"
LINES: dict[Flag, Literal["-", "--"]] = {Flag.ON: "-", Flag.OFF: "--"}
MARKERS = {Flag.ON: "o", Flag.OFF: "s"}
STEP_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

# From here on a linear axis flattens the lower curves into one line.
LOG_FROM = 3.0

# The least share of the right answer that the axis shows: else 0.1 % would look like a landslide.
LEAST_SPAN = 0.1

# No step's marker is legible among many more.
MOST_MARKERS = 16

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "gacheck",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    # A dollar sign in a model's name is no formula.
    "text.parse_math": False,
}


def draw(analysis: Analysis, format: Literal["png", "svg"]) -> bytes:
    """Draw the picture; the same analysis gives the same bytes."""
    # The user's own matplotlibrc must not change it.
    style: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE}
    # The one setting that says nothing of the looks: a notebook's choice of backend stays.
    del style["backend"]
    with matplotlib.rc_context(style):
        picture = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
        FigureCanvasAgg(picture)
        left, right = picture.subplots(1, 2)
        picture.suptitle(_title(analysis), fontsize=10.5)
        _draw_against_k(left, analysis)
        _draw_over_steps(right, analysis)
        missing = _missing(analysis)
        if missing:
            picture.supxlabel(missing, fontsize=8, color="#555555")
        buffer = io.BytesIO()
        metadata = {"Software": None} if format == "png" else {"Date": None, "Creator": None}
        picture.savefig(buffer, format=format, metadata=metadata)
    return buffer.getvalue()


def _title(analysis: Analysis) -> str:
    record, verdict = analysis.record, analysis.verdict
    model = record.model
    # A glyph that the font lacks would be an empty box.
    name = shorten(ascii_only(clean(model.name)), 44).replace("…", "...")
    release = record.environment.packages.get("transformers", "not installed")
    code = f"{verdict.severity.upper()} {verdict.code}" if verdict.severity in ("warn", "fail") else verdict.code
    incomplete = "" if record.complete else " (incomplete run)"
    class_name = shorten(ascii_only(clean(model.class_name)), 50).replace("…", "...")
    return f"{class_name} ({name}) · transformers {release}\n{code}: {verdict.words.summary}{incomplete}"


def _finite(value: float | None) -> float:
    """Return NaN for all that cannot be drawn: a line breaks there."""
    return value if value is not None and math.isfinite(value) else math.nan


def _draw_against_k(axes: Axes, analysis: Analysis) -> None:
    ks = tried_steps(analysis)
    axes.set_xlabel("k = gradient_accumulation_steps")
    axes.set_ylabel("first-step loss (nats per token)")
    drawn = [_finite(p.reported_loss) for p in ran(analysis)]
    if all(map(math.isnan, drawn)):
        _say_empty(axes)
        return
    answers = [_right_at(analysis, k) for k in ks]
    axes.plot(ks, answers, color=RIGHT_COLOR, linewidth=6, alpha=0.55, marker="D", markersize=9, label="right answer")
    for flag in tried_flags(analysis):
        losses = [_first_loss(analysis, k, flag) for k in ks]
        label = flag_title(analysis, flag)
        _plot(axes, ks, losses, flag, marker=MARKERS[flag], label=label)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(ks) / 1.35, max(ks) * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(ks))
    axes.xaxis.set_major_formatter(FixedFormatter([str(k) for k in ks]))
    axes.xaxis.set_minor_locator(NullLocator())
    _set_span(axes, [*drawn, *answers])
    _label_points(axes, analysis, ks)
    axes.legend(loc="upper left")


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


def _plot(axes: Axes, x: Sequence[float], y: Sequence[float], flag: Flag, *, marker: str, label: str | None) -> None:
    # A smaller marker of flag off inside the one of flag on shows both where they coincide.
    axes.plot(
        x,
        y,
        color=COLORS[flag],
        linestyle=LINES[flag],
        linewidth=1.8 if flag.is_on else 1.5,
        marker=marker,
        markersize=6.5 if flag.is_on else 5,
        markerfacecolor=COLORS[flag] if flag.is_on else "white",
        label=label,
    )


def _set_span(axes: Axes, values: Sequence[float]) -> None:
    """Leave room for labels and legend, and blow no small difference up."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    if low > 0 and high > LOG_FROM * low:
        axes.set_ylim(0, high * 1.2)
        return
    least = LEAST_SPAN * max(abs(low), abs(high))
    extra = max(0.0, least - (high - low)) / 2
    low, high = low - extra, high + extra
    span = (high - low) or 1.0
    axes.set_ylim(low - 0.15 * span, high + 0.45 * span)


def _label_points(axes: Axes, analysis: Analysis, ks: Sequence[int]) -> None:
    """Write the values: the upper curve's above its points, the lower one's below; no value twice in one place."""
    for flag in FLAGS:
        losses = [_first_loss(analysis, k, flag) for k in ks]
        others = [_first_loss(analysis, k, flag.other) for k in ks]
        texts = [figure(loss) if math.isfinite(loss) else "" for loss in losses]
        is_flat = len(set(filter(None, texts))) == 1
        for i, (loss, other) in enumerate(zip(losses, others, strict=True)):
            is_repeated = is_flat and any(texts[i + 1 :])
            is_shared = not flag.is_on and texts[i] == figure(other)
            if texts[i] and not is_repeated and not is_shared:
                above = math.isnan(other) or loss > other or (flag.is_on and loss == other)
                rises = i + 1 < len(ks) and losses[i + 1] > loss
                _label_point(axes, (ks[i], loss), texts[i], COLORS[flag], above=above, aside=above and rises)


def _label_point(axes: Axes, point: tuple[float, float], text: str, color: str, *, above: bool, aside: bool) -> None:
    """Write a value beside its point; `aside` keeps it clear of a line that rises from there."""
    label = axes.annotate(
        text,
        point,
        xytext=(5 if aside else 0, 8 if above else -9),
        textcoords="offset points",
        ha="right" if aside else "center",
        va="bottom" if above else "top",
        color=color,
        fontsize=8,
    )
    label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _draw_over_steps(axes: Axes, analysis: Analysis) -> None:
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    ks = tried_steps(analysis)
    losses = [_finite(s.reported_loss) for p in ran(analysis) for s in p.steps]
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        _say_empty(axes)
        return
    for figures in sorted(ran(analysis), key=lambda p: (not p.loss_kwargs.is_on, p.accumulation_steps)):
        _draw_pass(axes, figures, _step_marker(ks, figures.accumulation_steps))
    if min(finite) > 0 and max(finite) > LOG_FROM * min(finite):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(min(finite) / 1.25, max(finite) * 1.25)
    else:
        _set_span(axes, finite)
    _draw_legend(axes, analysis, ks)


def _step_marker(ks: Sequence[int], k: int) -> str:
    return STEP_MARKERS[ks.index(k) % len(STEP_MARKERS)]


def _draw_pass(axes: Axes, figures: PassFigures, marker: str) -> None:
    steps = [s.step for s in figures.steps]
    losses = [_finite(s.reported_loss) for s in figures.steps]
    _plot(axes, steps, losses, figures.loss_kwargs, marker=marker if len(steps) <= MOST_MARKERS else "", label=None)


def _draw_legend(axes: Axes, analysis: Analysis, ks: Sequence[int]) -> None:
    """Name lines and markers once, not every pass."""
    handles = [
        Line2D([], [], color=COLORS[flag], linestyle=LINES[flag], label=f"flag {flag}")
        for flag in tried_flags(analysis)
    ]
    handles += [
        Line2D([], [], color="#444444", linestyle="", marker=_step_marker(ks, k), markersize=5, label=f"k={k}")
        for k in ks
    ]
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(handles),
        columnspacing=1.2,
        handletextpad=0.5,
        fontsize=8,
    )


def _say_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no loss to draw", transform=axes.transAxes, ha="center", va="center", color="#555555")
    axes.set_xticks([])
    axes.set_yticks([])


def _missing(analysis: Analysis) -> str:
    """Say which passes the picture cannot show."""
    failed = [p for p in ran(analysis) if p.status == "failed"]
    nonfinite = [p for p in ran(analysis) if p.nonfinite]
    parts = [("failed", failed), ("not finite everywhere", nonfinite)]
    return "    ".join(f"{reason}: {name_passes(passes)}" for reason, passes in parts if passes)
