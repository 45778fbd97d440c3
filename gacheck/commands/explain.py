"""`gacheck explain`: what a verdict's code means, from the faults page that is shipped with the package."""

from __future__ import annotations

import difflib
import io
import re
import sys
from collections.abc import Mapping
from importlib.resources import files

import typer

from gacheck.commands.output import view_of, write_out
from gacheck.errors import ConfigError
from gacheck.reporters.reporter import View
from gacheck.reporters.text import HEADS, ascii_only, wrap
from gacheck.rules.table import SEVERITY, SEVERITY_RANK

PAGE = "faults.md"

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A table of two columns: its head with the line below it, and a row.
_HEAD = re.compile(r"^\|.*\|\n\|[-|: ]+\|\n", re.MULTILINE)
_ROW = re.compile(r"^\| (.*?) \| (.*) \|$", re.MULTILINE)


def explain(
    code: str | None = typer.Argument(None, metavar="CODE", help="as a verdict shows it (default: list all codes)"),
) -> None:
    """Say what a verdict's code means: arithmetic, releases, fixes and the output of a case.

    Example: gacheck explain SCALED_BY_ACCUMULATION
    """
    view = view_of(sys.stdout)
    if code is None:
        write_out(_list(view))
        return
    name = code.upper().replace("-", "_")
    if name not in SEVERITY:
        close = [known for known in SEVERITY if name in known] or difflib.get_close_matches(name, SEVERITY, n=1)
        raise ConfigError(
            f"There is no verdict code {code!r}.",
            why="Every verdict has one of the codes that  gacheck explain  lists.",
            fix=f"did you mean  gacheck explain {close[0]}  ?" if close else "gacheck explain  lists them",
        )
    write_out(render_section(name, sections()[name], view))


def sections() -> Mapping[str, str]:
    """Return the sections of the faults page by their titles, in their order; a code's is titled by the code.

    Source: docs/faults.md, to which faults.md beside this module is a link.
    """
    parts = (files("gacheck.commands") / PAGE).read_text(encoding="utf-8").split("\n## ")[1:]
    titled = (part.partition("\n") for part in parts)
    return {title.strip(): body.strip() for title, _, body in titled}


def _list(view: View) -> str:
    """List the codes, gravest first, each with the first sentence of its section."""
    page = sections()
    rows = [(code, SEVERITY[code]) for code in page if code in SEVERITY]
    rows.sort(key=lambda row: -SEVERITY_RANK[row[1]])
    longest = max(map(len, SEVERITY))
    lines = [
        line
        for code, severity in rows
        for line in wrap(_first_sentence(page[code]), f"{HEADS[severity]:<6}{code:<{longest}}  ", view.columns)
    ]
    text = "\n".join([*lines, "", "gacheck explain CODE  says more of one.", ""])
    return ascii_only(text) if view.ascii else text


def _first_sentence(section: str) -> str:
    text = " ".join(_plain(section.split("\n\n")[0]).split())
    return text.removeprefix("What it is. ").split(". ")[0].split(": ")[0].rstrip(".") + "."


def _plain(markdown: str) -> str:
    return _LINK.sub(r"\1", markdown).replace("**", "").replace("`", "")


def render_section(title: str, body: str, view: View) -> str:
    """Render a section of the page, which is Markdown, in columns."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.text import Text

    # Links lead to sections and pages that are not here; a table would cut the names that its cells have no room for.
    text = _ROW.sub(r"- **\1**: \2", _HEAD.sub("", _LINK.sub(r"\1", body)))
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=view.columns, force_terminal=view.color, color_system="standard" if view.color else None
    )
    # Between the fences stands what gacheck printed, laid out for as many columns as there are.
    for number, part in enumerate(_FENCE.split(f"# {title}\n\n{text}")):
        console.print(Text(part) if number % 2 else Markdown(part, hyperlinks=False))
    whole = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
    return ascii_only(whole) if view.ascii else whole
