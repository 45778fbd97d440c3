"""`gacheck smoke`: the check for CI. One pass; a second one only where the first is not fine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import typer

from gacheck.commands.measuring import check_model_name, check_packages, loading, one_model
from gacheck.commands.options import options_of
from gacheck.commands.output import exit_code, require_stdout, view_of, write_out
from gacheck.config import ExperimentConfig, RunConfig, load_config
from gacheck.errors import ResourceError
from gacheck.record.command import NOT_OF_SMOKE, SMOKE, smoke_command
from gacheck.record.run import RunRecord
from gacheck.words.analysis import Analysis, analyse

LEFT_OUT = NOT_OF_SMOKE | {"out", "force", "resume", "quiet", "verbose", "pass_timeout"}


@options_of(name for name in RunConfig.model_fields if name not in LEFT_OUT)
def smoke(
    named: str | None = typer.Argument(None, metavar="MODEL", help="the model, as --model names it"),
    config: Path | None = typer.Option(None, "--config", metavar="FILE", help="YAML file with any of these options"),
    **flags: Any,
) -> None:
    """Check two optimizer steps at k = 4, as the Trainer sets itself up; one line when fine, four when not.

    Example: gacheck smoke --model ./my-model --strict

    The default model tests the installed transformers, not your model: name yours with --model.
    Exit codes as of gacheck run. Nothing is written.
    """
    flags["model"] = one_model(named, flags["model"], "smoke")
    settings = load_config(config, {**flags, **SMOKE})
    require_stdout()
    check_model_name(settings)
    check_packages()
    analysis = analyse(_measure(settings.experiment()))
    _show(analysis, as_json=settings.json_output)
    raise typer.Exit(exit_code(analysis.verdict.severity, strict=settings.strict, exit_zero=settings.exit_zero))


def _measure(config: ExperimentConfig) -> RunRecord:
    with loading():
        from gacheck.measure.experiment import measure_auto
        from gacheck.measure.session import Session, quiet_libraries

    quiet_libraries()
    return measure_auto(config, Session(config), smoke_command(config))


def _show(analysis: Analysis, *, as_json: bool) -> None:
    from gacheck.reporters.github import render_annotation
    from gacheck.reporters.json_report import render_json
    from gacheck.reporters.markdown import render_markdown
    from gacheck.reporters.smoke import render_smoke

    if as_json:
        write_out(render_json(analysis).encode())
        return
    write_out(render_smoke(analysis, view_of(sys.stdout)))
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if not analysis.ok:
        write_out(render_annotation(analysis))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return
    try:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(render_markdown(analysis))
    except OSError as error:
        raise ResourceError(
            f"The step summary {summary} could not be written: {error.strerror}.",
            why="GITHUB_STEP_SUMMARY names it; the job's page shows what stands there.",
            fix="unset GITHUB_STEP_SUMMARY, or let it name a file that can be written",
        ) from error
