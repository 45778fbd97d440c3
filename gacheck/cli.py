"""The Typer app, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from typing import Any

import typer

from gacheck import __version__
from gacheck.commands.attach import attach
from gacheck.commands.env import env
from gacheck.commands.output import show_error
from gacheck.commands.report import report
from gacheck.commands.run import run
from gacheck.commands.selftest import selftest
from gacheck.commands.smoke import smoke
from gacheck.errors import GacheckError

INTERRUPTED = 130

app = typer.Typer(
    help="Does your loss change when you change gradient_accumulation_steps? It should not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gacheck {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


app.command()(run)
app.command()(report)
app.command()(smoke)
app.command()(selftest)
app.command(context_settings={"allow_interspersed_args": False})(attach)
app.command()(env)


def main(arguments: list[str] | None = None) -> Any:
    """Run the program; errors that a person is meant to read end without a traceback."""
    try:
        app(arguments)
    except GacheckError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
