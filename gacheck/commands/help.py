"""Help in plain text, and commands that are imported when they are used.

Typer's own help lays options out in a table that cuts their names where the terminal is narrow; and to list the
commands it needs all of them, with everything that they import.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from gacheck.commands import tracebacks
from gacheck.commands.output import view_of, write_err, write_out
from gacheck.errors import UsageError
from gacheck.reporters.text import ascii_only

# A longer name has a line of its own, the text below it.
NAME_COLUMNS = 26

Row = tuple[str, str]


def lay_out(title: str, rows: Sequence[Row], width: int) -> str:
    """Set names and their texts in two columns below a title; no word is broken and no name is cut."""
    longest = max(len(name) for name, _ in rows)
    column = 4 + min(longest, NAME_COLUMNS, width // 3)
    lines = [f"{title}:"]
    for name, text in rows:
        label = f"  {name}  ".ljust(column)
        if len(label) > column:
            lines.append(label.rstrip())
            label = " " * column
        lines.append(_wrap(text, width, label, " " * column).rstrip())
    return "\n".join(lines)


def _wrap(text: str, width: int, first: str, later: str) -> str:
    """Wrap at spaces alone: an option that is broken at its hyphens cannot be copied."""
    wrapped = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapped) or first


class _PlainHelp:
    """What commands and their group have in common; goes before Typer's class.

    Typer brings its own Click from some release on, so that the types of contexts and parameters have two homes.
    """

    def format_help(self: Any, ctx: Any, formatter: Any) -> None:
        """Write the whole help for the terminal that stdout is."""
        view = view_of(sys.stdout)
        width = view.columns
        usage = " ".join([ctx.command_path, "[OPTIONS]", *self._arguments_in_usage()])
        blocks = [_wrap(usage, width, "Usage: ", " " * 7)]
        blocks += [_wrap(part, width, "  ", "  ") for part in (self.help or "").split("\n\n")]
        blocks += [lay_out(title, rows, width) for title, rows in self._panels(ctx).items()]
        text = "\n\n".join(blocks) + "\n"
        formatter.write(ascii_only(text) if view.ascii else text)

    def get_help_option(self: Any, ctx: Any) -> Any:
        """Return the option of the help, which is printed as everything else is."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.callback = _show_help
        return option

    def _arguments_in_usage(self: Any) -> list[str]:
        return [
            (_argument(p) if p.required else f"[{_argument(p)}]") + ("..." if p.nargs == -1 else "")
            for p in self.params
            if p.param_type_name == "argument"
        ]

    def _panels(self: Any, ctx: Any) -> dict[str, list[Row]]:
        """Group arguments and options by the panel that each names."""
        panels: dict[str, list[Row]] = {}
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                panels.setdefault("Arguments", []).append((_argument(parameter), parameter.help or ""))
            elif (row := parameter.get_help_record(ctx)) is not None:
                # Older releases of Typer escape what Rich would take for markup, whoever prints it.
                name, text = row[0], row[1].replace("\\[", "[")
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append((name, text))
        return panels


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _show_help(ctx: Any, option: Any, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        write_out(f"{ctx.get_help()}\n")
        ctx.exit()


class PlainCommand(_PlainHelp, TyperCommand):
    """A command whose help is plain text."""


@dataclass(frozen=True)
class LazyCommand:
    """A command by its name; its module is imported when it is used.

    Attributes:
        home: `package.module:function`.
        summary: The first sentence of the function's docstring.
    """

    home: str
    summary: str
    settings: dict[str, Any] = field(default_factory=dict)

    def load(self, name: str) -> Any:
        """Import the function and make the command of it."""
        module, _, function = self.home.partition(":")
        callback: Callable[..., Any] = tracebacks.with_option(getattr(import_module(module), function))
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, cls=PlainCommand, context_settings=self.settings)(callback)
        return typer.main.get_command(app)


class _Loaded(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for: what Typer keeps as a group's `commands`."""

    def __init__(self, table: Mapping[str, LazyCommand]) -> None:
        self._table = table
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._table[name].load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


class LazyGroup(_PlainHelp, TyperGroup):
    """The program: its commands are listed without importing any of them."""

    table: ClassVar[Mapping[str, LazyCommand]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Loaded(self.table)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take nothing at all for a wrong usage, and show the right one."""
        if not args and not ctx.resilient_parsing:
            write_err(f"{ctx.get_help()}\n")
            raise typer.Exit(UsageError.exit_code)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the table."""
        return list(self.table)

    def _arguments_in_usage(self) -> list[str]:
        return ["COMMAND [ARGS]..."]

    def _panels(self, ctx: Any) -> dict[str, list[Row]]:
        commands = [(name, command.summary) for name, command in self.table.items()]
        return {"Commands": commands, **super()._panels(ctx)}
