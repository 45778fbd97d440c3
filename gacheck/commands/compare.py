"""`gacheck compare`: hold two records of one kind against each other. Needs neither torch nor transformers."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

import typer

from gacheck.commands.output import view_of, write_out
from gacheck.commands.records import find_record, say_if_edited
from gacheck.errors import ConfigError, RecordError
from gacheck.record.journal import RECORD_NAME, load_record
from gacheck.record.survey import EVERYTHING, SurveyRecord
from gacheck.reporters import reporters
from gacheck.words.comparison import Comparison, Side, compare_sides, keeps_apart, read_release, read_training
from gacheck.words.reading import read_record
from gacheck.words.survey import SurveyAnalysis

FORMATS = reporters("comparison")

Format = StrEnum("Format", {name.upper(): name for name in FORMATS})  # type: ignore[misc]
"""What a comparison can be rendered as."""
_TERMINAL = Format("terminal")

EXIT_CODES = {"none": 0, "regression": 1, "unjudged": 3}

_HELP = f"a run's folder, or its {RECORD_NAME}; of a survey of several releases FOLDER@RELEASE"
_KINDS = {"run": "a run", "attach": "an attached training", "survey": "a survey"}


def compare(
    a: str = typer.Argument(..., metavar="A", help=_HELP),
    b: str = typer.Argument(..., metavar="B", help="the same of what it is compared with"),
    format: Format = typer.Option(_TERMINAL, "--format", help="what to make of it"),
    json: bool = typer.Option(False, "--json", help="print JSON on stdout, as --format json does"),
) -> None:
    """Compare two runs, two attached trainings or two surveys: is any verdict worse in B than in A?

    Codes, rules and ratios are compared, never losses. What decides them has to be the same in both: k, rows, task,
    dtype and so on. Releases, hardware, weights and code of your own may differ.

    Example: gacheck compare survey@4.50.3 survey@4.57.6

    Exit codes: 0 no regression · 1 a verdict is worse · 2 usage, or records that cannot be compared ·
    3 nothing is known to be worse, but a verdict was lost or nothing is judged in both · 4 could not write.
    """
    if json and format not in ("json", "terminal"):
        raise ConfigError(
            f"--json and --format {format} exclude each other.",
            why="One output goes to stdout.",
            fix=f"leave out --json or --format {format}",
        )
    sides = _side(a), _side(b)
    _check_kinds(*sides)
    _check_alike(*sides)
    comparison = compare_sides(*sides)
    write_out(_render(comparison, "json" if json else format))
    raise typer.Exit(EXIT_CODES[comparison.result])


def _render(comparison: Comparison, format: str) -> bytes:
    return FORMATS[format].render(comparison, view_of(sys.stdout))


def _side(name: str) -> Side:
    """Read one of the two records.

    Raises:
        RecordError: It cannot be read.
        ConfigError: It is not said which of several releases is meant.
    """
    folder, release = _split(name)
    path = find_record(Path(folder), command="")
    record = load_record(path)
    say_if_edited(path, record)
    try:
        analysis = read_record(record)
    except (ArithmeticError, LookupError, ValueError) as error:
        raise RecordError(
            f"{path} makes no sense: {type(error).__name__}: {error}.",
            why="Its facts contradict each other or are out of all bounds, as after an edit by hand.",
            fix="name another run; if nobody edited it, gacheck is at fault: report it with this file",
        ) from error
    if isinstance(analysis, SurveyAnalysis):
        chosen = _release(name, folder, release, analysis.record.releases)
        _check_begun(folder, analysis.record.of(chosen))
        return read_release(name, analysis, chosen)
    if release is not None:
        raise ConfigError(
            f"{folder} holds {_KINDS[record.kind]}, of one release.",
            why="A release is named of a survey.",
            fix=f"write  {folder}",
        )
    return read_training(name, analysis)


def _split(name: str) -> tuple[str, str | None]:
    """Part a folder from the release behind an @, unless the whole is something that exists."""
    folder, mark, release = name.rpartition("@")
    try:
        is_path = not mark or not folder or Path(name).exists()
    except (OSError, ValueError):
        is_path = True  # the error comes where it is read
    return (name, None) if is_path else (folder, release)


def _release(name: str, folder: str, release: str | None, known: tuple[str, ...]) -> str:
    if release is not None and release not in known:
        raise ConfigError(
            f"{folder} holds no release {release!r} of transformers.",
            why=f"It was made with {', '.join(known) or 'none'}.",
            fix=f"write  {folder}@{known[-1]}" if known else "name another survey",
        )
    if release is not None:
        return release
    if len(known) != 1:
        raise ConfigError(
            f"{name} holds {len(known)} releases of transformers.",
            why="One release is compared with one other.",
            fix=f"write  {' or '.join(f'{folder}@{each}' for each in known)}" if known else "name another survey",
        )
    return known[0]


def _check_begun(folder: str, record: SurveyRecord) -> None:
    if any(item.name == EVERYTHING for item in record.items):
        raise ConfigError(
            f"The survey in {folder} has not come to transformers {record.items[0].transformers} yet.",
            why="Which classes that release has is not known before.",
            fix=f"go on with it:  gacheck survey --resume --out {folder}",
        )


def _check_kinds(a: Side, b: Side) -> None:
    if a.kind != b.kind:
        raise ConfigError(
            f"{a.name} is {_KINDS[a.kind]} and {b.name} is {_KINDS[b.kind]}.",
            why="They measure in different ways, so their figures cannot be compared.",
            fix="name two records of one kind",
        )
    if not a.subjects.keys() & b.subjects.keys():
        raise ConfigError(
            f"{a.name} and {b.name} have no class in common.",
            why="Classes are compared by their names.",
            fix="name two surveys of the same classes",
        )


def _check_alike(a: Side, b: Side) -> None:
    apart = keeps_apart(a, b)
    if not apart:
        return
    subject, differences = apart[0]
    of = f" of {subject.name}" if a.kind == "survey" else ""
    raise ConfigError(
        f"The trainings{of} differ in more than what is compared: {differences}.",
        why="That alone changes codes and ratios, so a difference between them would say nothing.",
        fix="measure one of them again with the options of the other",
    )
