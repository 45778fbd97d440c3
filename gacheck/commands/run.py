"""`gacheck run`: measure, save, judge, show."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gacheck.commands.folders import (
    PICTURE_NAME,
    RUNS,
    holds_record,
    make_folder,
    new_folder,
    only_writer,
    remove_lock,
)
from gacheck.commands.measuring import check_model_name, check_packages, loading, one_model
from gacheck.commands.options import options_of
from gacheck.commands.output import exit_code, give_up, require_stdout, view_of, write_bytes, write_err, write_out
from gacheck.commands.picture import matplotlib_needed
from gacheck.commands.progress import RunProgress
from gacheck.commands.ranks import is_first, num_started
from gacheck.config import RunConfig, load_config
from gacheck.errors import ConfigError, GacheckError, ResourceError
from gacheck.record.command import run_command
from gacheck.record.environment import read_environment
from gacheck.record.journal import RECORD_NAME, check_as_written, load_run, save_record
from gacheck.record.redacting import redacted
from gacheck.record.run import RunRecord
from gacheck.reporters.command import shell_line
from gacheck.words.analysis import Analysis, analyse
from gacheck.words.reasons import is_of_memory

if TYPE_CHECKING:
    from gacheck.measure.experiment import Experiment


@options_of(RunConfig.model_fields)
def run(
    named: str | None = typer.Argument(None, metavar="MODEL", help="the model, as --model names it"),
    config: Path | None = typer.Option(None, "--config", metavar="FILE", help="YAML file with any of these options"),
    **flags: Any,
) -> None:
    """Train briefly at every k, with the flag on and off, and say whether the loss is right.

    Example: gacheck run --model ./my-model --dataset corpus.jsonl -k 1,8

    Exit codes: 0 fine (a warning too, unless --strict) · 1 the verdict fails · 2 usage or input ·
    3 inconclusive · 4 could not run · 130 interrupted.
    """
    flags["model"] = one_model(named, flags["model"], "run")
    if num_started() > 1:
        flags["processes"] = flags["processes"] or num_started()
    settings = load_config(config, flags)
    require_stdout()
    check_model_name(settings)
    check_packages()
    if settings.processes > num_started():
        raise typer.Exit(_start_all(settings))
    if not is_first():
        _measure(settings, None, None)
        raise typer.Exit
    folder = _open_folder(settings)
    try:
        with only_writer(folder):
            earlier = _earlier(settings, folder)
            record = _measure(settings, folder, earlier)
            analysis = analyse(record)
            _show(analysis, settings, folder)
    except BaseException:
        with suppress(OSError):
            folder.rmdir()  # only an empty folder goes: a run that never began leaves nothing behind
            if settings.out is None:
                RUNS.rmdir()
        raise
    raise typer.Exit(exit_code(analysis.verdict.severity, strict=settings.strict, exit_zero=settings.exit_zero))


def _open_folder(settings: RunConfig) -> Path:
    """Make the run's folder.

    Raises:
        ConfigError: It cannot be written, or holds what no option allows to be overwritten.
    """
    folder = settings.out or new_folder(settings.model)
    if holds_record(folder) and not settings.resume and not settings.force:
        raise ConfigError(
            f"{folder} holds a record already.",
            why="It would be overwritten.",
            fix="choose another --out, or add --resume to go on with it, or --force to replace it",
        )
    make_folder(folder)
    if (folder / PICTURE_NAME).exists() and not holds_record(folder) and not settings.force:
        raise ConfigError(
            f"{folder / PICTURE_NAME} is there already, without a record beside it.",
            why="It may be something else, and would be overwritten.",
            fix="choose another --out, or add --force to replace it",
        )
    return folder


def _earlier(settings: RunConfig, folder: Path) -> RunRecord | None:
    """Return what an earlier run left in the folder, if it is to be resumed.

    Raises:
        ConfigError: It is of something else.
        RecordError: It cannot be read, or is not as it was written.
    """
    if not settings.resume or not holds_record(folder):
        return None
    earlier = load_run(folder)
    check_as_written(earlier, folder)
    from gacheck.measure.resuming import check_same_experiment

    # What can be told without loading anything.
    check_same_experiment(earlier, {"config": redacted(settings.experiment()), "environment": read_environment()})
    return earlier


def _start_all(settings: RunConfig) -> int:
    with loading():
        from gacheck.measure.launching import launch
    return launch(sys.argv[1:], settings.processes)


def _measure(settings: RunConfig, folder: Path | None, earlier: RunRecord | None) -> RunRecord:
    """Do what is missing; without a folder, in a process that is not the first, in silence."""
    with (
        RunProgress(quiet=settings.quiet or folder is None) as progress,
        _session(settings, folder, progress) as session,
    ):
        record = _begun(settings, session, earlier, progress)
        oracle = record.oracle
        progress.passes(len(record.missing), settings.max_steps)
        from gacheck.measure.experiment import run_passes

        try:
            return run_passes(
                record,
                lambda spec: progress.watch(spec, lambda: session.run_pass(spec, oracle, progress.advance)),
                lambda saved: save_record(saved, folder) if folder is not None else None,
            )
        except KeyboardInterrupt:
            if folder is None:
                raise
            progress.stage("")
            write_err(f"Interrupted. What was measured is kept; go on with:\n  {_resume_command(settings, folder)}\n")
            raise


def _give_up(progress: RunProgress, settings: RunConfig, folder: Path | None, error: GacheckError) -> None:
    """End the process, which hangs, with an error; where something is kept, with the command that goes on."""
    progress.close()
    if folder is not None:
        remove_lock(folder)
    if folder is not None and holds_record(folder):
        error = type(error)(error.what, why=error.why, fix=f"{error.fix}:  {_resume_command(settings, folder)}")
    give_up(error)


@contextmanager
def _session(settings: RunConfig, folder: Path | None, progress: RunProgress) -> Iterator[Experiment]:
    """Load the model: here, or in a child that may die of it."""
    progress.stage("loading torch and transformers")
    if settings.processes > 1:
        # DDP's C++ code advises on the Trainer's own arguments.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with loading():
        from gacheck.measure.isolation.session import IsolatedSession
        from gacheck.measure.session import Session, quiet_libraries

    quiet_libraries()
    progress.stage(f"loading {settings.model}")
    config = settings.experiment()
    if settings.isolate:
        with IsolatedSession(config, memory_gib=settings.memory_limit, seconds=settings.pass_timeout) as isolated:
            yield isolated
    else:
        give_up_by = partial(_give_up, progress, settings, folder)
        yield Session(config, give_up=give_up_by, pass_timeout=settings.pass_timeout)


def _begun(settings: RunConfig, session: Experiment, earlier: RunRecord | None, progress: RunProgress) -> RunRecord:
    """Return the record to go on with: the earlier one if it is of the same, or a new one without passes.

    Raises:
        ConfigError: The earlier one is of something else.
    """
    from gacheck.measure.experiment import begin_record
    from gacheck.measure.resuming import check_same_experiment

    fingerprints = session.fingerprints()
    if earlier is not None:
        parts = {"data": redacted(session.data), "model": redacted(session.model), "hardware": session.hardware}
        check_same_experiment(earlier, {**parts, "fingerprints": fingerprints})
    record = earlier
    if record is None or settings.processes > 1:  # the others cannot know, and ask for what all compute together
        progress.stage("computing the right answer")
        record = begin_record(settings.experiment(), session).model_copy(update={"fingerprints": fingerprints})
    return session.agree(earlier or record)


def _resume_command(settings: RunConfig, folder: Path) -> str:
    """Return the command that goes on: with all that was asked of the result, for it is the same person's."""
    same = settings.model_copy(update={"out": folder, "force": False, "resume": False})
    return shell_line([*run_command(same), "--resume"])


