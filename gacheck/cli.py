"""The Typer app, and the one place where whatever ends the program becomes an exit code.

Exit code 1 is a verdict's alone: a command returns it through `typer.Exit`, and nothing else here can.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer

from gacheck import __version__
from gacheck.commands import tracebacks
from gacheck.commands.help import LazyCommand, LazyGroup
from gacheck.commands.output import flush_out, show_error, write_out
from gacheck.commands.ranks import leave, let_the_first_speak
from gacheck.errors import (
    ConfigError,
    CrashError,
    EndedError,
    GacheckError,
    ResourceError,
    UsageError,
    UserCodeError,
    one_line,
)
from gacheck.frames import is_an_options, name_objects, place_of, raised_in_user_code
from gacheck.signals import Stopped, as_interrupts

INTERRUPTED = 130
# As a shell says it: this and the signal's number.
SIGNALLED = 128

# Of an exception's own message, which may quote a whole tensor.
MESSAGE = 500

COMMANDS = {
    "run": LazyCommand(
        "gacheck.commands.run:run",
        "Train briefly at every k, with the flag on and off, and say whether the loss is right.",
    ),
    "report": LazyCommand(
        "gacheck.commands.report:report",
        "Show an earlier run again: as text, an HTML page, JSON, Markdown for an issue, CSV, or a picture.",
    ),
    "smoke": LazyCommand(
        "gacheck.commands.smoke:smoke",
        "Check two optimizer steps at k = 4, as the Trainer sets itself up; one line when fine, four when not.",
    ),
    "survey": LazyCommand(
        "gacheck.commands.survey:survey",
        "Judge every class of the installed transformers by a tiny stand-in of it: which are affected?",
    ),
    "selftest": LazyCommand(
        "gacheck.commands.selftest:selftest",
        "Plant one fault at a time in a right model and Trainer, and check that the verdict names it.",
    ),
    "attach": LazyCommand(
        "gacheck.commands.attach:attach",
        "Run a training command and check the first optimizer steps of its Trainer, without changing them.",
        # What follows the command's name is the command's.
        {"allow_interspersed_args": False},
    ),
    "compare": LazyCommand(
        "gacheck.commands.compare:compare",
        "Compare two runs, two attached trainings or two surveys: is any verdict worse in B than in A?",
    ),
    "lint": LazyCommand(
        "gacheck.commands.lint:lint",
        "Read whether num_items_in_batch reaches the loss, with file and line; runs nothing, and needs no torch.",
    ),
    "explain": LazyCommand(
        "gacheck.commands.explain:explain",
        "Say what a verdict's code means: arithmetic, releases, fixes and the output of a case.",
    ),
    "bisect": LazyCommand(
        "gacheck.commands.bisect:bisect",
        "Find the release of transformers that broke a model, and the one that fixed it.",
    ),
    "releases": LazyCommand(
        "gacheck.commands.releases:releases",
        "List the other releases of transformers that are installed in the cache, or remove them.",
    ),
    "models": LazyCommand(
        "gacheck.commands.models:models",
        "List the types that tiny: takes: those of the installed transformers with a language model.",
    ),
    "schema": LazyCommand(
        "gacheck.commands.schema:schema",
        "Print the JSON Schema of record.json, of the analysis as JSON, or of a comparison.",
    ),
    "env": LazyCommand(
        "gacheck.commands.env:env",
        "Print versions and platform, for bug reports; imports none of the packages that it names.",
    ),
}


class _Program(LazyGroup):
    table = COMMANDS


app = typer.Typer(
    cls=_Program,
    help="Does your loss change when you change gradient_accumulation_steps? It should not.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        write_out(f"gacheck {__version__}\n")
        raise typer.Exit


@app.callback()
def _app(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    traceback: bool = tracebacks.option(),
) -> None:
    pass


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the program and exit; whatever goes wrong ends in words, without a traceback."""
    _fill_stderr()
    name_objects({})  # of a command before this one in the same process
    typed = sys.argv[1:] if arguments is None else arguments
    with tracebacks.on_request(), as_interrupts():
        code = _exit_code_of(lambda: _complete(typed) if _asks_for_completion(typed) else _invoke(typed), typed)
        # What others left in the buffer fails now, while there is someone to say so.
        code = _exit_code_of(flush_out, typed) or code
    leave(code)


