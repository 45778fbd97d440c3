"""Measures what gacheck costs beside what has to be done anyway, and writes docs/benchmarks.md.

    make bench                              all of it; run it with nothing else on the machine
    python docs/make_bench.py --commands    the commands that train nothing, printed
    make bench-large                        the memory of a run of 350 million parameters, beside its estimate, printed

Every command is run several times, all of them in turn, so that a machine that is busy is busy for all; the medians
are compared. It ends with 1 where a demand is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gacheck.reporters import reporters

DOCS = Path(__file__).parent
PAGE, PICTURE = DOCS / "benchmarks.md", DOCS / "examples" / "growth.png"
ROUNDS, ROUNDS_OF_RUNS = 5, 3

PYTHON = 'python -c "pass"'
TYPER = 'python -c "import typer, rich"'
TYPER_CALLED = 'python -c "import typer, rich.markdown; typer.run(lambda code=0: None)"'
"""A program of Typer's with one parameter, which makes it import Pydantic, and Markdown for its terminal."""
SMOKE_FLOOR = "python docs/bench_floor.py FOLDER 4 once"
FLOOR = "python docs/bench_floor.py FOLDER 1 2 4 8"
SCRIPT = "python docs/bench_floor.py FOLDER 1"
"""What somebody runs who compares two values of k by hand: four times, with the flag on and off."""
RUN = "gacheck run --model tiny:gemma3"
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
    Demand("gacheck explain OK", TYPER, 2),
    Demand("gacheck explain OK", TYPER_CALLED, None),
    Demand("gacheck env", TYPER, 2),
    Demand("gacheck env", TYPER_CALLED, None),
    Demand("gacheck run --help", TRAINER, None),
    Demand("gacheck report RUN", TRAINER, 1 / 10),
    Demand("gacheck report RUN --format html", TRAINER, 1 / 2),
    Demand("gacheck report RUN --format png", TRAINER, 1 / 2),
)


RUNS = (
    # Everything that is measured is learnt from passes; their floor is what those cost without gacheck.
    Demand("gacheck smoke", TRAINER, 1.2),
    Demand("gacheck smoke", SMOKE_FLOOR, None),
    Demand(RUN, FLOOR, 1.15),
)
SCRIPTS, SCRIPTS_AT_MOST = 8, 0.25
PASSES = (("bare", "a bare Trainer", 1.10), ("by hand", "a loop of PyTorch", 1.15))
MORE_WEIGHTS = 1.0
"""How many copies of the weights the peak of a run may be above that of a bare Trainer."""


def is_there(command: str) -> bool:
    """Return whether this gacheck has the format that the command asks for."""
    _, found, format = command.partition("--format ")
    return not found or format in reporters()


def argument_list(command: str, run: Path) -> list[str]:
    """Return the command for this interpreter, about this run."""
    if command.startswith("python -c"):
        return [sys.executable, "-c", command.split('"')[1]]
    name, *words = command.split()
    if name == "python":
        return [sys.executable, *(str(run.parent) if word == "FOLDER" else word for word in words)]
    report = ["-o", str(run / "report"), "--force"] if "--format" in words else []
    report += (
        ["--out", str(run.with_name("again")), "--force", "--quiet"]
        if words[0] == "run" and "--help" not in words
        else []
    )
    return [sys.executable, "-m", name, *(str(run) if word == "RUN" else word for word in words), *report]