def _show(analysis: Analysis, settings: RunConfig, folder: Path) -> None:
    text = _text(analysis, settings, folder)
    if settings.json_output:
        from gacheck.reporters.json_report import render_json

        write_err(text)
        write_out(render_json(analysis).encode())
    else:
        write_out(text)
    without = f"{folder / RECORD_NAME} is saved, and the verdict stands there."
    later = shell_line(["gacheck", "report", str(folder), "--format", "png", "-o", str(folder / PICTURE_NAME)])
    with matplotlib_needed(without=without, later=later):
        from gacheck.reporters.picture import render_picture

        write_bytes(folder / PICTURE_NAME, render_picture(analysis))
    if analysis.passes and all(is_of_memory(p.error or "") for p in analysis.passes):
        raise ResourceError(
            "Every pass ran out of memory.",
            why="Nothing could be measured.",
            fix="lower --effective-batch-size or --max-length, or choose --dtype bfloat16 or another --device",
        )


def _text(analysis: Analysis, settings: RunConfig, folder: Path) -> str:
    from gacheck.reporters.terminal import render_terminal, render_verdict

    stream = sys.stderr if settings.json_output else sys.stdout
    if settings.quiet:
        return render_verdict(analysis, view_of(stream))
    saved = f"{folder}/   {RECORD_NAME}  {PICTURE_NAME}"
    return render_terminal(analysis, view_of(stream, saved=saved, verbose=settings.verbose))
