"""What the terminal says of an attached training: its own header, and a row for every observed step."""

from __future__ import annotations

from gacheck.core.figures import StepFigures
from gacheck.record.attach import AttachRecord
from gacheck.reporters.grid import rule_label
from gacheck.reporters.text import figure
from gacheck.words.analysis import Analysis

COLUMNS = (6, 12, 12, 10)


def header(analysis: Analysis, record: AttachRecord) -> list[tuple[str, str]]:
    """Return label and text of every line above the table, the versions apart."""
    return [
        ("model  ", _model(analysis)),
        ("under  ", (record.setup.trainer_class or "a class without a name").replace(":", ".")),
        ("flag   ", _flag(analysis, record)),
        ("data   ", _data(analysis, record)),
        (
            "steps  ",
            f"{_num_observed(analysis)} of {record.num_observed_steps} observed; dropout as the training has it",
        ),
    ]


def _model(analysis: Analysis) -> str:
    model = analysis.record.model
    adapter = f", under {model.adapter}" if model.adapter else ""
    name = f"{model.name}, " if model.name != model.class_name else ""
    return f"{model.class_name} ({name}{model.num_parameters:,} parameters{adapter})"


def _flag(analysis: Analysis, record: AttachRecord) -> str:
    flag = analysis.flag
    declares = "nothing" if flag.declared is None else f"accepts_loss_kwargs = {flag.declared}"
    reason = f"the model's forward takes {'' if flag.inferred else 'no '}**kwargs, its class declares {declares}"
    chosen = record.setup.chosen_loss_kwargs
    value = f"model_accepts_loss_kwargs = {record.setup.loss_kwargs.is_on}"
    if chosen is None:
        return f"{value}; {reason}"
    if chosen is record.setup.loss_kwargs:
        return f"{value}, chosen by the Trainer: {reason}"
    return f"{value}, set by the training's own code; the Trainer had chosen {chosen.is_on}"


def _data(analysis: Analysis, record: AttachRecord) -> str:
    steps = [p.step for f in analysis.findings for p in f.passes if p.step is not None]
    k, size = record.setup.gradient_accumulation_steps, record.setup.per_device_train_batch_size
    seen = {m.process for p in record.passes for step in p.steps for m in step.micro_batches}
    parts = [f"micro-batch {size}" if size else "micro-batches", f"k = {k}"]
    if len(seen) > 1:
        parts.append(f"{len(seen)} processes")
    text = " × ".join(parts) + " a step"
    if steps:
        text += f", {steps[0].num_target_tokens:,} target tokens in the first"
    return text


def _num_observed(analysis: Analysis) -> int:
    return sum(step.reference_loss is not None for step in _steps(analysis))


def _steps(analysis: Analysis) -> tuple[StepFigures, ...]:
    return analysis.passes[0].steps if analysis.passes else ()


def step_table(analysis: Analysis) -> list[str]:
    """Lay out a row for every step that was seen, and the rules that explain them."""
    steps = _steps(analysis)
    if not steps:
        return ["No optimizer step was seen."]
    rows = [("step", "loss", "right", "ratio")]
    rows += [(str(s.step), figure(s.reported_loss), figure(s.reference_loss), figure(s.ratio)) for s in steps]
    lines = ["".join(cell.rjust(width) for cell, width in zip(row, COLUMNS, strict=True)) for row in rows]
    for finding in analysis.findings[:1]:  # the other is what was tried
        gradient = rule_label(finding.backward) or "not seen"
        if any(p.wrong_gradient for p in finding.passes):
            gradient = "not that of the loss"
        labels = [("loss", rule_label(finding.forward)), ("gradient", gradient)]
        lines += [f"          {name:<8} = {label}" for name, label in labels if label]
    return lines