def _asks_for_completion(arguments: list[str]) -> bool:
    """Whether a shell asks what could be typed next, or a person for the script with which it does."""
    options = ("--install-completion", "--show-completion")
    return "_GACHECK_COMPLETE" in os.environ or arguments[:1] in ([option] for option in options)


def _complete(arguments: list[str]) -> None:
    """Leave completion to Typer, which ends the process itself."""
    try:
        typer.main.get_command(app).main(arguments, prog_name="gacheck")
    except SystemExit as end:
        raise typer.Exit(UsageError.exit_code if end.code else 0) from None


def _fill_stderr() -> None:
    """Open something in place of a closed stderr: libraries print there, and the next file would take its number."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it stays open as long as we run


def _invoke(arguments: list[str]) -> None:
    # Not by the command's own main: that makes an exit of every lost pipe and cannot tell whose SystemExit it sees.
    group: Any = typer.main.get_command(app)
    with group.make_context("gacheck", list(arguments)) as context:
        group.invoke(context)


# Typer brings its own Click from some release on: this is the exception of the one that it uses.
_WRONG_USAGE: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")


def _exit_code_of(action: Callable[[], None], typed: list[str]) -> int:
    try:
        action()
    except typer.Exit as end:
        return end.exit_code
    except Stopped as stopped:
        return SIGNALLED + stopped.number
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except _WRONG_USAGE as error:
        from gacheck.commands.usage import not_understood

        return _fail(not_understood(error, typed), error)
    except GacheckError as error:
        return _fail(error, error)
    except SystemExit as error:
        return _fail(_ended(error), error)
    except MemoryError as error:
        return _fail(_out_of_memory(error), error)
    except OSError as error:
        return _fail(_too_long(error) if error.errno == errno.ENAMETOOLONG else _crash(error), error)
    except BaseException as error:  # not `Exception`: whatever came through would end with code 1
        return _fail(_crash(error), error)
    return 0


def _fail(error: GacheckError, cause: BaseException) -> int:
    if tracebacks.are_asked_for():
        tracebacks.show(cause)
    try:
        let_the_first_speak()
    except Stopped as stopped:  # by who started it, since the first has said it
        return SIGNALLED + stopped.number
    show_error(error)
    return error.exit_code


def _ended(error: SystemExit) -> GacheckError:
    """Explain a SystemExit; no code of ours raises one."""
    return EndedError(
        f"Code that gacheck ran ended the process: sys.exit({error.code!r}){place_of(error)}.",
        why="There is no verdict; its exit code would have passed for one.",
        fix='take the call out of what is imported or trained, or put it below  if __name__ == "__main__":',
    )


def _too_long(error: OSError) -> GacheckError:
    return ConfigError(
        f"No file can have the name {error.filename!r}: it is too long.",
        why="An option or an argument is taken for a file, or may be one.",
        fix="check what was typed or pasted there",
    )


def _out_of_memory(error: MemoryError) -> GacheckError:
    return ResourceError(
        f"Memory ran out{place_of(error)}.",
        why="The command could not go on.",
        fix="lower --effective-batch-size or --max-length, or end other programs",
    )


def _crash(error: BaseException) -> GacheckError:
    if is_an_options(error):
        return UserCodeError(
            f"{raised_in_user_code(error)}.",
            why="Code of your own raised it, and gacheck could not go on.",
            fix=f"fix it there; {tracebacks.OPTION} shows the traceback whole",
        )
    return CrashError(
        f"{type(error).__name__}: {one_line(error, MESSAGE)}{place_of(error)}.",
        why="Nobody expected this: gacheck is at fault, not your training.",
        fix=f"report it with the output of  gacheck env; {tracebacks.OPTION} shows the traceback whole",
    )


if __name__ == "__main__":
    main()
