"""The loss, or a part of it, is too large or too small by a factor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gacheck.core.verdict import Case
from gacheck.rules.facts import Flag
from gacheck.words.faults.fault import (
    NO_FIX,
    Fault,
    Fix,
    always,
    location,
    named,
    no_value_of_the_flag,
    nothing,
    overriding_loss,
    own_function,
    own_loss,
    own_step,
)
from gacheck.words.releases import DIVIDES_WITH_FLAG_OFF, SMOOTHER_USES_COUNT, is_in_transformers, is_older, upgrade

HAND_ON = "num_items_in_batch=num_items_in_batch"
STILL_MEANS = "Short micro-batches then still weigh too much."


@dataclass(frozen=True)
class Culprit:
    """What makes a fault, as far as it was read, and what to change there."""

    cause: str
    fix: Fix = NO_FIX


def _whatever(case: Case) -> str:
    return ", whatever the flag" if case.flag_changes_nothing else ""


# SCALED_BY_ACCUMULATION


def _scaled_summary(case: Case) -> str:
    if case.affects == "gradient":
        return "the gradient is k times too large, under a log that looks right"
    if case.affects == "log":
        return "the logged loss is k times too large, and the gradient is right"
    return "the loss is k times too large"


def _scaled(case: Case) -> Culprit:
    """Return what makes the loss k times too large: what was measured first, then what was read."""
    return next(_scaled_by(case))


def _scaled_by(case: Case) -> Iterator[Culprit]:
    if case.affects in ("gradient", "log"):
        yield _one_side(case)
    yield from _by_k_itself(case)
    yield from _by_own_function(case)
    if is_older(case, SMOOTHER_USES_COUNT):
        yield from _by_smoother(case)
    if case.flag_changes_nothing:
        yield from _by_own_step(case)
    if case.better_flag is not Flag.OFF:
        yield from _by_declaration(case)
    yield from _by_own_loss(case)
    yield from _by_smoother(case)
    if case.other is None:
        yield from _by_own_step(case)
    yield _by_the_model(case)


def _one_side(case: Case) -> Culprit:
    """Only the log is off, or only the gradient."""
    step = own_step(case)
    if case.affects == "log":
        if step is None:
            return Culprit("What is logged is k times the loss whose gradient is taken.")
        return Culprit(
            f"{step} returns k times the loss whose gradient it takes.",
            Fix(f"Return from {step} the loss on which it calls backward.", is_own=True),
        )
    if step is not None:
        return Culprit(
            f"{step} returns the right loss, and takes the gradient of k times as much.",
            Fix(f"Call backward in {step} on the loss that it returns.", is_own=True),
        )
    if is_older(case, DIVIDES_WITH_FLAG_OFF):
        return Culprit(
            "The Trainer divides by k the loss that it logs, and not the loss of which it takes the gradient.",
            Fix(upgrade(case, DIVIDES_WITH_FLAG_OFF, "which divides before backward")),
        )
    return Culprit("The loss that is logged is right; the gradient is that of k times as much.")


def _by_k_itself(case: Case) -> Iterator[Culprit]:
    if case.times_k:
        who = overriding_loss(case) or own_loss(case)
        yield Culprit(
            f"{who or 'The model'} multiplies by k itself: for the same micro-batch it returns k times what it returns "
            "at k = 1.",
            Fix(f"Take the factor k out of {who or 'the model'}.", is_own=who is not None),
        )


def _by_own_function(case: Case) -> Iterator[Culprit]:
    function = own_function(case)
    if function is not None and case.overrides.compute_loss is None:
        yield Culprit(
            "The Trainer takes what compute_loss_func returns as divided by num_items_in_batch already, whatever the "
            f"flag; {function} returns a mean per micro-batch.",
            Fix(f"Return from {function} the sum of the losses / num_items_in_batch.", is_own=True),
        )


def _by_smoother(case: Case) -> Iterator[Culprit]:
    is_read = case.record.oracle.overrides is not None
    if case.overrides.label_smoother or (case.record.setup.label_smoothing_factor and not is_read):
        yield Culprit(
            "The Trainer's label smoother takes a mean per micro-batch, and the Trainer does not divide by k: "
            "the flag tells it that the model did.",
            Fix(upgrade(case, SMOOTHER_USES_COUNT, "whose label smoother divides by num_items_in_batch")),
        )


def _by_own_step(case: Case) -> Iterator[Culprit]:
    step = own_step(case)
    if step is None:
        return
    if case.rule is not None and case.rule.name.startswith("token_mean*k"):
        yield Culprit(
            f"{step} takes the place of the Trainer's, and what comes out is k times the right loss{_whatever(case)}.",
            Fix(f"Take the factor k out of {step}.", is_own=True),
        )
    if "training_step" in case.overrides.drops_count and case.flag.used_num_items_in_batch:
        yield Culprit(
            f"{step} takes the place of the Trainer's. It does not hand num_items_in_batch on and does not divide by "
            f"k{_whatever(case)}: each micro-batch adds its own mean{location(case)}.",
            Fix(f"Hand the count on in {step}:  self.compute_loss(model, inputs, {HAND_ON})", is_own=True),
        )
    k = "current_gradient_accumulation_steps" if case.overrides.counts_micro_batches else None
    divide = (
        f"loss = loss / self.{k or 'args.gradient_accumulation_steps'}   # in {step}, before backward\n{STILL_MEANS}"
    )
    if "training_step" in case.overrides.drops_count and case.flag.used_num_items_in_batch is None:
        call = f"self.compute_loss(model, inputs, {HAND_ON})"
        divide = f"Hand the count on in {step}, if the model divides by it:  {call}\nOr  {divide}"
    yield Culprit(
        f"{step} takes the place of the Trainer's and does not divide by k{_whatever(case)}: each micro-batch adds its "
        f"own mean{location(case)}.",
        Fix(divide, is_own=True),
    )


def _by_declaration(case: Case) -> Iterator[Culprit]:
    if case.overrides.loss_is_scaled_for_ga is True:
        owner, who, is_on = scaling_owner(case), own_loss(case), case.auto is not None and case.auto.flag.is_on
        attempt = f"ry  {owner}.loss_is_scaled_for_ga = False:  the Trainer then divides by k. Not tried here."
        text = f"T{attempt}\n{STILL_MEANS}"
        if who is not None:
            given = "" if is_on else ", with the flag on"
            summed = f"Return from {who} the summed loss / num_items_in_batch{given}, divided by nothing else."
            text = f"{summed}\nOr t{attempt}\n{STILL_MEANS}"
        off = "" if is_on or case.flag_changes_nothing else " with the flag off"
        yield Culprit(
            f"{owner}.loss_is_scaled_for_ga = True tells the Trainer that the loss is divided by num_items_in_batch "
            f"already, so it does not divide by k{_whatever(case)}; {who or 'the model'} returns a mean per "
            f"micro-batch{off}{location(case)}.",
            Fix(text, is_own=case.better_flag is None),
        )


def scaling_owner(case: Case) -> str:
    """Name what sets loss_is_scaled_for_ga: a class, or the Trainer object itself."""
    owner = case.overrides.loss_is_scaled_set_by
    return named(owner) if owner is not None else "trainer"


def _by_own_loss(case: Case) -> Iterator[Culprit]:
    who, is_on = overriding_loss(case), case.auto is not None and case.auto.flag.is_on
    if who is None or not is_on:
        return
    given = f"The Trainer hands num_items_in_batch to {who} and does not divide by k"
    if case.is_own_computation:
        yield Culprit(
            f"{given}; {who} drops it and takes a mean per micro-batch{location(case)}.",
            Fix(f"Return from {who} the summed loss / num_items_in_batch, divided by nothing else.", is_own=True),
        )
    if "compute_loss" in case.overrides.drops_count:
        calls_own = "compute_loss" in case.overrides.calls_own
        call = f"super().compute_loss(model, inputs, return_outputs, {HAND_ON})"
        taker = "the Trainer's label smoother" if case.overrides.label_smoother else "the model"
        yield Culprit(
            f"{given}. {who} does not hand it on, so {taker} takes a mean per micro-batch{location(case)}.",
            Fix(f"Hand it on in {who}:  {call if calls_own else f'model(**inputs, {HAND_ON})'}", is_own=True),
        )


def _by_the_model(case: Case) -> Culprit:
    if case.auto is not None and not case.auto.flag.is_on:
        return Culprit(
            f"With the flag off nobody divides: each micro-batch adds its own mean{location(case)}.",
            Fix(upgrade(case, DIVIDES_WITH_FLAG_OFF, "which divides by k where the flag is off")),
        )
    name, frames = case.record.model.class_name, case.record.oracle.loss_location
    is_own = bool(frames) and frames[0].function == "forward" and not is_in_transformers(case)
    text = f"Return from {name}.forward the summed loss / num_items_in_batch, where that is given." if is_own else ""
    return Culprit(
        "The Trainer hands num_items_in_batch to the model and does not divide by k; "
        f"the model drops it and takes a mean per micro-batch{location(case)}.",
        Fix(text, is_own=is_own),
    )


# NOT_NORMALISED


def _sum_summary(case: Case) -> str:
    if case.rule is not None and case.rule.name.startswith("sum_over_k"):
        return "the loss is a sum over the tokens, divided by k alone"
    return "the loss is a sum over the tokens, divided by nothing"


def _where_it_is_summed(case: Case) -> str | None:
    """Name the code that returns the loss: the training's own, or a model of its own."""
    who = own_loss(case) or own_step(case)
    if who is not None:
        return who
    frames = case.record.oracle.loss_location
    own = bool(frames) and not is_in_transformers(case)
    return f"{case.record.model.class_name}.forward" if own else None


