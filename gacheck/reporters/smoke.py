"""The smoke check's few lines, in ASCII: CI logs know nothing else for sure."""

from __future__ import annotations

from gacheck.core.figures import PassFigures
from gacheck.record.command import asked_by, fuller_command
from gacheck.record.run import RunRecord
from gacheck.reporters.command import repeat_line, shell_line
from gacheck.reporters.grid import ran
from gacheck.reporters.reporter import PAGE, View
from gacheck.reporters.text import HEADS, ascii_only, clean, paint
from gacheck.words.analysis import Analysis

# From here on a factor says more than a difference.
FACTOR = 1.05


def render_smoke(analysis: Analysis, view: View = PAGE) -> str:
    """Render one line when fine, four when not."""
    record, verdict = analysis.record, analysis.verdict
    what = f"{record.model.class_name} transformers {record.environment.packages.get('transformers', '?')}"
    auto = judged_pass(analysis)
    if analysis.ok and auto is not None and auto.reported_loss is not None:
        lines = [f"OK {what}  loss {auto.reported_loss:.3f} = right at k={auto.accumulation_steps}"]
    else:
        heading = verdict.severity.upper() if verdict.severity != "inconclusive" else ""
        fix = verdict.words.fix.split("\n")[0].split("   #")[0]
        lines = [
            f"{heading} {verdict.code} {what}".strip(),
            f"  {finding(analysis)}",
            f"  fix: {fix}{_tried(analysis) if fix.startswith('trainer.model_accepts_loss_kwargs') else ''}",
            f"  see: {_fuller_run(analysis)}",
        ]
    text = "\n".join(ascii_only(clean(line)) for line in lines) + "\n"
    return paint(text, verdict.severity) if view.color and text.startswith(HEADS[verdict.severity]) else text


def judged_pass(analysis: Analysis) -> PassFigures | None:
    """Return the pass at the flag that the Trainer chose itself."""
    return next((p for p in ran(analysis) if p.loss_kwargs == analysis.flag.auto), None)


def finding(analysis: Analysis) -> str:
    """Say in one sentence what was found at the judged pass."""
    auto = judged_pass(analysis)
    if auto is None or auto.ratio is None or auto.reported_loss is None or auto.reference_loss is None:
        return f"{analysis.verdict.words.summary}: {analysis.verdict.words.cause}"
    if auto.ratio > FACTOR:
        amount = f"{auto.ratio:.3f} times too large"
    elif auto.ratio < 1 / FACTOR:
        amount = f"{1 / auto.ratio:.3f} times too small"
    else:
        amount = analysis.verdict.words.summary
    return (
        f"k={auto.accumulation_steps}, flag {auto.loss_kwargs} (default): "
        f"loss {auto.reported_loss:.3f}, right {auto.reference_loss:.3f}, {amount}"
    )


def _fuller_run(analysis: Analysis) -> str:
    """Return the command that measures the same model at every k; what has no command is measured the same way."""
    record = analysis.record
    if asked_by(record.command) is None or not isinstance(record, RunRecord):
        return repeat_line(record)[1]
    return shell_line(fuller_command(record.config), ascii=True)


def _tried(analysis: Analysis) -> str:
    better = next((p for p in ran(analysis) if p.loss_kwargs == analysis.verdict.better_flag), None)
    return f" (tried: {better.reported_loss:.3f})" if better and better.reported_loss is not None else ""
