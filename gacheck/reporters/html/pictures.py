"""The page's pictures: what each shows, in words too, and its bytes as part of the page."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

from gacheck.core.figures import PassFigures
from gacheck.reporters.grid import drawn_steps, find_pass, flag_title, ran, right_answer, tried_flags, tried_steps
from gacheck.reporters.picture import render_panel
from gacheck.reporters.text import figure
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        caption: What it shows, for all.
        description: What is to be seen on it, for those who do not see it.
        light: Its address on a light page.
        dark: Its address on a dark one.
    """

    caption: str
    description: str
    light: str
    dark: str


def pictures(analysis: Analysis) -> list[Picture]:
    """Draw all pictures that have something to show.

    Raises:
        ImportError: matplotlib cannot be imported.
    """
    drawn = []
    # Of a single k there is no line.
    if len(tried_steps(analysis)) > 1 and any(_is_finite(p.reported_loss) for p in ran(analysis)):
        drawn.append(_picture(analysis, None, "Loss of the first step against k", _against_k(analysis)))
    for flag in tried_flags(analysis):
        passes = [p for p in ran(analysis) if p.loss_kwargs is flag and p.accumulation_steps in drawn_steps(analysis)]
        if any(_is_finite(s.reported_loss) for p in passes for s in p.steps):
            title = f"Loss over the steps, {flag_title(analysis, flag)}{_some(analysis)}"
            drawn.append(_picture(analysis, flag, title, _over_steps(passes)))
    return drawn


def _some(analysis: Analysis) -> str:
    """Say that not every k is drawn."""
    drawn, tried = len(drawn_steps(analysis)), len(tried_steps(analysis))
    return f", {drawn} of {tried} k" if drawn < tried else ""


def _picture(analysis: Analysis, flag: Flag | None, caption: str, seen: str) -> Picture:
    drawn = {scheme: _address(svg) for scheme, svg in render_panel(analysis, flag).items()}
    return Picture(caption, f"Line chart. {caption}. {seen}", drawn["light"], drawn["dark"])


def _address(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _against_k(analysis: Analysis) -> str:
    answer = right_answer(analysis)
    sentences = [f"The right answer is {figure(answer)} at every k."] if answer is not None else []
    for flag in tried_flags(analysis):
        found = [(k, find_pass(analysis, k, flag)) for k in drawn_steps(analysis)]
        points = [f"{figure(p.reported_loss)} at k={k}" for k, p in found if p is not None and p.reported_loss]
        if points:
            sentences.append(f"Flag {flag}: {', '.join(points)}.")
    return " ".join(sentences)


def _over_steps(passes: Sequence[PassFigures]) -> str:
    points = []
    for p in passes:
        if p.steps:
            first, last = (figure(s.reported_loss) for s in (p.steps[0], p.steps[-1]))
            points.append(f"from {first} to {last} in {len(p.steps)} steps at k={p.accumulation_steps}")
    return f"{', '.join(points)}.".capitalize()