def _sum_cause(case: Case) -> str:
    who = _where_it_is_summed(case)
    said = f"{who} returns the sum of the losses{location(case)}." if who else f"The loss is a sum{location(case)}."
    return f"{said} It grows with every target token of the step."


def _sum_fix(case: Case) -> Fix:
    who = _where_it_is_summed(case)
    if who is None:
        return Fix()
    return Fix(f"Return from {who} the sum / num_items_in_batch; where that is None, the mean.", is_own=True)


# DIVIDED_TWICE


def _twice(case: Case) -> Culprit:
    step = own_step(case)
    divided = f"It is divided by num_items_in_batch{location(case)} and once more by k"
    if step is None and case.overrides.loss_is_scaled_for_ga is False:
        owner = scaling_owner(case)
        attempt = f"Try  {owner}.loss_is_scaled_for_ga = True:  the Trainer then does not divide by k. Not tried here."
        return Culprit(
            f"{divided}: {owner}.loss_is_scaled_for_ga = False tells the Trainer to{_whatever(case)}.",
            Fix(attempt, is_own=True),
        )
    # With the flag on the Trainer itself does not.
    is_on = case.auto is not None and case.auto.flag.is_on
    who = step or (overriding_loss(case) if is_on else None)
    if case.better_flag is None and who is not None:
        return Culprit(
            f"{divided}, in {who}{_whatever(case)}.",
            Fix(f"Take the division by k out of {who}: the loss is divided by num_items_in_batch.", is_own=True),
        )
    return Culprit(f"{divided}.")


