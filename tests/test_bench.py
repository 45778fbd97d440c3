"""`make bench` fails where a command has become slow, and says so where a format is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.makers import load_maker

ROOT = Path(__file__).parents[1]


MAKER = load_maker("make_bench")
LIMITS = {
    MAKER.PYTHON: 0.02,
    MAKER.TYPER: 0.05,
    MAKER.TRAINER: 4.0,
    "gacheck --help": 0.1,
    "gacheck run --help": 9.0,
    "gacheck report RUN": 0.4,
    "gacheck report RUN --format html": 2.0,
    "gacheck report RUN --format png": 2.0,
}
"""Seconds with which every demand is just met; the help of a command has none."""


def test_what_is_just_fast_enough_passes() -> None:
    assert MAKER.table(LIMITS)[1]


@pytest.mark.parametrize("command", [name for name in LIMITS if name.startswith("gacheck ") and "run" not in name])
def test_what_is_slower_is_found(command: str) -> None:
    lines, met = MAKER.table({**LIMITS, command: LIMITS[command] * 1.01})

    assert not met
    assert [line.startswith(f"{command} ") for line in lines if "MISSED" in line] == [True]


def test_a_format_that_is_missing_is_said() -> None:
    lines, met = MAKER.table({name: each for name, each in LIMITS.items() if "html" not in name})

    assert met
    assert [line for line in lines if "html" in line and "not measured" in line]


def test_the_commands_are_real() -> None:
    medians = MAKER.measure(["gacheck --help", MAKER.PYTHON], ROOT, rounds=1)

    assert min(medians.values()) > 0
    assert MAKER.argument_list("gacheck report RUN --format png", Path("run"))[1:] == [
        *("-m", "gacheck", "report", "run", "--format", "png", "-o", "run/report", "--force")
    ]
