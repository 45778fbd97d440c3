"""`gacheck attach`: put in front of a training command, it says whether that training normalises its loss rightly."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path

import typer

from gacheck.attached.child import run_watched
from gacheck.attached.keeper import Keeper, SavedTraining
from gacheck.commands.folders import check_free, make_folder, new_folder
from gacheck.commands.output import exit_code, show_error, view_of, write_err
from gacheck.errors import NothingSeenError
from gacheck.record.command import attach_command
from gacheck.record.journal import RECORD_NAME
from gacheck.reporters.terminal import render_headline, render_terminal, render_verdict
from gacheck.rules.table import SEVERITY_RANK
from gacheck.scratch import scratch_folder
from gacheck.words.analysis import Analysis, analyse

# Some faults begin with the second.
STEPS = 2


class FailOn(StrEnum):
    """From which verdict on the exit code is 1."""

    FAIL = "fail"
    WARN = "warn"


def attach(
    command: list[str] = typer.Argument(..., metavar="COMMAND", help="the training command, with its arguments"),
    steps: int = typer.Option(STEPS, "--steps", min=1, help="optimizer steps to observe, from the first on"),
    stop_after_check: bool = typer.Option(
        False, "--stop-after-check", help="end the training once they are observed, before anything is saved"
    ),
    fail_on: FailOn | None = typer.Option(
        None, "--fail-on", help="exit 1 if the verdict fails, or warns; 3 if nothing could be judged"
    ),
    out: Path | None = typer.Option(None, "--out", metavar="PATH", help=f"folder for {RECORD_NAME}"),
    force: bool = typer.Option(False, "--force", help="replace the record in the folder"),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="print the table also where all is well"),
    quiet: bool = typer.Option(False, "--quiet", help="print the verdict alone"),
) -> None:
    """Run a training command and check the first optimizer steps of its Trainer, without changing them.

    Example: gacheck attach -- python train.py

    Write -- before the command. The verdict goes to stderr when the command has ended; the record is there as soon as
    the steps are observed.
    Exit codes: those of the command · 3 no Trainer was seen · with --fail-on: 1 the verdict fails, 3 inconclusive,
    else the command's.
    """
    if out is not None:
        check_free(out, force=force)
        make_folder(out)
    with scratch_folder() as facts:
        keeper = Keeper(facts, attach_command(command, steps, STEPS), partial(_new_folder, out))
        try:
            meanwhile = keeper.keep if quiet else partial(_keep_and_announce, keeper, set())
            code = run_watched(command, facts, steps=steps, stop=stop_after_check, meanwhile=meanwhile)
        finally:
            _leave_no_empty_folder(out, keeper)
        for saved in keeper.all:
            _show(saved, quiet=quiet, verbose=verbose)
        if keeper.num_alike:
            write_err(f"gacheck: not watched: {keeper.num_alike} more, like one above in all that bears on the loss\n")
        judged = [analyse(saved.record) for saved in keeper.all if saved.record.num_steps]
        if keeper.error is not None:
            show_error(keeper.error)
        if keeper.speaks_elsewhere:
            write_err("gacheck: rank 0 of this training runs on another machine; the verdict stands there.\n")
            raise typer.Exit(code)
        if not keeper.all:
            show_error(keeper.nothing_seen())
        elif stop_after_check:
            write_err("gacheck: the training was ended after the check; nothing of it was saved.\n")
    raise typer.Exit(_exit_code(judged, fail_on, code))


def _exit_code(judged: Sequence[Analysis], fail_on: FailOn | None, code: int) -> int:
    if not judged:
        return code or NothingSeenError.exit_code
    if fail_on is None:
        return code
    gravest = max((analysis.verdict.severity for analysis in judged), key=SEVERITY_RANK.__getitem__)
    return exit_code(gravest, strict=fail_on is FailOn.WARN) or code


def _keep_and_announce(keeper: Keeper, announced: set[int]) -> None:
    """Say in one line, while the training goes on, what its first steps have shown; of each training once."""
    keeper.keep()
    for number, saved in enumerate(keeper.all):
        if saved.record.num_steps >= saved.record.num_observed_steps and number not in announced:
            announced.add(number)
            line = render_headline(analyse(saved.record), view_of(sys.stderr))
            details = (
                "" if saved.folder is None else f"; details: {shlex.join(['gacheck', 'report', str(saved.folder)])}"
            )
            write_err(f"gacheck: {line}{details}\n")


def _show(saved: SavedTraining, *, quiet: bool, verbose: bool) -> None:
    place = None if saved.folder is None else f"{saved.folder}/   {RECORD_NAME}"
    render = render_verdict if quiet else render_terminal
    write_err("\n" + render(analyse(saved.record), view_of(sys.stderr, saved=place, verbose=verbose)))


def _new_folder(out: Path | None, model: str, number: int) -> Path:
    """Make the folder of the record of a command's training; numbered from the second on."""
    if out is None:
        return make_folder(new_folder(model))
    return make_folder(out if number == 1 else out.with_name(f"{out.name}-{number}"))


def _leave_no_empty_folder(out: Path | None, keeper: Keeper) -> None:
    if out is not None and not keeper.all:
        with suppress(OSError):
            out.rmdir()
