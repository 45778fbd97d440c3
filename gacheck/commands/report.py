"""`gacheck report`: read a record anew and show it, in any format. Needs neither torch nor transformers."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

import typer

from gacheck.commands.folders import PICTURE_NAME, RUNS
from gacheck.commands.output import exit_code, view_of, write_bytes, write_out
from gacheck.commands.picture import matplotlib_needed
from gacheck.commands.records import find_record, say_if_edited
from gacheck.errors import ConfigError, RecordError
from gacheck.record.journal import RECORD_NAME, load_record
from gacheck.record.kinds import AnyRecord
from gacheck.reporters import all_reporters, reporters
from gacheck.reporters.reporter import Reporter
from gacheck.words.analysis import Analysis
from gacheck.words.reading import read_record

STDOUT = Path("-")


Format = StrEnum("Format", {each.name.upper(): each.name for each in all_reporters()})  # type: ignore[misc]
"""What a record can be rendered as."""
_TERMINAL = Format("terminal")


def report(
    run: Path | None = typer.Argument(
        None, metavar="RUN", help=f"a run's folder or its {RECORD_NAME} (default: the newest under {RUNS}/)"
    ),
    format: Format | None = typer.Option(
        None, "--format", help="what to make of it (default: what FILE ends with; else terminal)"
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", metavar="FILE", help="write there; - is stdout (default: -)"
    ),
    force: bool = typer.Option(False, "--force", help="replace FILE"),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="print the table also where all is well"),
    verdict_code: bool = typer.Option(False, "--exit-code", help="exit as gacheck run does: 1 if the verdict fails"),
    strict: bool = typer.Option(False, "--strict", help="with --exit-code: a warning fails too"),
) -> None:
    """Show an earlier run again: as text, an HTML page, JSON, Markdown for an issue, CSV, or a picture.

    Example: gacheck report --format markdown

    Exit codes: 0 rendered, whatever the verdict, unless --exit-code · 1 the verdict fails ·
    2 usage or a record that cannot be read · 3 inconclusive · 4 could not write · 130 interrupted.
    """
    path = find_record(run)
    format = format or _format_of(output)
    _check_options(format, output, path, force=force, verdict_code=verdict_code, strict=strict)
    record, to_stdout = load_record(path), output is None or output == STDOUT
    reporter = _reporter(record, format)
    try:
        analysis = read_record(record)
        view = view_of(sys.stdout if to_stdout else None, saved=_saved(path), verbose=verbose)
        with matplotlib_needed(without="The other formats do without it.", later="the same command again"):
            content = reporter.render(analysis, view)
    except (ArithmeticError, LookupError, ValueError) as error:
        raise RecordError(
            f"{path} makes no sense: {type(error).__name__}: {error}.",
            why="Its facts contradict each other or are out of all bounds, as after an edit by hand.",
            fix="name another run; if nobody edited it, gacheck is at fault: report it with this file",
        ) from error
    if output is None or output == STDOUT:
        write_out(content)
    else:
        write_bytes(output, content)
    say_if_edited(path, record)
    if not isinstance(analysis, Analysis):
        raise typer.Exit
    raise typer.Exit(exit_code(analysis.verdict.severity, strict=strict, exit_zero=not verdict_code))


def _reporter(record: AnyRecord, format: Format) -> Reporter:
    """Return what shows a kind of record in a format.

    Raises:
        ConfigError: Nothing does.
    """
    known = reporters(record.kind)
    if format not in known:
        raise ConfigError(
            f"There is no {format} of a {record.kind}.",
            why="Not every kind of record can be shown in every format.",
            fix=f"choose one of  --format {'|'.join(known)}",
        )
    return known[format]


def _format_of(output: Path | None) -> Format:
    """Return the format that a file's ending names; text for a terminal where it names none."""
    suffixes = {reporter.suffix: Format(reporter.name) for reporter in all_reporters()}
    return suffixes.get(output.suffix.lower(), _TERMINAL) if output is not None else _TERMINAL


def _check_options(
    format: Format, output: Path | None, record: Path, *, force: bool, verdict_code: bool, strict: bool
) -> None:
    """Refuse what would destroy something or do nothing, before any work.

    Raises:
        ConfigError: Options contradict each other, or FILE exists.
    """
    if strict and not verdict_code:
        raise ConfigError(
            "--strict needs --exit-code.", why="The exit code is 0 without it.", fix="add --exit-code, or drop --strict"
        )
    binary = any(each.binary for each in all_reporters() if each.name == format)
    if output is None and binary and sys.stdout is not None and sys.stdout.isatty():
        raise ConfigError(
            f"A {format.upper()} is no text: it is not printed to a terminal.",
            why="It would garble the terminal.",
            fix=f"add  -o {PICTURE_NAME}",
        )
    if output is not None and output != STDOUT:
        _check_file(output, record, force=force)


def _check_file(output: Path, record: Path, *, force: bool) -> None:
    try:
        is_folder, exists = output.is_dir(), output.is_file()
        is_record = exists and record.exists() and output.samefile(record)
    except OSError as error:
        raise ConfigError(
            f"{output} cannot be written: {error.strerror}.",
            why="The report would go there.",
            fix="choose another FILE",
        ) from None
    if is_folder or is_record:
        raise ConfigError(
            f"{output} is {'a folder' if is_folder else 'the record itself'}.",
            why="A report is one file." if is_folder else "The measurements would be lost.",
            fix="choose another FILE",
        )
    if exists and not force:
        raise ConfigError(
            f"{output} exists already.", why="It would be overwritten.", fix="choose another FILE, or add --force"
        )


def _saved(record: Path) -> str:
    picture = f"  {PICTURE_NAME}" if (record.parent / PICTURE_NAME).is_file() else ""
    return f"{record.parent}/   {record.name}{picture}"
