"""`gacheck survey`: every class that the installed transformers has, each judged by itself."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gacheck.commands.folders import check_free, holds_record, make_folder, new_folder
from gacheck.commands.measuring import check_packages, loading
from gacheck.commands.output import require_stdout, view_of, write_err, write_out
from gacheck.commands.survey_progress import SurveyProgress
from gacheck.errors import ConfigError
from gacheck.record.environment import read_environment
from gacheck.record.journal import RECORD_NAME, load_survey, save_record
from gacheck.record.survey import SurveyItem, SurveyRecord
from gacheck.reporters.command import shell_line
from gacheck.reporters.reporter import View
from gacheck.words.survey import judge_row, read_survey

if TYPE_CHECKING:
    from gacheck.measure.survey.pool import Limits

GIB = 1 << 30


def survey(
    names: list[str] | None = typer.Argument(
        None, metavar="[NAMES]...", help="types, classes, or patterns such as 'Qwen*' (default: every language model)"
    ),
    task: str | None = typer.Option(None, "--task", metavar="TASK", help="judge the classes of this task instead"),
    every_head: bool = typer.Option(False, "--all", help="judge every class that takes labels"),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", metavar="N", min=1, help="classes judged beside each other (default: one a core)"
    ),
    time_limit: float = typer.Option(120.0, "--time-limit", metavar="SECONDS", min=1, help="of one class"),
    memory_limit: float = typer.Option(4.0, "--memory-limit", metavar="GIB", min=0.1, help="of one class"),
    out: Path | None = typer.Option(None, "--out", metavar="PATH", help="folder of the record"),
    resume: bool = typer.Option(False, "--resume", help="go on with the survey in --out: judge what it has not yet"),
    force: bool = typer.Option(False, "--force", help="replace the record in --out"),
    json_output: bool = typer.Option(False, "--json", help="print the rows as JSON on stdout, the rest on stderr"),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="print no progress"),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="print every class"),
) -> None:
    """Judge every class of the installed transformers by a tiny stand-in of it: which are affected?

    Every class is trained for two optimizer steps at k = 4, with the flag on and off, in a process of its own. One that
    hangs, dies or cannot be built is a row with its reason.

    Example: gacheck survey 'Qwen*' mixtral

    Exit codes: 0 complete, whatever the verdicts · 2 usage or input · 4 could not run · 130 interrupted.
    """
    require_stdout()
    check_packages()
    folder = out or new_folder("survey")
    earlier = _earlier(folder, resume=resume, force=force)
    with SurveyProgress(quiet=quiet) as progress:
        progress.stage("loading torch and transformers")
        with loading():
            from gacheck.measure.survey.catalogue import find_items
            from gacheck.measure.survey.pool import Limits, load_ahead

        load_ahead()
        limits = Limits(time_limit, int(memory_limit * GIB), jobs or os.cpu_count() or 1)
        record = _begin(find_items(names or (), task, every_head=every_head), limits)
        if earlier is not None:
            _check_same(earlier, record)
            record = earlier
        make_folder(folder)
        record = _judge(record, limits, folder, progress)
    stream = sys.stderr if json_output else sys.stdout
    _show(record, view_of(stream, saved=f"{folder}/   {RECORD_NAME}", verbose=verbose), as_json=json_output)


def _earlier(folder: Path, *, resume: bool, force: bool) -> SurveyRecord | None:
    """Return what an earlier survey left in a folder, if it is to be gone on with.

    Raises:
        ConfigError: There is something, and no option says what to do with it.
    """
    if resume and holds_record(folder):
        return load_survey(folder)
    if not resume:
        check_free(folder, force=force)
    return None


def _begin(items: list[SurveyItem], limits: Limits) -> SurveyRecord:
    return SurveyRecord(
        created_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=("gacheck", *sys.argv[1:]),
        environment=read_environment(),
        time_limit_seconds=limits.seconds,
        memory_limit_bytes=limits.memory,
        items=tuple(items),
    )


def _check_same(earlier: SurveyRecord, now: SurveyRecord) -> None:
    """Refuse to go on with a survey of something else.

    Raises:
        ConfigError: Versions or classes differ.
    """
    if earlier.environment != now.environment:
        what = "was made with other versions, or on another machine"
    elif earlier.items != now.items:
        what = "is of other classes"
    else:
        return
    raise ConfigError(
        f"The earlier survey cannot be resumed: it {what}.",
        why="Its rows and the new ones could not be compared.",
        fix="repeat the earlier command, or start anew with another --out or with --force",
    )


def _judge(record: SurveyRecord, limits: Limits, folder: Path, progress: SurveyProgress) -> SurveyRecord:
    """Judge what is missing and save after every row."""
    from gacheck.measure.survey.pool import judge_all

    save_record(record, folder)
    progress.items(len(record.missing), already=len(record.rows))
    try:
        for row in judge_all(record.missing, limits, progress.started):
            record = record.model_copy(update={"rows": (*record.rows, row)})
            save_record(record, folder)
            progress.done(judge_row(row))
    except KeyboardInterrupt:
        progress.stage("")
        again = [word for word in sys.argv[1:] if word not in ("--resume", "--force")]
        out = () if "--out" in again else ("--out", str(folder))
        write_err(
            f"Interrupted. What was judged is kept; go on with:\n  {shell_line(['gacheck', *again, *out])} --resume\n"
        )
        raise
    return record


def _show(record: SurveyRecord, view: View, *, as_json: bool) -> None:
    from gacheck.reporters import reporters

    analysis = read_survey(record)
    text = reporters(record.kind)["terminal"].render(analysis, view)
    if as_json:
        write_err(text.decode())
        write_out(reporters(record.kind)["json"].render(analysis, view))
    else:
        write_out(text)
