"""Measures how long the commands take that train nothing, and holds them against what they are compared with.

    make bench

Every command is run several times, all of them in turn, so that a machine that is busy is busy for all; the medians
are compared. It ends with 1 where a demand is missed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gacheck.reporters import reporters

ROUNDS = 7

PYTHON = 'python -c "pass"'
TYPER = 'python -c "import typer"'
TRAINER = 'python -c "from transformers import Trainer"'
"""What somebody waits for who looks at a model by hand."""


@dataclass(frozen=True)
class Demand:
    """A command, what it is compared with, and how many times as long it may take; None: it is only told."""

    command: str
    against: str
    at_most: float | None


DEMANDS = (
    Demand("gacheck --help", PYTHON, None),
    # It is built with Typer, whose import alone takes most of it.
    Demand("gacheck --help", TYPER, 2),
    Demand("gacheck run --help", TRAINER, None),
    Demand("gacheck report RUN", TRAINER, 1 / 10),
    Demand("gacheck report RUN --format html", TRAINER, 1 / 2),
    Demand("gacheck report RUN --format png", TRAINER, 1 / 2),
)


def is_there(command: str) -> bool:
    """Return whether this gacheck has the format that the command asks for."""
    _, found, format = command.partition("--format ")
    return not found or format in reporters()


def argument_list(command: str, run: Path) -> list[str]:
    """Return the command for this interpreter, about this run."""
    if command.startswith("python"):
        return [sys.executable, "-c", command.split('"')[1]]
    name, *words = command.split()
    report = ["-o", str(run / "report"), "--force"] if "--format" in words else []
    return [sys.executable, "-m", name, *(str(run) if word == "RUN" else word for word in words), *report]


def measure(commands: Sequence[str], run: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each command; the first round only warms the disk's cache."""
    seconds: dict[str, list[float]] = {command: [] for command in commands}
    for number in range(rounds + 1):
        for command in commands:
            start = time.perf_counter()
            subprocess.run(argument_list(command, run), stdout=subprocess.DEVNULL, check=True)
            if number:
                seconds[command].append(time.perf_counter() - start)
    return {command: statistics.median(each) for command, each in seconds.items()}


def table(medians: Mapping[str, float]) -> tuple[list[str], bool]:
    """Return the lines of the result, and whether every demand is met."""
    lines, met = [], True
    for demand in DEMANDS:
        if demand.command not in medians:
            lines.append(f"{demand.command:<34}not measured: this gacheck has no such format")
            continue
        ratio = medians[demand.command] / medians[demand.against]
        told = "" if demand.at_most is None else f"  at most {demand.at_most:g}"
        if demand.at_most is not None and ratio > demand.at_most:
            told, met = f"{told}: MISSED", False
        seconds = f"{medians[demand.command]:.3f} s / {medians[demand.against]:.3f} s"
        lines.append(f"{demand.command:<34}{seconds:>17} = {ratio:.3f} × {demand.against}{told}")
    return lines, met


def main() -> int:
    """Make a run, measure, print."""
    wanted = (PYTHON, TYPER, TRAINER, *dict.fromkeys(demand.command for demand in DEMANDS))
    commands = [command for command in wanted if is_there(command)]
    with tempfile.TemporaryDirectory(prefix="gacheck-bench-") as folder:
        run = Path(folder) / "run"
        options = ("--model", "tiny:gemma3", "--quiet", "--exit-zero", "--out", str(run))
        subprocess.run([sys.executable, "-m", "gacheck", "run", *options], stdout=subprocess.DEVNULL, check=True)
        lines, met = table(measure(commands, run))
    print("\n".join(lines))
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