# AUX_LOSS_SCALED


def _times_world(case: Case) -> bool:
    return case.rule is not None and case.rule.name.endswith("+aux_loss_sum*W") and "*W+" not in case.rule.name


def _auxiliary_summary(case: Case) -> str:
    if _times_world(case):
        world, k = case.record.hardware.world_size, max(case.record.accumulation_steps)
        return f"the auxiliary loss is {k * world} times too large, k times the number of processes"
    return "the auxiliary loss is k times too large"


def _auxiliary(case: Case) -> str:
    said = (
        "The model adds an auxiliary loss (a router's) to the loss of every micro-batch; the rest is divided by "
        f"num_items_in_batch, the auxiliary loss by nothing{location(case)}."
    )
    if _times_world(case):
        return (
            f"{said} The Trainer multiplies both by the number of processes: that makes up for a count over all of "
            "them in the rest, and for nothing in the auxiliary loss."
        )
    return said


def _auxiliary_fix(case: Case) -> Fix:
    divisor = "k times the number of processes" if _times_world(case) else "k"
    return Fix(
        f"Divide what the model adds{location(case)} by {divisor}, or its coefficient in the config: "
        "router_aux_loss_coef in transformers' mixtures of experts. The verdict stays with a smaller coefficient: that "
        "is then taken for what is meant.",
        is_own=True,
    )


# WORLD_SIZE_SCALED


def _world_size_otherwise(case: Case) -> str:
    attached = case.attached
    average = attached.setup.average_tokens_across_devices if attached is not None else None
    too_large = case.worst is not None and case.worst.ratio is not None and case.worst.ratio > 1
    wanted = not average if average is not None else not too_large
    who = own_step(case) or overriding_loss(case)
    look = f"Look in {who or 'the code'} for what multiplies or divides by the number of processes."
    if attached is not None and average is None:
        return look
    tried = f"Try average_tokens_across_devices={wanted} in the training arguments. It was not tried here."
    return f"{tried} {look}" if who else tried


def _fix_of(culprit: Callable[[Case], Culprit]) -> Callable[[Case], Fix]:
    return lambda case: culprit(case).fix


def _cause_of(culprit: Callable[[Case], Culprit]) -> Callable[[Case], str]:
    return lambda case: culprit(case).cause


FAULTS = (
    Fault("NOT_NORMALISED", _sum_summary, _sum_cause, _sum_fix, no_value_of_the_flag),
    Fault(
        "SCALED_BY_ACCUMULATION",
        _scaled_summary,
        _cause_of(_scaled),
        _fix_of(_scaled),
        lambda case: no_value_of_the_flag(case, Flag.OFF),
    ),
    Fault(
        "DIVIDED_TWICE",
        always("the loss is k times too small"),
        _cause_of(_twice),
        _fix_of(_twice),
        lambda case: no_value_of_the_flag(case, Flag.ON),
    ),
    Fault("AUX_LOSS_SCALED", _auxiliary_summary, _auxiliary, _auxiliary_fix, always("")),
    Fault(
        "WORLD_SIZE_SCALED",
        lambda case: f"the loss is off by the number of processes, {case.record.hardware.world_size}",
        always("The count is gathered from all processes and the loss is not scaled back, or the other way round."),
        nothing,
        _world_size_otherwise,
    ),
)
