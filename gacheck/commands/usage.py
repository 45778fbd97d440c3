"""What is said of a command line that is not understood: what was meant, where that can be told."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gacheck.config import RunConfig
from gacheck.errors import UsageError, one_line
from gacheck.misuse import K, Spelling, example_of

_WHY = "The command line is not understood, so nothing was done."
# Options that take a list, and what their values look like.
_LISTS = (("-k|--gradient-accumulation-steps", r"[\d,]+"), ("--loss-kwargs", r"(?:on|off|,)+"))


def not_understood(error: Any, arguments: Sequence[str]) -> UsageError:
    """Explain what the parser refuses; its own exit code may be 1.

    Args:
        error: The parser's.
        arguments: What was typed.
    """
    # Pydantic reads the values in newer releases of Typer, and says so.
    message = one_line(error.format_message().replace("Value error, ", "").replace("Input should", "it should"))
    what = message if message.endswith((".", "?", ")")) else f"{message}."
    context = getattr(error, "ctx", None)
    if "requires an argument" in message:
        return UsageError(what, why=_WHY, fix=_with_value(str(getattr(error, "option_name", ""))))
    if "does not take a value" in message:
        return UsageError(what, why=_WHY, fix=f"write  {getattr(error, 'option_name', 'it')}  alone, or leave it out")
    path = context.command_path if context else "gacheck"
    if context is None:
        return UsageError(what, why=_WHY, fix=f"see  {path} --help")
    kind = type(error).__name__
    if kind == "NoSuchOption":
        name = str(error.option_name)
        return UsageError(f"There is no option {name} of {path}.", why=_WHY, fix=_instead_of(name, context))
    if found := re.match(r"No such command '(.*?)'", message):
        known = context.command.list_commands(context)
        return UsageError(f"There is no command {found[1]!r}.", why=_WHY, fix=_command_for(found[1], known))
    if "unexpected extra argument" in message:
        return _too_many(message, path, arguments)
    if kind == "MissingParameter" and "COMMAND" in message:
        return UsageError(
            "gacheck attach is given no command to run.",
            why="It watches a training that a command of yours starts.",
            fix="write it after --, such as  gacheck attach -- python train.py",
        )
    return UsageError(what, why=_WHY, fix=f"{_values(error, path)}")


def typed_apart(arguments: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the option of a list whose values were typed with spaces between them, and these; None where none was."""
    for option, value in _LISTS:
        places = [at for at, each in enumerate(arguments) if re.fullmatch(option, each)]
        after = arguments[places[-1] + 1 :] if places else ()
        values = [each.strip(",") for each in itertools.takewhile(re.compile(f"(?:{value})$").match, after)]
        if len(values) > 1:
            return arguments[places[-1]], values
    return None


def write_as_list(option: str, values: Iterable[str], command: str) -> UsageError:
    """Explain that several values are one list."""
    return UsageError(
        f"{command} takes the values of {option} as one list, without spaces.",
        why="What follows a space would be another argument: the model.",
        fix=f"write  {option} {','.join(values)}",
    )


def _instead_of(name: str, context: Any) -> str:
    """Say which option was meant: of this command, or of another."""
    options = [each for p in context.command.params for each in (*p.opts, *p.secondary_opts) if each.startswith("-")]
    if name.lstrip("-") == "k" and "-k" in options:
        return "did you mean  -k?  It takes a list:  -k 1,2,4"
    parent = context.parent
    others: Mapping[str, Any] = parent.command.commands if parent is not None else {}
    having = "run" in others and context.info_name != "run" and name in _names(others["run"])
    if having:
        return f"leave it out; gacheck run has it, and gacheck {context.info_name} does without"
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f"did you mean  {close[0]}?" if close else f"leave it out; {context.command_path} --help lists what there is"


def _names(command: Any) -> list[str]:
    return [each for p in command.params for each in p.opts]


def _command_for(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.65)
    if close:
        return f"did you mean  gacheck {close[0]}?"
    if re.search(r"[:/\\.]", name):
        return f"to check a model, write  gacheck run {name}"
    return f"choose one of  {', '.join(known)}"


def _too_many(message: str, path: str, arguments: Sequence[str]) -> UsageError:
    extra = re.findall(r"\(([^()]*)\)\.?$", message)
    apart = typed_apart(arguments)
    if apart is not None:
        return write_as_list(*apart, path)
    names = "'" + "', '".join(extra[0].split()) + "'" if extra else "the rest"
    return UsageError(
        f"{path} does not know what to do with {names}.",
        why=_WHY,
        fix="leave it out, or put quotes around a name that has spaces in it",
    )


def _with_value(name: str) -> str:
    field = K if name == "-k" else name.lstrip("-").replace("-", "_")
    if field in RunConfig.model_fields:
        return f"write a value after it, such as  {Spelling().spell(example_of(RunConfig, field))}"
    return f"write a value after {name}, or leave it out"


def _values(error: Any, path: str) -> str:
    """Return a value that works: the one that was meant, where the parameter has few, or the default."""
    message, parameter = one_line(error.format_message()), getattr(error, "param", None)
    name = next((each for each in getattr(parameter, "opts", []) if each.startswith("-")), None)
    given, _, listed = message.partition(" is not one of ")
    choices = re.findall(r"'([^']*)'", listed) or re.findall(r"[\w-]+", message.partition("Choose from:")[2])
    close = [
        each for word in re.findall(r"'([^']*)'", given)[1:] for each in difflib.get_close_matches(word, choices, 1)
    ]
    default = getattr(parameter, "default", None)
    works = next(iter((*close, *([] if default is None else [str(default)]), *choices)), None)
    if works is None:
        return f"write a value after {name} that it takes" if name else f"see  {path} --help"
    return f"write, for example,  {name or path} {works}"
