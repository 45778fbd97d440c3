"""The loss, or a part of it, is too large or too small by a factor."""

from __future__ import annotations

from gacheck.core.verdict import Case
from gacheck.words.faults.fault import Fault, always, attached_flag_fix, location, no_line


def _scaled_summary(case: Case) -> str:
    if case.affects == "gradient":
        return "the gradient is k times too large, under a log that looks right"
    return "the loss is k times too large"


def _scaled_cause(case: Case) -> str:
    setup = case.record.setup
    if case.affects == "gradient":
        return "The Trainer divides by k the loss that it logs, and not the loss of which it takes the gradient."
    if case.auto is not None and not case.auto.flag.is_on and not setup.compute_loss_func:
        return f"With the flag off nobody divides: each micro-batch adds its own mean{location(case)}."
    if setup.compute_loss_func:
        return (
            "The Trainer takes what compute_loss_func returns as divided by num_items_in_batch already, whatever the "
            f"flag; {setup.compute_loss_func} returns a mean per micro-batch."
        )
    if setup.label_smoothing_factor:
        return (
            "The Trainer's label smoother takes a mean per micro-batch, and the Trainer does not divide by k: "
            "the flag tells it that the model did."
        )
    dropper = f"{case.subclass}.compute_loss" if case.subclass else "the model"
    return (
        "The Trainer hands num_items_in_batch to the model and does not divide by k; "
        f"{dropper} drops it and takes a mean per micro-batch{location(case)}."
    )


def _not_normalised_summary(case: Case) -> str:
    if case.rule is not None and case.rule.name.startswith("sum_over_k"):
        return "the loss is a sum over the tokens, divided by k alone"
    return "the loss is a sum over the tokens, divided by nothing"


def _divided_twice(case: Case) -> str:
    return f"It is divided by num_items_in_batch{location(case)} and once more by k."


def _auxiliary(case: Case) -> str:
    return (
        "The model adds an auxiliary loss (a router's) to the loss of every micro-batch; the rest is divided by "
        f"num_items_in_batch, the auxiliary loss by nothing{location(case)}."
    )


def _world_size_fix(case: Case) -> str:
    value = case.worst is not None and case.worst.ratio is not None and case.worst.ratio <= 1
    return f"Try average_tokens_across_devices={value} in the training arguments, or upgrade transformers."


def _attached_world_size_fix(case: Case) -> str:
    average = case.attached.setup.average_tokens_across_devices if case.attached is not None else None
    own = f" Or take the number of processes out of {case.subclass}.compute_loss." if case.subclass else ""
    if average is None:
        return f"Upgrade transformers.{own}"
    return f"Try average_tokens_across_devices={not average} in the training arguments, or upgrade transformers.{own}"


FAULTS = (
    Fault(
        "NOT_NORMALISED",
        _not_normalised_summary,
        lambda case: f"It grows with every target token of the step{location(case)}.",
        no_line,
    ),
    Fault("SCALED_BY_ACCUMULATION", _scaled_summary, _scaled_cause, no_line, attached_flag_fix),
    Fault("DIVIDED_TWICE", always("the loss is k times too small"), _divided_twice, no_line, attached_flag_fix),
    Fault("AUX_LOSS_SCALED", always("the auxiliary loss is k times too large"), _auxiliary, no_line),
    Fault(
        "WORLD_SIZE_SCALED",
        lambda case: f"the loss is off by the number of processes, {case.record.hardware.world_size}",
        always("The count is gathered from all processes and the loss is not scaled back, or the other way round."),
        _world_size_fix,
        _attached_world_size_fix,
    ),
)
