"""The analysis as Markdown, to paste into an issue: verdict, table, reasons, and how to see it again.

Names and error messages come from outside. They stand in code wherever they can: there GitHub reads no markup,
mentions nobody and links nothing. In sentences they are escaped.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from gacheck.core.figures import PassFigures
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.run import RunRecord
from gacheck.reporters.attached import step_table
from gacheck.reporters.grid import (
    ERROR_COLUMNS,
    failed,
    find_pass,
    flag_title,
    name_passes,
    num_passes,
    pass_cells,
    ran,
    right_answer,
    rule_cell,
    tail_notes,
    tried_flags,
    tried_steps,
)
from gacheck.reporters.reporter import TRAININGS, Reporter
from gacheck.reporters.text import NOT_MEASURED, clean, figure, shorten
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis

# An empty comment after @ and # parts them from the name or number, so that nobody is notified by an error message;
# a backslash would not. Dollar signs enclose formulas unless they stand alone in an element.
_ESCAPES = str.maketrans(
    {char: f"\\{char}" for char in "\\`*[]~|"}
    | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@<!-- -->", "#": "#<!-- -->", "$": "<span>$</span>"}
)
# An underscore inside a word is none of Markdown's business; it stays legible in the source.
_OUTER_UNDERSCORES = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")

# More than any sentence of ours takes; an error message that it quotes may have no end.
TEXT_COLUMNS = 500

LEGEND = (
    "First-step loss at each k (`gradient_accumulation_steps`); flag: the Trainer's `model_accepts_loss_kwargs`. "
    "Ratio and grad: this pass's loss and gradient norm over the right one's."
)


def render_markdown(analysis: Analysis) -> str:
    """Render a short report in GitHub's Markdown."""
    blocks = [
        f"### gacheck: {_headline(analysis)}",
        _subject(analysis),
        *_incomplete(analysis),
        *_table(analysis),
        *_beside_the_table(analysis),
        *_verdict(analysis),
        "To reproduce:",
        _fence("sh", _command(analysis.record.command)),
        _environment(analysis),
    ]
    return "\n\n".join(blocks) + "\n"


def _escape(text: str) -> str:
    """Make text harmless within a line of prose."""
    plain = shorten(clean(text), TEXT_COLUMNS)
    # Before the rest: what that adds holds no underscore.
    marked = _OUTER_UNDERSCORES.sub(lambda found: "\0" * len(found[0]), plain)
    return marked.translate(_ESCAPES).replace("\0", "\\_")


def _code(text: str) -> str:
    """Put text into a code span whose ends are longer than any run of backticks in it."""
    inner = shorten(clean(text), ERROR_COLUMNS) or " "
    ends = "`" * (1 + max(map(len, re.findall("`+", inner)), default=0))
    # Markdown takes one space off both sides again.
    pad = " " if inner[0] in " `" or inner[-1] in " `" else ""
    return f"{ends}{pad}{inner}{pad}{ends}"


def _fence(language: str, text: str) -> str:
    """Put lines into a block; each begins with a word of ours, so none can be the block's end."""
    return f"```{language}\n{text}\n```"


def _headline(analysis: Analysis) -> str:
    verdict = analysis.verdict
    severity = verdict.severity.upper()
    # OK and INCONCLUSIVE are their own severity.
    head = verdict.code if verdict.code == severity else f"{severity} {verdict.code}"
    return _escape(f"{head}: {verdict.words.summary}{'' if analysis.record.complete else ' (incomplete)'}")


def _subject(analysis: Analysis) -> str:
    record = analysis.record
    model, hardware, packages = record.model, record.hardware, record.environment.packages
    facts = [_code(model.name), *(["tiny stand-in"] if model.stand_in else [])]
    facts += [f"adapter {_code(model.adapter)}"] if model.adapter else []
    facts.append("random weights" if model.random_weights else f"{model.num_parameters:,} parameters")
    versions = [f"{name} {packages[name]}" for name in ("transformers", "torch", "accelerate") if name in packages]
    versions.append(f"gacheck {record.environment.gacheck}")
    versions += [hardware.device, hardware.dtype, *([f"{hardware.autocast} autocast"] if hardware.autocast else [])]
    return " · ".join([f"{_code(model.class_name)} ({', '.join(facts)})", *map(_escape, versions)])


def _incomplete(analysis: Analysis) -> list[str]:
    done, planned = num_passes(analysis)
    return [] if analysis.record.complete else [f"**Incomplete: {done} of {planned} passes have run.**"]


