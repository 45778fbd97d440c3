"""Every attack: what it is called, how often it is tried at length and in short, and what shows it."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.torture.outcome import Attack, Outcome

ALL = 1_000_000
"""More than there are: every one."""


@dataclass(frozen=True)
class Named:
    """An attack with its name.

    Attributes:
        title: What is done, as the page says it.
        function: module.name of the function, in this package.
        most: How often at length.
        few: How often in the tests.
        seconds: That it takes at length, about: the long ones begin first.
    """

    title: str
    function: str
    most: int
    few: int
    seconds: int

    @property
    def name(self) -> str:
        """Return its name in a test."""
        return self.function.replace(".", "-")


ATTACKS = (
    Named("`kill -9` at any moment of a run, then `--resume`", "kills.of_a_run", 25, 1, 200),
    Named("`kill -9` at any moment of a survey, then `--resume`", "kills.of_a_survey", 10, 1, 250),
    Named("`kill -9` at any moment of a save", "kills.of_a_save", 25, 3, 30),
    Named("every byte of a record flipped, replaced, left out", "damage.of_bytes", ALL, 400, 130),
    Named("every digit of a record changed to every other", "damage.of_digits", ALL, 200, 60),
    Named("a record cut off at every length", "damage.of_truncations", ALL, 200, 30),
    Named("command lines of options and values of all sorts", "fuzz.of_command_lines", 5000, 150, 90),
    Named("option files of keys, values and bytes of all sorts", "fuzz.of_configurations", 5000, 150, 90),
    Named("hostile strings in every field, in every format", "hostile.of_fields", 2500, 120, 200),
    Named("a full disk", "surroundings.of_a_full_disk", 40, 4, 10),
    Named("a folder that cannot be written", "surroundings.of_a_folder_that_cannot_be_written", 7, 1, 45),
    Named("a second writer in a folder", "surroundings.of_two_writers", 2, 1, 5),
    Named("a working folder that is gone", "surroundings.of_a_working_folder_that_is_gone", 8, 2, 10),
    Named("stdout closed, full, without a reader, ASCII alone", "surroundings.of_a_stdout_that_fails", 36, 4, 20),
    Named("every call of the network noted and blocked", "surroundings.of_the_network", 9, 1, 60),
    Named("`gacheck.check(model)` over and over: memory, traces", "many_checks.of_models", 50, 3, 60),
    Named("`gacheck.check(trainer)` over and over: memory, traces", "many_checks.of_trainers", 50, 3, 60),
)


def carry_out(attack: Named, most: int) -> Outcome:
    """Do an attack in an empty folder."""
    module, _, name = attack.function.partition(".")
    function: Attack = getattr(importlib.import_module(f"tests.torture.{module}"), name)
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        return function(most, Path(folder))