def measure(commands: Sequence[str], run: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each command; the first round only warms the disk's cache."""
    seconds: dict[str, list[float]] = {command: [] for command in commands}
    for number in range(rounds + 1):
        for command in commands:
            start = time.perf_counter()
            subprocess.run(argument_list(command, run), stdout=subprocess.DEVNULL, cwd=DOCS.parent, check=True)
            if number:
                seconds[command].append(time.perf_counter() - start)
    return {command: statistics.median(each) for command, each in seconds.items()}


def table(medians: Mapping[str, float], demands: Sequence[Demand] = DEMANDS) -> tuple[list[str], bool]:
    """Return the lines of the result, and whether every demand is met."""
    lines, met = [], True
    for demand in demands:
        if demand.command not in medians:
            lines.append(f"{demand.command:<34}not measured: this gacheck has no such format")
            continue
        line, is_met = ratio_line(demand, medians[demand.command], medians[demand.against])
        lines.append(line)
        met = met and is_met
    return lines, met


def ratio_line(demand: Demand, seconds: float, against: float) -> tuple[str, bool]:
    """Return the line of one demand, and whether it is met."""
    ratio = seconds / against
    is_met = demand.at_most is None or ratio <= demand.at_most
    told = "" if demand.at_most is None else f"  at most {demand.at_most:g}{'' if is_met else ': MISSED'}"
    times = f"{seconds:.3f} s / {against:.3f} s"
    return f"{demand.command:<34}{times:>17} = {ratio:.3f} × {demand.against}{told}", is_met


MATERIAL = """
import sys, torch
from gacheck.config import RunConfig
from gacheck.measure.session import Session
model, folder, length = sys.argv[1:]
session = Session(RunConfig(model=model, max_length=int(length)).experiment())
session.material.model.save_pretrained(folder + "/model")
torch.save([dict(row) for row in session.material.rows], folder + "/rows.pt")
"""


def make_material(model: str, folder: Path, length: int = 128) -> None:
    """Leave what a run trains, the model and its rows, for those who do the same without gacheck."""
    command = [sys.executable, "-c", MATERIAL, model, str(folder), str(length)]
    subprocess.run(command, stdout=subprocess.DEVNULL, cwd=DOCS.parent, check=True)


def make_run(folder: Path) -> Path:
    """Make a run, and what it trained beside it."""
    run = folder / "run"
    make_material("tiny:gemma3", folder)
    options = ("--model", "tiny:gemma3", "--quiet", "--exit-zero", "--out", str(run))
    subprocess.run([sys.executable, "-m", "gacheck", "run", *options], stdout=subprocess.DEVNULL, check=True)
    return run


def inside(what: str) -> Any:
    """Measure in a process of its own."""
    command = [sys.executable, str(DOCS / "bench_training.py"), what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak(command: Sequence[str]) -> int:
    """Return the largest memory that a process had, bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=DOCS.parent)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss * 1024


def memory() -> str:
    """Return the table of what a run takes, of 60 million parameters, above a bare Trainer that trains the same."""
    with tempfile.TemporaryDirectory(prefix="gacheck-bench-") as place:
        folder, length = Path(place), 64
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(inside("config"), encoding="utf-8")
        make_material(str(folder / "model"), folder, length)
        weights = sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))
        bare = peak(argument_list(SCRIPT, folder / "run"))
        run = f"gacheck run --model {folder / 'model'} -k 1 --loss-kwargs on --max-length {length}"
        peaks = {
            options: peak(argument_list(f"{run} {options}".strip(), folder / "run")) for options in ("", "--low-memory")
        }
    rows = [
        f"| `gacheck run … {options}` | {taken / 1e6:,.0f} MB | {(taken - bare) / weights:+.2f} |"
        for options, taken in peaks.items()
    ]
    return "\n".join(
        [
            f"The largest memory of a process that trains 60 million parameters ({weights / 1e6:,.0f} MB), and by how\n"
            "many times the weights it is above that of a bare Trainer.",
            "",
            "| process | peak | copies of the weights more |",
            "|---|---:|---:|",
            f"| a bare Trainer | {bare / 1e6:,.0f} MB | |",
            *rows,
        ]
    )


def large() -> str:
    """Return what a run of 350 million parameters with the defaults takes, and what it was estimated to take."""
    need = inside("need")
    expected = need["held"] + need["estimated"]
    with tempfile.TemporaryDirectory(prefix="gacheck-bench-") as place:
        (Path(place) / "config.json").write_text(inside("large"), encoding="utf-8")
        started = time.perf_counter()
        taken = peak([sys.executable, "-m", "gacheck", "run", "--model", place, "--out", f"{place}/run"])
        minutes = (time.perf_counter() - started) / 60
    return (
        f"largest memory {taken / 1e9:.2f} GB, estimated {expected / 1e9:.2f} GB: {expected / taken:.3f} of it, "
        f"in {minutes:.0f} minutes"
    )


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return by which power of the size the time grows: the slope of a line through the logarithms."""
    return statistics.linear_regression([math.log(each) for each in sizes], [math.log(each) for each in seconds]).slope


def growth_table(growth: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    """Return the rows of the table of growth."""
    rows = []
    for name, points in growth.items():
        sizes, watched, bare = zip(*points, strict=True)
        ratios = [a / b for a, b in zip(watched, bare, strict=True)]
        powers = f"{exponent(sizes, watched):.2f} | {exponent(sizes, bare):.2f}"
        rows.append(f"| {name} | {sizes[0]:,} to {sizes[-1]:,} | {powers} | {ratios[0]:.2f} | {ratios[-1]:.2f} |")
    return rows


def draw(growth: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draw how the seconds of a pass grow."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, math.ceil(len(growth) / 2)).flatten()
    for axis, (name, points) in zip(axes, growth.items(), strict=False):
        sizes, watched, bare = zip(*points, strict=True)
        axis.loglog(sizes, watched, "o-", label="a pass of gacheck")
        axis.loglog(sizes, bare, "s--", label="a bare Trainer")
        axis.set(xlabel=name, ylabel="seconds")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_formatter(ScalarFormatter())
        seconds = (*watched, *bare)
        # Between powers of ten there is room for numbers where there are few powers.
        axis.yaxis.set_minor_formatter(ScalarFormatter() if max(seconds) < 10 * min(seconds) else NullFormatter())
    axes[0].legend()
    for axis in axes[len(growth) :]:
        axis.remove()
    figure.savefig(PICTURE, dpi=100)


HEAD = """<!-- Made by docs/make_bench.py: run  make bench  instead of editing. -->

# What gacheck costs

Measured by `make bench` on {machine}, load {load:.1f} before it began: ratios of medians, both sides in turns.
"at most" is what we want; where that is missed, the reason stands below."""


def page(
    commands: Sequence[str],
    runs: Sequence[str],
    passes: Mapping[str, Sequence[float]],
    work: Mapping[str, int],
    memory: str,
    growth: Mapping[str, Sequence[Sequence[float]]],
    load: float,
) -> tuple[str, bool]:
    """Return the page, and whether all that is demanded of passes is met."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    watched = statistics.median(passes["watched"])
    of_passes = [
        ratio_line(Demand("a pass", against, at_most), watched, statistics.median(passes[name]))
        for name, against, at_most in PASSES
    ]
    parts = [
        HEAD.format(machine=machine, load=load),
        "## Commands",
        fenced(commands),
        WHY_COMMANDS,
        "## Runs",
        fenced(runs),
        WHY_RUNS,
        "## Passes",
        "60 million parameters, 16 rows of 256 tokens a step at k = 4, 8 steps of which 2 are observed.",
        fenced([line for line, _ in of_passes]),
        why_passes(work),
        "## Memory",
        memory,
        "## Growth",
        "The seconds of a pass by the power of what is made larger, of gacheck and of a bare Trainer, and\n"
        "the ratio of the two at the smallest and the largest size. With a large vocabulary the cross-entropy is much\n"
        "of a training, and gacheck computes it once more in float64.",
        "\n".join(
            [
                "| larger | from, to | gacheck | bare | ratio | ratio |",
                "|---|---|---:|---:|---:|---:|",
                *growth_table(growth),
            ]
        ),
        "![Seconds of a pass by what is made larger: gacheck and a bare Trainer](examples/growth.png)",
    ]
    return "\n\n".join(parts) + "\n", all(is_met for _, is_met in of_passes)


WHY_COMMANDS = """
`import typer, rich` loads little: a command with a parameter makes Typer load Pydantic, and a page of Markdown in the
terminal loads a parser. That is done by the second program beside `explain` and `env`: their floor.
""".strip()
WHY_RUNS = """
The import of the Trainer is most of a smoke check; the rest is a training of two steps, which `bench_floor.py` does
without gacheck. A check can take less than the import alone: while it imports, Python looks for garbage again and
again, which gacheck keeps it from. What a run does more than eight bare passes is counted below.
""".strip()
WHY = """
A pass does {watched} rows forward and backward where the bare Trainer does {bare}: every micro-batch of the two
observed steps is repeated by itself, and the first once more; {heldout} held-out rows are done forward alone. Where a
forward is a third of a training, that by itself is {floor:.2f} bare trainings: the floor. The rest is the
cross-entropy, computed again in float64, and the reading of gradients. More steps bring it down; `--no-gradients`
leaves the backward of the repeats out.
""".strip()


def why_passes(work: Mapping[str, int]) -> str:
    """Return what a pass has to do at the least."""
    return WHY.format(**work, floor=(work["watched"] + work["heldout"] / 3) / work["bare"])


def fenced(lines: Sequence[str]) -> str:
    """Return lines as they are printed."""
    return "\n".join(["```text", *lines, "```"])


def main() -> int:
    """Make a run, measure, print; write the page."""
    parser = argparse.ArgumentParser(description="Measure what gacheck costs.")
    parser.add_argument("--commands", action="store_true", help="the commands that train nothing alone, printed")
    parser.add_argument("--large", action="store_true", help="the memory of 350 million parameters alone, printed")
    options = parser.parse_args()
    if options.large:
        print(large())
        return 0
    load = os.getloadavg()[0]
    wanted = (PYTHON, TYPER, TYPER_CALLED, TRAINER, *dict.fromkeys(demand.command for demand in DEMANDS))
    commands = [command for command in wanted if is_there(command)]
    with tempfile.TemporaryDirectory(prefix="gacheck-bench-") as folder:
        run = make_run(Path(folder))
        lines, met = table(measure(commands, run))
        print("\n".join(lines), flush=True)
        if options.commands:
            return int(not met)
        medians = measure((TRAINER, "gacheck smoke", SMOKE_FLOOR, RUN, FLOOR, SCRIPT), run, ROUNDS_OF_RUNS)
    of_runs, _ = table(medians, RUNS)
    scripts = Demand(RUN, f"{SCRIPTS} times {SCRIPT}", SCRIPTS_AT_MOST)
    of_runs.append(ratio_line(scripts, medians[RUN], SCRIPTS * medians[SCRIPT])[0])
    print("\n".join(of_runs), flush=True)
    growth = inside("growth")
    draw(growth)
    text, _ = page(lines, of_runs, inside("passes"), inside("work"), memory(), growth, load)
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
