"""What a person sees: at most 80 columns and, for a usual run, 40 lines; the verdict last, next to the prompt.

What is right is said in a few lines; the table comes where something differs, or where it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len

from gacheck.core.figures import PassFigures
from gacheck.record.attach import AttachRecord
from gacheck.record.run import RunRecord
from gacheck.reporters.attached import header, step_table
from gacheck.reporters.grid import FLAGS, find_pass, num_passes, ran, tried_steps
from gacheck.reporters.reporter import PAGE, TRAININGS, Reporter, View
from gacheck.reporters.table import table
from gacheck.reporters.text import (
    HEADS,
    NOT_MEASURED,
    ascii_only,
    clean,
    duration,
    figure,
    paint,
    shorten,
    wrap,
)
from gacheck.rules.facts import Flag
from gacheck.rules.task import CAUSAL_LM
from gacheck.words.analysis import Analysis

# Bars give way where the whole would be longer than one screen.
MAX_LINES = 40

COMMENT = "   # "
"""Between a line of code and its comment."""

FIELD = 11
"""Columns before the text of a field of the verdict."""

# More than any text of ours takes; an error message that it quotes may have no end.
FIELD_COLUMNS = 500

# Bars whose shortest and longest are closer than this, relative, look alike and say nothing.
VISIBLE_DIFFERENCE = 0.1

BARS = {Flag.ON: "█", Flag.OFF: "░"}
LONGEST_BAR = 48


def render_terminal(analysis: Analysis, view: View = PAGE) -> str:
    """Render header and verdict, and between them, where something differs, table and bars."""
    columns = view.columns
    head, verdict = _header(analysis, columns), _verdict(analysis, view)
    if analysis.ok and not view.verbose:
        return _join([*head, "", *verdict], ascii=view.ascii)
    head += ["", *(step_table(analysis) if analysis.attached is not None else table(analysis, columns))]
    for bars in _bar_choices(analysis, columns):
        lines = [*head, "", *([*bars, ""] if bars else []), *verdict]
        if len(lines) <= MAX_LINES:
            break
    return _join(lines, ascii=view.ascii)


def render_verdict(analysis: Analysis, view: View = PAGE) -> str:
    """Render the verdict alone."""
    return _join(_verdict(analysis, view), ascii=view.ascii)


def render_headline(analysis: Analysis, view: View = PAGE) -> str:
    """Render the verdict in a few words on one line: while a training goes on it is one among many."""
    verdict, first = analysis.verdict, next((p for p in analysis.passes if p.reported_loss is not None), None)
    head = HEADS[verdict.severity]
    parts = [head if verdict.code == "OK" else f"{head} {verdict.code}"]
    if first is not None and first.reference_loss is not None:
        parts += [f"loss {figure(first.reported_loss)}", f"right {figure(first.reference_loss)}"]
    line = ", ".join(parts)
    line = ascii_only(line) if view.ascii else line
    return paint(line, verdict.severity) if view.color else line


def _join(lines: list[str], *, ascii: bool) -> str:
    text = "\n".join(lines) + "\n"
    if not ascii:
        return text
    # ESC of the colours is the one control character that may be here, and it is ASCII.
    return ascii_only(text)


def _header(analysis: Analysis, width: int) -> list[str]:
    record = analysis.record
    parts = [("", _versions(analysis))]
    if isinstance(record, AttachRecord):
        parts += header(analysis, record)
    else:
        parts += [
            ("model  ", _model(analysis)),
            ("flag   ", _flag(analysis)),
            ("data   ", _data(analysis, record)),
            ("passes ", _passes(analysis, record)),
        ]
    return [line for label, text in parts for line in wrap(clean(text), label, width, indent=7)]


SHARDED_BY = {"fsdp": "FSDP2", "tp": "tensor parallelism"}


def _versions(analysis: Analysis) -> str:
    record = analysis.record
    hardware, packages = record.hardware, record.environment.packages
    parts = [f"gacheck {record.environment.gacheck}"]
    parts += [f"{name} {packages[name]}" for name in ("transformers", "torch") if name in packages]
    named = hardware.device_name and hardware.device_name != hardware.device
    parts.append(f"{hardware.device} ({hardware.device_name})" if named else hardware.device)
    parts.append(hardware.dtype)
    if hardware.autocast:
        parts.append(f"{hardware.autocast} autocast")
    if hardware.world_size > 1:
        parts.append(f"{hardware.world_size} processes")
    if isinstance(record, RunRecord) and record.config.shard != "none":
        parts.append(f"weights spread by {SHARDED_BY[record.config.shard]}")
    if hardware.average_tokens_across_devices is False:
        parts.append("average_tokens_across_devices=False")
    return " · ".join(parts)


def _model(analysis: Analysis) -> str:
    model = analysis.record.model
    facts = ["tiny stand-in" if model.stand_in else model.name]
    facts.append("random weights" if model.random_weights else f"{model.num_parameters:,} parameters")
    return f"{model.class_name} ({', '.join(facts)})"


def _flag(analysis: Analysis) -> str:
    flag = analysis.flag
    if flag.auto is None:
        return "model_accepts_loss_kwargs is not known: no pass ran"
    chosen = f"model_accepts_loss_kwargs = {flag.auto.is_on}, chosen by the Trainer"
    forward = f"the model's forward takes {'' if flag.inferred else 'no '}**kwargs"
    declares = "nothing" if flag.declared is None else f"accepts_loss_kwargs = {flag.declared}"
    if flag.declared is not None and flag.declared == flag.auto.is_on:
        return f"{chosen} because the class declares {declares}"
    if flag.inferred != flag.auto.is_on:
        return f"{chosen}; {forward}, the class declares {declares}"
    # Releases before 4.50 do not read what the class declares.
    ignored = ", which it did not heed" if flag.declared is not None else ""
    return f"{chosen} because {forward}; the class declares {declares}{ignored}"


def _data(analysis: Analysis, record: RunRecord) -> str:
    config, rows = record.config, record.oracle.rows
    ks = sorted(config.gradient_accumulation_steps)
    size = config.per_device_train_batch_size
    processes = f" × {config.row_sets}" if config.row_sets > 1 else ""
    if size is not None:
        batch = f"{size} {'row' if size == 1 else 'rows'} a micro-batch, {size} × k{processes} a step"
    elif len(ks) == 1:
        product = f"{config.micro_batch_size(ks[0])} × {ks[0]}{processes}"
        batch = f"{config.rows_per_step(ks[0])} rows a step (micro-batch {product})"
    else:
        rows_per_step = config.rows_per_step(ks[0])
        batch = f"{rows_per_step} rows a step (micro-batch {rows_per_step // config.row_sets}/k × k{processes})"
    counts: list[float] = [sum(row.num_target_tokens for row in rows[: config.rows_per_step(k)]) for k in ks if rows]
    counts = counts or [
        p.step.num_target_tokens for f in analysis.findings for p in f.passes if p.step is not None and not p.number
    ]
    parts = [batch]
    if counts and max(counts) > 1:  # a sum that is meant to be one counts nothing
        least, most = min(counts), max(counts)
        tokens = f"{most:,.0f}" if least == most else f"{least:,.0f}-{most:,.0f}"
        parts.append(f"{tokens} {'target tokens' if record.model.task == CAUSAL_LM.name else 'targets'}")
    if record.data.max_length:
        parts.append(f"lengths {record.data.min_length}-{record.data.max_length}")
    if not rows:
        parts.append(record.data.source)
    return ", ".join(parts)


def _passes(analysis: Analysis, record: RunRecord) -> str:
    passes = record.all_passes
    failed = sum(p.status == "failed" for p in passes)
    done = "{} of {} done".format(*num_passes(analysis))
    done += f" in {duration(sum(p.seconds for p in passes))}" if record.complete else " (incomplete)"
    if failed:
        done += f", {failed} failed"
    rows = "same rows" if record.config.per_device_train_batch_size is None else "same order of rows"
    return f"{done}; same start weights, {rows}; dropout off"


def _verdict(analysis: Analysis, view: View) -> list[str]:
    verdict, width = analysis.verdict, view.columns
    words = verdict.words
    lines = _headline(analysis, width, color=view.color)
    lines += _field("why", f"{words.cause} {words.certainty}".strip() if view.verbose else words.cause, width)
    if analysis.ok:
        lines += _field("compared", words.compared, width)
    else:
        lines += _field("training", words.impact, width)
    for number, line in enumerate(_fix_lines(words.fix, width)):
        # Code that is broken within a name cannot be copied.
        lines += _field("" if number else "fix", line, width, whole_words=True)
    for note in words.notes:
        lines += _field("note", note, width)
    if view.saved is not None:
        lines += _field("saved", view.saved, width, whole_words=True)
    if verdict.code != "OK":
        lines += _field("more", f"gacheck explain {verdict.code}", width)
    return lines


def _headline(analysis: Analysis, width: int, *, color: bool) -> list[str]:
    verdict = analysis.verdict
    head = HEADS[verdict.severity]
    # `OK` alone is its own code.
    text = verdict.words.summary if verdict.code == "OK" else f"{verdict.code}: {verdict.words.summary}"
    label = head.ljust(6)
    first, *rest = wrap(clean(text), label, width)
    return [paint(first, verdict.severity) if color else first, *rest]


def _field(name: str, text: str, width: int, *, whole_words: bool = False) -> list[str]:
    return wrap(shorten(clean(text), FIELD_COLUMNS), f" {name}".ljust(FIELD), width, whole_words=whole_words)


def _fix_lines(fix: str, width: int) -> list[str]:
    """Return the lines of a fix; a comment that does not fit behind its code goes below it: both can be copied."""
    lines = []
    for line in filter(None, fix.split("\n")):
        code, mark, comment = line.partition(COMMENT)
        if mark and cell_len(line) > width - FIELD:
            lines += [code, f"# {comment}"]
        else:
            lines.append(line)
    return lines


def _bar_choices(analysis: Analysis, width: int) -> list[list[str]]:
    """Draw the first-step losses as bars, longest choice first: all, one flag, none.

    None alone where the bars would look alike.
    """
    drawn = [p for p in ran(analysis) if p.reported_loss is not None and math.isfinite(p.reported_loss)]
    if not drawn or not _differ([p.reported_loss for p in drawn if p.reported_loss is not None]):
        return [[]]
    # The table has said `failed` already: bars are for losses.
    flags = [flag for flag in FLAGS if any(p.loss_kwargs == flag for p in drawn)]
    choices = [_bars(analysis, flags, width)]
    one = max(flags, key=lambda flag: _spread(drawn, flag))
    if len(flags) > 1:
        choices.append(_bars(analysis, [one], width))
    return [*choices, []]


def _differ(losses: Sequence[float]) -> bool:
    return min(losses) < (1 - VISIBLE_DIFFERENCE) * max(losses)


def _spread(passes: Sequence[PassFigures], flag: Flag) -> float:
    losses = [p.reported_loss or 0.0 for p in passes if p.loss_kwargs == flag]
    return max(losses) - min(losses) if losses else -1.0


def _bars(analysis: Analysis, flags: Sequence[Flag], width: int) -> list[str]:
    ks = tried_steps(analysis)
    shown = [(k, flag, find_pass(analysis, k, flag)) for k in ks for flag in flags]
    values = [p.reported_loss for _, _, p in shown if p is not None and p.reported_loss is not None]
    longest = max((value for value in values if math.isfinite(value)), default=0.0)
    label_width = max(len(str(k)) for k in ks) + 5
    room = min(LONGEST_BAR, width - 5 - label_width - 4 - 1 - max(map(len, map(figure, values)), default=0))
    lines, last = [], None
    for k, flag, figures in shown:
        name = f"k={k}" if k != last else ""
        lines.append(f"     {name:<{label_width}}{flag:<3} {_bar(figures, flag, longest, room)}".rstrip())
        last = k
    return lines


def _bar(figures: PassFigures | None, flag: Flag, longest: float, room: int) -> str:
    if figures is None:
        return "not run"
    loss = figures.reported_loss
    if loss is None:
        return "failed" if figures.status == "failed" else NOT_MEASURED
    if not math.isfinite(loss) or longest <= 0:
        return figure(loss)
    cells = max(1, round(room * loss / longest)) if loss > 0 else 0
    return f"{BARS[flag] * cells} {figure(loss)}".lstrip()


REPORTERS = (
    Reporter("terminal", ".txt", False, TRAININGS, lambda analysis, view: render_terminal(analysis, view).encode()),
)
