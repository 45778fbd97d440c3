"""Draws the pictures: loss against k, and loss over steps. Imports matplotlib: imported when one is drawn."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gacheck.reporters.grid import name_passes, ran
from gacheck.reporters.picture.drawing.compacting import compact
from gacheck.reporters.picture.drawing.palette import PALETTES, Palette, Scheme, recoloured
from gacheck.reporters.picture.drawing.panels import draw_against_k, draw_over_steps
from gacheck.reporters.text import ascii_only, clean, shorten
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "gacheck",
    "svg.fonttype": "path",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    # A dollar sign in a model's name is no formula.
    "text.parse_math": False,
}


def draw(analysis: Analysis, format: Literal["png", "svg"]) -> bytes:
    """Draw the whole picture, with a title; the same analysis gives the same bytes."""
    palette = PALETTES["light"]
    with _styled(palette):
        picture = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
        left, right = picture.subplots(1, 2)
        picture.suptitle(_title(analysis), fontsize=10.5)
        draw_against_k(left, analysis, palette)
        draw_over_steps(right, analysis, palette)
        missing = _missing(analysis)
        if missing:
            picture.supxlabel(missing, fontsize=8, color=palette.muted)
        return _saved(picture, format)


def draw_panel(analysis: Analysis, flag: Flag | None) -> dict[Scheme, bytes]:
    """Draw a part of the picture as SVG, without a title, to be read on a narrow screen too: for every scheme.

    Args:
        flag: Losses over steps at one value of it; None: losses against k.
    """
    palette = PALETTES["light"]
    # Outlines of letters would be most of its size. No other font is as wide as the one for which the room is reckoned.
    with _styled(palette, {"svg.fonttype": "none"}):
        picture = Figure(figsize=(4.4, 3.5), layout="constrained")
        axes = picture.subplots()
        if flag is None:
            draw_against_k(axes, analysis, palette)
        else:
            draw_over_steps(axes, analysis, palette, [flag])
        drawn = compact(_saved(picture, "svg"))
    # Drawing takes a tenth of a second, exchanging the colours nothing.
    return {scheme: recoloured(drawn, palette, other) for scheme, other in PALETTES.items()}


@contextmanager
def _styled(palette: Palette, further: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    # The user's own matplotlibrc must not change it.
    style: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE, **palette.style, **further}
    # The one setting that says nothing of the looks: a notebook's choice of backend stays.
    del style["backend"]
    with matplotlib.rc_context(style):
        yield


def _saved(picture: Figure, format: Literal["png", "svg"]) -> bytes:
    FigureCanvasAgg(picture)
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


def _missing(analysis: Analysis) -> str:
    """Say which passes the picture cannot show."""
    failed = [p for p in ran(analysis) if p.status == "failed"]
    nonfinite = [p for p in ran(analysis) if p.nonfinite]
    parts = [("failed", failed), ("not finite everywhere", nonfinite)]
    return "    ".join(f"{reason}: {name_passes(passes)}" for reason, passes in parts if passes)
