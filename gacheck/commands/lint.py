"""`gacheck lint`: whether the count reaches the loss, read from the source; nothing is trained, nothing imported."""

from __future__ import annotations

import sys

import typer

from gacheck.commands.output import require_stdout, view_of, write_out


def lint(
    names: list[str] | None = typer.Argument(
        None,
        metavar="[NAMES]...",
        help="classes, types, patterns such as 'Qwen*', my_modeling.py or my_modeling.py:MyModel "
        "(default: every class that takes labels)",
    ),
    json_output: bool = typer.Option(False, "--json", help="print JSON, with every line of code on the way"),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="list every class"),
) -> None:
    """Read whether num_items_in_batch reaches the loss, with file and line; runs nothing, and needs no torch.

    It reads the installed transformers, or a file of your own. A measurement is surer: gacheck survey, gacheck run.

    Example: gacheck lint gemma3 my_modeling.py:MyModel

    Exit codes: 0 read, whatever was found · 2 usage or input.
    """
    from gacheck.lint.lint import lint as read

    require_stdout()
    report = read(names or ())
    if json_output:
        from gacheck.reporters.lint_json import render_lint_json

        write_out(render_lint_json(report))
    else:
        from gacheck.reporters.lint_terminal import render_lint

        write_out(render_lint(report, view_of(sys.stdout, verbose=verbose)))
