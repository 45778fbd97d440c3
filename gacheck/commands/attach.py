"""`gacheck attach`: put in front of a training command, it says whether that training normalises its loss rightly."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import typer

from gacheck.attach.child import run_watched
from gacheck.attach.record import read_training, record_of
from gacheck.commands.folders import check_free, make_folder, new_folder
from gacheck.commands.output import Screen, exit_code, show_error, write_err
from gacheck.errors import GacheckError, NothingSeenError
from gacheck.record.journal import RECORD_NAME, save_record
from gacheck.record.run import RunRecord
from gacheck.reporters.terminal import render_quiet, render_terminal
from gacheck.rules.codes import SEVERITY_RANK
from gacheck.words.analysis import Analysis, analyse


class FailOn(StrEnum):
    """From which verdict on the exit code is 1."""

    FAIL = "fail"
    WARN = "warn"


def attach(
    command: list[str] = typer.Argument(..., metavar="COMMAND", help="the training command, with its arguments"),
    steps: int = typer.Option(2, "--steps", min=1, help="optimizer steps to observe, from the first on"),
    stop_after_check: bool = typer.Option(
        False, "--stop-after-check", help="end the training once they are observed, before anything is saved"
    ),
    fail_on: FailOn | None = typer.Option(
        None, "--fail-on", help="exit 1 if the verdict fails, or warns; 3 if nothing could be judged"
    ),
    out: Path | None = typer.Option(None, "--out", metavar="PATH", help=f"folder for {RECORD_NAME}"),
    force: bool = typer.Option(False, "--force", help="replace the record in the folder"),
    quiet: bool = typer.Option(False, "--quiet", help="print the verdict alone"),
) -> None:
    """Run a training command and check the first optimizer steps of its Trainer, without changing them.

    Write -- before the command. The verdict goes to stderr when the command has ended; the record is there as soon as
    the steps are observed.
    Exit codes: those of the command · 3 no Trainer was seen · with --fail-on: 1 the verdict fails, 3 inconclusive,
    else the command's.
    """
    if out is not None:
        check_free(out, force=force)
        make_folder(out)
    with tempfile.TemporaryDirectory(prefix="gacheck-attach-") as facts:
        keeper = _Keeper(Path(facts), tuple(sys.argv[1:]), out)
        try:
            code = run_watched(command, Path(facts), steps=steps, stop=stop_after_check, meanwhile=keeper.keep)
        finally:
            keeper.tidy()
        for kept in keeper.all:
            _show(kept, quiet=quiet)
        judged = [kept.analysis for kept in keeper.all if kept.record.num_steps]
        if keeper.error is not None:
            show_error(keeper.error)
        if keeper.speaks_elsewhere:
            write_err("gacheck: rank 0 of this training runs on another machine; the verdict stands there.\n")
            raise typer.Exit(code)
        if not judged:
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


@dataclass(frozen=True)
class _Kept:
    """What one training told; the folder is None where it could not be saved."""

    told_at: int
    record: RunRecord
    folder: Path | None

    @property
    def analysis(self) -> Analysis:
        return analyse(self.record)


def _show(kept: _Kept, *, quiet: bool) -> None:
    screen, render = Screen.of(sys.stderr), render_quiet if quiet else render_terminal
    saved = None if kept.folder is None else f"{kept.folder}/   {RECORD_NAME}"
    write_err("\n" + render(kept.analysis, saved=saved, width=screen.width, color=screen.color, ascii=screen.ascii))


class _Keeper:
    """Turns what the processes of a training leave into records, while it runs.

    Attributes:
        error: Why a record could not be saved; the training has gone on.
    """

    def __init__(self, facts: Path, command: tuple[str, ...], out: Path | None) -> None:
        self._facts = facts
        self._command = ("gacheck", *command)
        self._out = out
        self._kept: dict[Path, _Kept] = {}
        self.error: GacheckError | None = None

    @property
    def all(self) -> list[_Kept]:
        """What was kept, in the order in which the trainings began."""
        return list(self._kept.values())

    @property
    def speaks_elsewhere(self) -> bool:
        """Whether processes were watched here, and that of rank 0, which tells for all, was not among them."""
        return not self._kept and (self._facts / "rank").exists()

    def keep(self) -> None:
        """Save the records of what is new since the last time."""
        for path in sorted(self._facts.glob("training-*.json"), key=lambda found: found.stat().st_mtime_ns):
            told_at, before = path.stat().st_mtime_ns, self._kept.get(path)
            if before is not None and before.told_at == told_at:
                continue
            try:
                training = read_training(path.read_text(encoding="utf-8"))
                record = record_of(training, self._command)
            except GacheckError as error:
                self.error = error
                continue
            folder = self._save(record, before.folder if before else None)
            self._kept[path] = _Kept(told_at, record, folder)

    def _save(self, record: RunRecord, folder: Path | None) -> Path | None:
        try:
            folder = folder or self._new_folder(record.model.name)
            save_record(record, folder)
        except GacheckError as error:
            self.error = error
            return None
        return folder

    def _new_folder(self, model: str) -> Path:
        if self._out is None:
            return make_folder(new_folder(model))
        number = len(self._kept) + 1
        return make_folder(self._out if number == 1 else self._out.with_name(f"{self._out.name}-{number}"))

    def tidy(self) -> None:
        """Leave no empty folder behind."""
        if self._out is not None and not self._kept:
            with suppress(OSError):
                self._out.rmdir()

    def nothing_seen(self) -> NothingSeenError:
        """Say how far the watch came."""
        trouble = self._facts / "trouble"
        if trouble.exists():
            what = f"The watch failed in the training's process: {trouble.read_text(encoding='utf-8').strip()[:300]}."
            return NothingSeenError(
                what,
                why="The training itself went on as it would have.",
                fix="report it with the output of gacheck env",
            )
        if not (self._facts / "python").exists():
            return NothingSeenError(
                "No Python process of the command let gacheck in.",
                why="The watch comes by PYTHONPATH: python -I, -E and -S ignore it, and some launchers clear it.",
                fix="leave those options out, or call gacheck.attach(trainer) before trainer.train()",
            )
        if not (self._facts / "transformers").exists():
            return NothingSeenError(
                "No process of the command imported transformers.Trainer.",
                why="Only that Trainer and its subclasses are watched.",
                fix="check that the command trains, and with transformers' Trainer",
            )
        return NothingSeenError(
            "No Trainer came to the end of an optimizer step.",
            why="It was imported, and either not trained or ended too early.",
            fix="see what the command printed above",
        )