def _table(analysis: Analysis) -> list[str]:
    """Lay out one row a k; the flag values side by side."""
    if not ran(analysis):
        return []
    if analysis.attached is not None:
        return ["\n".join(["```text", *step_table(analysis), "```"])]
    flags = tried_flags(analysis)
    header = ["k", "right answer"]
    for flag in flags:
        header += [f"loss, {flag_title(analysis, flag)}", "ratio", "grad", "rule"]
    rows = [header, ["---:", "---:", *["---:", "---:", "---:", "---"] * len(flags)]]
    for k in tried_steps(analysis):
        cells = [cell for flag in flags for cell in _cells(find_pass(analysis, k, flag))]
        rows.append([str(k), _right(analysis, k, flags), *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return [table, LEGEND]


def _right(analysis: Analysis, k: int, flags: Sequence[Flag]) -> str:
    """Write the right answer at k, for each flag value where they pursue different objectives."""
    shared = right_answer(analysis, k)
    if shared is not None:
        return figure(shared)
    known = [(flag, p.reference_loss) for flag in flags if (p := find_pass(analysis, k, flag)) is not None]
    answers = [f"{flag} {figure(answer)}" for flag, answer in known if answer is not None]
    return ", ".join(answers) or NOT_MEASURED


def _cells(figures: PassFigures | None) -> list[str]:
    return [*pass_cells(figures), rule_cell(figures)]


def _beside_the_table(analysis: Analysis) -> list[str]:
    """Say what the table cannot hold: the tail of an epoch, and each reason for a failure once."""
    lines = [f"- {label} {_escape(text)}" for label, text in tail_notes(analysis)]
    lines += [f"- failed, {name_passes(passes)}: {_code(reason)}" for reason, passes in failed(analysis).items()]
    return ["\n".join(lines)] if lines else []


def _verdict(analysis: Analysis) -> Iterator[str]:
    words = analysis.verdict.words
    yield f"**Why:** {_escape(words.cause)}"
    yield f"**Training:** {_escape(words.impact)}"
    line = words.remedy.trainer
    if line is None or not words.fix.startswith(line.split("  #")[0]):
        yield f"**Fix:** {' '.join(map(_escape, words.fix.splitlines()))}"
    else:
        yield "**Fix:**"
        yield _fence("python", line)
        # The first line of the fix is that same line of code.
        yield from map(_escape, words.fix.split("\n")[1:])
    if words.notes:
        yield "\n".join(f"- {_escape(note)}" for note in words.notes)


def _command(command: Sequence[str]) -> str:
    """Write the command for a shell; where the program lies is of no use to others."""
    return " ".join(["gacheck", *map(_quote, command[1:])])


def _quote(argument: str) -> str:
    """Quote for a shell; what is not printable as an escape in bash's $'…', so that it stays visible and exact."""
    if argument.isprintable():
        return shlex.quote(argument)
    escaped = (f"\\{c}" if c in "\\'" else c if c.isprintable() else _shell_escape(c) for c in argument)
    return f"$'{''.join(escaped)}'"


def _shell_escape(char: str) -> str:
    code = ord(char)
    # Python's surrogates for bytes of an argument that are no UTF-8.
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
        return f"\\x{code:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _environment(analysis: Analysis) -> str:
    record, flag = analysis.record, analysis.flag
    environment, hardware = record.environment, record.hardware
    facts = {
        "gacheck": environment.gacheck,
        "python": environment.python,
        "platform": environment.platform,
        **environment.packages,
        "device": f"{hardware.device} ({hardware.device_name}), world size {hardware.world_size}",
        "flag": f"chosen {flag.auto}, declared {flag.declared}, forward takes **kwargs {flag.inferred}",
        "loss": " → ".join(f"{f.file.rsplit('/', 1)[-1]}:{f.line} {f.function}" for f in record.oracle.loss_location),
        "data": f"{record.data.num_rows} rows of {record.data.source}" if isinstance(record, RunRecord) else "",
        "tolerance": f"{analysis.tolerance.loss:.1e}",
        "measured": record.created_at,
        "options": _options(record),
    }
    lines = [f"{clean(name):<14}{shorten(clean(value), ERROR_COLUMNS)}" for name, value in facts.items() if value]
    body = _fence("text", "\n".join(lines))
    # Markdown is read again only after an empty line.
    return f"<details>\n<summary>Environment</summary>\n\n{body}\n\n</details>"


def _options(record: AnyTrainingRecord) -> str:
    """Write what was set: the options that are not the defaults, which a YAML file may hold, or the Trainer's own."""
    setup = record.setup
    given = {name: getattr(setup, name) for name in type(setup).model_fields if name != "model"}
    other = {name: value for name, value in given.items() if value != type(setup).model_fields[name].default}
    return " ".join(f"{name}={_option(value)}" for name, value in other.items())


def _option(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


REPORTERS = (Reporter("markdown", ".md", False, TRAININGS, lambda analysis, view: render_markdown(analysis).encode()),)
