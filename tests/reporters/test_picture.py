"""The picture: the same twice, and it shows what it should."""

from __future__ import annotations

from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gacheck.reporters.picture import drawing, render_picture
from gacheck.words.analysis import analyse
from tests.builders import full_run
from tests.reporters.cases import RECORDS


def test_it_is_the_same_twice_and_differs_where_the_record_does() -> None:
    scaled, other = analyse(RECORDS["scaled"]), analyse(RECORDS["scaled off"])
    png, svg = render_picture(scaled), render_picture(scaled, "svg")
    assert (render_picture(scaled), render_picture(scaled, "svg")) == (png, svg)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert b"<dc:date>" not in svg
    assert render_picture(other) != png


def test_users_settings_neither_change_it_nor_are_changed() -> None:
    analysis = analyse(RECORDS["scaled"])
    plain = render_picture(analysis)
    with matplotlib.rc_context({"font.size": 22.0, "lines.linewidth": 9.0, "text.parse_math": True}):
        assert render_picture(analysis) == plain
        assert matplotlib.rcParams["font.size"] == 22.0


def draw(name: str) -> tuple[Axes, Axes]:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    analysis = analyse(RECORDS[name])
    drawing._draw_against_k(left, analysis)
    drawing._draw_over_steps(right, analysis)
    return left, right


def test_left_shows_on_off_and_the_right_answer() -> None:
    left, _ = draw("scaled")
    lines = {str(line.get_label()): line for line in left.get_lines()}
    assert list(lines) == ["right answer", "flag on (default)", "flag off"]
    assert np.asarray(lines["right answer"].get_ydata()) == pytest.approx(np.full(4, 5.15))
    assert len({line.get_color() for line in lines.values()}) == 3
    assert len({line.get_marker() for line in lines.values()}) == 3
    assert lines["flag on (default)"].get_linestyle() != lines["flag off"].get_linestyle()
    assert [label.get_text() for label in left.get_xticklabels()] == ["1", "2", "4", "8"]
    assert "42.038" in {label.get_text() for label in left.texts}


def test_values_that_repeat_are_written_once() -> None:
    left, _ = draw("right")
    assert [label.get_text() for label in left.texts].count("5.150") == 1


def test_small_differences_are_not_blown_up() -> None:
    low, high = draw("right")[0].get_ylim()
    assert high - low > 0.1 * 5.15


def test_right_has_a_log_axis_only_where_losses_are_multiples() -> None:
    assert draw("scaled")[1].get_yscale() == "log"
    assert draw("right")[1].get_yscale() == "linear"
    assert len(draw("scaled")[1].get_lines()) == 8


def test_says_what_it_cannot_draw() -> None:
    assert drawing._missing(analyse(RECORDS["refused"])) == "failed: k=1, 2, 4, 8 on"
    assert drawing._missing(analyse(RECORDS["nan"])) == "not finite everywhere: k=2, 4 on"
    assert drawing._missing(analyse(RECORDS["scaled"])) == ""


def test_title_names_model_release_and_verdict() -> None:
    title = drawing._title(analyse(full_run("sum_of_means", "mean_of_means")))
    for part in ("Gemma3ForConditionalGeneration", "tiny:gemma3", "transformers 5.23.0", "FAIL SCALED_BY_ACCUMULATION"):
        assert part in title
    assert drawing._title(analyse(RECORDS["hostile"])).count("\n") == 1
    assert "(incomplete run)" in drawing._title(analyse(RECORDS["partial"]))
    assert "incomplete" not in title
