"""The picture: the same twice, and it shows what it should."""

from __future__ import annotations

from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gacheck.reporters.picture import drawing, render_picture
from gacheck.reporters.picture.drawing.palette import PALETTES, recoloured
from gacheck.reporters.picture.drawing.panels import draw_against_k, draw_over_steps
from gacheck.reporters.picture.drawing.scales import legible, plain
from gacheck.rules.facts import Flag
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
    draw_against_k(left, analysis, PALETTES["light"])
    draw_over_steps(right, analysis, PALETTES["light"])
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


@pytest.mark.parametrize(("name", "scale"), [("scaled", "log"), ("right", "linear"), ("router", "linear")])
def test_growth_by_k_is_a_straight_line(name: str, scale: str) -> None:
    left, _ = draw(name)
    assert (left.get_xscale(), left.get_yscale()) == (scale, scale)
    if name == "right":
        return
    ends = left.transData.transform([(1, 5.15), (8, 8 * 5.15)] if scale == "log" else [(1, 5.5), (8, 9.0)])
    between = left.transData.transform((2, 2 * 5.15) if scale == "log" else (2, 6.0))
    slopes = [(y - ends[0][1]) / (x - ends[0][0]) for x, y in (between, ends[1])]
    assert slopes[0] == pytest.approx(slopes[1])


def test_every_k_has_a_tick_until_they_run_into_each_other() -> None:
    assert legible((1, 2, 4, 8), log=False) == [1, 2, 4, 8]
    assert legible((1, 2, 4, 8, 16, 32, 64), log=True) == [1, 2, 4, 8, 16, 32, 64]
    assert legible((1, 15, 16), log=True) == [1, 16]
    assert legible((4,), log=True) == [4]


def test_ticks_are_plain_numbers() -> None:
    assert [plain(value) for value in (0, 5.25, 20, 1e6, 0.002)] == ["0", "5.25", "20", "1,000,000", "0.002"]


def test_right_has_a_log_axis_only_where_losses_are_multiples() -> None:
    assert draw("scaled")[1].get_yscale() == "log"
    assert draw("right")[1].get_yscale() == "linear"


def test_right_shows_every_pass_and_the_right_answer_where_it_is_known() -> None:
    lines = draw("scaled")[1].get_lines()
    answers = [line for line in lines if line.get_color() == PALETTES["light"].right]
    assert len(lines) - len(answers) == 8
    # The first step's, which is the same for all passes.
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in answers] == [([1], [pytest.approx(5.15)])]


def test_a_part_has_the_axis_of_the_whole_in_the_colours_of_the_page() -> None:
    spans = []
    for flags in ((Flag.ON,), (Flag.OFF,)):
        axes = Figure().subplots()
        draw_over_steps(axes, analyse(RECORDS["scaled"]), PALETTES["light"], flags)
        spans.append(axes.get_ylim())
    drawn = drawing.draw_panel(analyse(RECORDS["scaled"]), None)

    assert spans[0] == spans[1] == draw("scaled")[1].get_ylim()
    assert drawn.keys() == PALETTES.keys()
    assert drawn["dark"] == recoloured(drawn["light"], PALETTES["light"], PALETTES["dark"]) != drawn["light"]
    assert PALETTES["light"].paper.encode() not in drawn["dark"]
    assert all(len(set(vars(palette).values())) == 7 for palette in PALETTES.values())


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


def test_dollar_signs_are_no_formula() -> None:
    record = RECORDS["scaled"]
    model = record.model.model_copy(update={"name": "$\\frac{1$"})
    assert render_picture(analyse(record.model_copy(update={"model": model})))
