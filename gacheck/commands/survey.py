"""`gacheck survey`: every class that the installed transformers has, each judged by itself."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path

import typer

from gacheck.commands.folders import check_free, holds_record, make_folder, new_folder, only_writer
from gacheck.commands.measuring import check_packages
from gacheck.commands.output import require_stdout, view_of, write_err, write_out
from gacheck.commands.survey_progress import SurveyProgress
from gacheck.commands.surveying import ABSENT_OK, Asked, items_here, judge_elsewhere, judge_here
from gacheck.errors import ConfigError
from gacheck.record.environment import installed_version, read_environment
from gacheck.record.journal import RECORD_NAME, check_as_written, load_survey, save_record
from gacheck.record.redacting import redacted
from gacheck.record.survey import SurveyRecord, everything_of
from gacheck.releases.index import resolve
from gacheck.reporters.command import shell_line
from gacheck.reporters.reporter import View
from gacheck.words.survey import read_survey


def survey(
    names: list[str] | None = typer.Argument(
        None, metavar="[NAMES]...", help="types, classes, or patterns such as 'Qwen*' (default: every language model)"
    ),
    task: str | None = typer.Option(None, "--task", metavar="TASK", help="judge the classes of this task instead"),
    every_head: bool = typer.Option(False, "--all", help="judge every class that takes labels"),
    transformers: str | None = typer.Option(
        None, "--transformers", metavar="LIST", help="under these releases, such as 4.57.6,newest (default: installed)"
    ),
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
    absent_ok: bool = typer.Option(
        False, ABSENT_OK, hidden=True, help="what no type or class is called is a row: another release may have it"
    ),
) -> None:
    """Judge every class of the installed transformers by a tiny stand-in of it: which are affected?

    Every class is trained for two optimizer steps at k = 4, with the flag on and off, in a process of its own. One that
    hangs, dies or cannot be built is a row with its reason. Other releases are installed where they are missing:
    gacheck releases.

    Example: gacheck survey 'Qwen*' mixtral

    Exit codes: 0 complete, whatever the verdicts · 2 usage or input · 4 could not run · 130 interrupted.
    """
    require_stdout()
    check_packages()
    folder = out or new_folder("survey")
    earlier = _earlier(folder, resume=resume, force=force)
    asked = Asked(
        tuple(names or ()), task, every_head, jobs or os.cpu_count() or 1, time_limit, memory_limit, absent_ok=absent_ok
    )
    releases = _releases(transformers)
    with SurveyProgress(quiet=quiet) as progress:
        record = _plan(releases, asked, progress)
        if earlier is not None:
            _check_same(earlier, record)
            record = earlier
        make_folder(folder)
        try:
            with only_writer(folder):
                record = _judge(record, folder, asked, progress, quiet=quiet)
        except KeyboardInterrupt:
            progress.stage("")
            write_err(f"Interrupted. What was judged is kept; go on with:\n  {_resume_command(folder)}\n")
            raise
    stream = sys.stderr if json_output else sys.stdout
    _show(record, view_of(stream, saved=f"{folder}/   {RECORD_NAME}", verbose=verbose), as_json=json_output)


def _earlier(folder: Path, *, resume: bool, force: bool) -> SurveyRecord | None:
    """Return what an earlier survey left in a folder, if it is to be gone on with.

    Raises:
        ConfigError: There is something, and no option says what to do with it.
        RecordError: It is not as it was written.
    """
    if resume and holds_record(folder):
        earlier = load_survey(folder)
        check_as_written(earlier, folder)
        return earlier
    if not resume:
        check_free(folder, force=force)
    return None


def _releases(asked: str | None) -> list[str]:
    """Return the releases that are asked for, each once.

    Raises:
        GacheckError: One is none, or the newest is not known.
    """
    words = [word for word in (asked or "").split(",") if word.strip()]
    here = installed_version("transformers") or ""
    return list(dict.fromkeys(map(resolve, words))) or [here]


def _plan(releases: list[str], asked: Asked, progress: SurveyProgress) -> SurveyRecord:
    """Return a record without rows; what another release has is known once it is asked."""
    here = installed_version("transformers")
    items = {release: [everything_of(release)] for release in releases}
    if here in releases:
        progress.stage("loading torch and transformers")
        items[here] = items_here(asked)
    return SurveyRecord(
        created_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=redacted(("gacheck", *sys.argv[1:])),
        environment=read_environment(),
        time_limit_seconds=asked.time_limit,
        memory_limit_bytes=asked.memory_bytes,
        items=tuple(item for release in releases for item in items[release]),
    )


def _check_same(earlier: SurveyRecord, now: SurveyRecord) -> None:
    """Refuse to go on with a survey of something else.

    Raises:
        ConfigError: Versions, releases or classes differ.
    """
    here = installed_version("transformers") or ""
    if earlier.environment != now.environment:
        what = "was made with other versions, or on another machine"
    elif earlier.releases != now.releases:
        what = f"is of transformers {', '.join(earlier.releases)}"
    elif earlier.of(here).items != now.of(here).items:
        what = "is of other classes"
    else:
        return
    raise ConfigError(
        f"The earlier survey cannot be resumed: it {what}.",
        why="Its rows and the new ones could not be compared.",
        fix="repeat the earlier command, or start anew with another --out or with --force",
    )


def _judge(record: SurveyRecord, folder: Path, asked: Asked, progress: SurveyProgress, *, quiet: bool) -> SurveyRecord:
    """Judge what is missing, release by release; here it is saved after every row, elsewhere by who judges."""
    here = installed_version("transformers")
    save_record(record, folder)
    for release in record.releases:
        part, save = record.of(release), partial(_save_part, record, release, folder)
        if part.complete:
            continue
        if release == here:
            judge_here(part, asked, progress, save)
        else:
            save(judge_elsewhere(release, asked, folder / f"transformers-{release}", quiet=quiet))
        record = load_survey(folder)
    return record


def _save_part(record: SurveyRecord, release: str, folder: Path, part: SurveyRecord) -> None:
    save_record(record.with_part(release, part), folder)


def _resume_command(folder: Path) -> str:
    again = [word for word in sys.argv[1:] if word not in ("--resume", "--force")]
    out = [] if any(word.partition("=")[0] == "--out" for word in again) else ["--out", str(folder)]
    return shell_line(["gacheck", *again, *out, "--resume"])


def _show(record: SurveyRecord, view: View, *, as_json: bool) -> None:
    from gacheck.reporters import reporters

    analysis = read_survey(record)
    text = reporters(record.kind)["terminal"].render(analysis, view)
    if as_json:
        write_err(text.decode())
        write_out(reporters(record.kind)["json"].render(analysis, view))
    else:
        write_out(text)
