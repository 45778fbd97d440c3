"""No rule answers: the model refuses, the loss is no number, nothing fits, or too little was measured."""

from __future__ import annotations

from gacheck.core.figures import PassFigures
from gacheck.core.finding import PassFinding
from gacheck.core.verdict import Case
from gacheck.rules.facts import Flag
from gacheck.words.doors import Door, door_of, run_command
from gacheck.words.faults.fault import (
    Fault,
    Fix,
    always,
    location,
    named,
    nothing,
    own_function,
    own_step,
    untried_flag,
)
from gacheck.words.numbers import percent
from gacheck.words.reasons import in_own_words, why_it_failed

# Of the parameters whose gradients are another's, so many are named.
MOST_NAMED = 3

# From here on a share of a norm is told as a multiple of it.
NEARLY_ALL = 0.995

_SMALLER = {
    Door.RUN: "a smaller --effective-batch-size or --max-length needs less memory",
    Door.SMOKE: "a smaller --effective-batch-size or --max-length needs less memory",
    Door.CODE: "a smaller gradient_accumulation_steps needs less memory",
}
_FINER = {
    Door.RUN: "measure in float32 (without --dtype, --bf16), or with rows of more different lengths",
    Door.SMOKE: "measure in float32 (without --dtype, --bf16), or with rows of more different lengths",
}


# LOSS_KWARGS_REJECTED, NONFINITE


def _rejected(case: Case) -> str:
    name = case.record.model.class_name
    declared = f": {name} declares accepts_loss_kwargs = True" if case.flag.declared else ""
    return (
        "The Trainer hands num_items_in_batch to a forward that does not take it; training stops at the first "
        f"step{declared}."
    )


def _nonfinite(case: Case) -> str:
    first = case.first_nonfinite
    if first is None:
        return "training_step returned finite losses, and left gradients that are NaN or infinite behind."
    place = f" at k = {first.accumulation_steps}"
    return f"training_step returned NaN or infinity{place}. The Trainer's logging_nan_inf_filter hides that in its log."


def _nonfinite_otherwise(case: Case) -> str:
    if case.first_nonfinite is None:
        return "Look at what has a gradient that is not finite where the loss is: a root or a norm at zero, say."
    return "Set logging_nan_inf_filter=False to see it in the log; then look at the learning rate, the dtype, the data."


def _rejected_otherwise(case: Case) -> str:
    untried = untried_flag(case, Flag.OFF)
    name = case.record.model.class_name
    return untried or f"Let {name}.forward take num_items_in_batch, and return the summed loss / num_items_in_batch."


# UNEXPLAINED


def _unexplained_summary(case: Case) -> str:
    if _is_the_gradient(case):
        return "the gradient is not that of the loss"
    return "no rule explains the loss"


def _is_the_gradient(case: Case) -> bool:
    """Whether a rule explains the losses, right or wrong, and the gradient is another's."""
    forward = case.auto.forward if case.auto is not None else None
    explained = forward is not None and forward.rule is not None
    return case.affects == "gradient" or (explained and case.strangest_gradient is not None)


# What a sketch of a model's gradients may make of a norm.
NEAR = 0.1


def _norm(strange: PassFinding) -> float:
    """Return its norm over the right one's: as it was measured by itself, where a sketch is near that."""
    sketched, exact = strange.norm_ratio or 0.0, strange.grad_norm_ratio
    is_near = exact is not None and abs(exact - sketched) <= NEAR * sketched
    return exact if exact is not None and is_near else sketched


def _unexplained(case: Case) -> str:
    strange = case.strangest_gradient
    if _is_the_gradient(case) and strange is not None and strange.norm_ratio is not None:
        wanted = "the right one" if strange.forward is None or _is_right(strange) else "the one that the loss has"
        return (
            f"At k = {strange.record.accumulation_steps} the gradient before clipping has {_norm(strange):.3g} "
            f"times the norm of {wanted} and a cosine of {strange.cosine:.3f} to it.{_worst(strange)}{_hooks(case)}"
        )
    found = case.auto.forward if case.auto else None
    nearest = f" The nearest, {found.best.label}, is {percent(found.relative_error)} off." if found else ""
    own = own_function(case)
    place = f" ({own})" if own else location(case)
    return f"No known fault predicts what the micro-batches returned{place}.{nearest}"


def _is_right(finding: PassFinding) -> bool:
    return finding.forward is not None and finding.forward.rule is not None and finding.forward.rule.right


def _worst(finding: PassFinding) -> str:
    """Name the parameters whose gradients are furthest off, and by how much of their own."""
    worst = finding.worst_parameters
    if not worst:
        return ""
    named = ", ".join(f"{name} ({_share(relative)})" for name, relative in worst[:MOST_NAMED])
    return f" Furthest off: {named}."


def _share(relative: float) -> str:
    return f"by {percent(relative)}" if relative < NEARLY_ALL else f"by {relative:.2g} times its norm"


def _hooked(case: Case) -> tuple[str, ...]:
    """Return the parameters that are off and have a hook; all that have one, where none is known to be off."""
    hooked = case.record.oracle.hooked_parameters
    strange = case.strangest_gradient
    worst = [name for name, _ in strange.worst_parameters] if strange is not None else []
    return tuple(name for name in worst if name in hooked) or hooked


def _hooks(case: Case) -> str:
    hooked = _hooked(case)
    more = f" and {len(hooked) - 1} more" if len(hooked) > 1 else ""
    if _is_added_up(case):
        return " A hook of transformers sums these over the processes, with what earlier micro-batches left each time."
    return f" A hook can change the gradient of {hooked[0]}{more}." if hooked else ""


def _is_added_up(case: Case) -> bool:
    """Whether what is off is what tensor parallelism adds up, which it does right for one micro-batch a step."""
    hooked = _hooked(case)
    several = case.strangest_gradient is not None and case.strangest_gradient.record.accumulation_steps > 1
    return several and bool(hooked) and set(hooked) <= set(case.record.oracle.added_up_parameters)


def _unexplained_fix(case: Case) -> Fix:
    step = own_step(case)
    if _is_the_gradient(case):
        if _is_added_up(case):
            return Fix(
                "With tensor parallelism train at gradient_accumulation_steps=1, or spread the weights by FSDP2."
            )
        if _hooked(case):
            return Fix(f"Take the hook off {_hooked(case)[0]}, or let it return the gradient as it is.")
        # One that goes on to call the Trainer's can change gradients before or after that.
        if case.overrides.training_step is not None:
            where = named(case.overrides.training_step)
            return Fix(f"Look in {where} for what changes gradients between backward and the optimizer step.")
        return Fix(
            "Look for what changes gradients between backward and the optimizer step: hooks, a training_step of your "
            "own, a custom backward."
        )
    if step is not None:
        return Fix(f"Look in {step}: what it returns is no multiple of what compute_loss returns there.")
    return Fix(
        "Look at the line above; a loss of the model's own (a router loss, a penalty) may be added per micro-batch."
    )


# INCONCLUSIVE


def _failed(case: Case) -> list[PassFigures]:
    return [f for f in case.figures if case.auto and f.loss_kwargs == case.auto.flag and f.status == "failed"]


def _unseen(case: Case) -> tuple[str, ...]:
    """Return what kept something from being seen, in words."""
    told = case.attached.unseen if case.attached is not None else ()
    of_passes = [reason for p in case.auto.passes for reason in p.record.unseen] if case.auto is not None else []
    return tuple(dict.fromkeys(map(in_own_words, (*told, *of_passes))))


def _inconclusive(case: Case) -> tuple[str, str]:
    unseen = f"It could not be seen: {'; '.join(_unseen(case))}." if _unseen(case) else ""
    if case.attached is not None and (case.auto is None or case.auto.forward is None):
        return "nothing could be judged", unseen or "No optimizer step came to its end."
    if not case.record.passes:
        return "no pass has run yet", "Nothing was measured but the right answer."
    if case.auto is None:
        chosen = case.flag.auto or "unknown"
        return "the setting that the Trainer chooses was not measured", f"Its own choice of the flag is {chosen}."
    failed = _failed(case)
    if failed and case.auto.forward is None:
        return "no pass came to its end", f"{failed[0].id} {why_it_failed(failed[0])}."
    if case.auto.is_nothing:
        return "there is nothing to weigh", "Every loss and every gradient is 0, so nothing can be told apart."
    if not _repeats(case):
        return (
            "the training is not the same twice",
            "A micro-batch that it did twice from the same state did not give the same loss and gradient, so repeating "
            "micro-batches proves nothing here.",
        )
    if not _is_asked(case):
        return (
            "what the training means to minimise could not be asked",
            f"Its losses are no plain cross-entropy, and {own_step(case) or 'its training_step'} does not ask "
            "compute_loss once for each micro-batch, which would say what they are.",
        )
    if case.auto.forward is None or case.auto.forward.rule is not None:
        return _in_part(case, unseen)
    return (
        "the measurement is too coarse to tell the rules apart",
        f"Correct arithmetic already varies by {case.tolerance.loss:.1e} here; several rules fit within that.",
    )


def _in_part(case: Case, unseen: str) -> tuple[str, str]:
    """What was measured is right, and something was not."""
    failed = _failed(case)
    if failed or not case.record.complete:
        why = f"{failed[0].id} {why_it_failed(failed[0])}." if failed else "Some have not run yet."
        return "not every pass came to its end", f"What was measured is right. {why}"
    if case.gradient_unseen:
        return "the gradient was not seen", f"The losses are right. {unseen or 'Of the gradient nothing was measured.'}"
    return "not all could be measured", f"What was measured is right. {unseen}".strip()


def _repeats(case: Case) -> bool:
    return case.auto is None or all(p.record.own_loss.repeats is not False for p in case.auto.passes)


def _is_asked(case: Case) -> bool:
    asked = [p.record.own_loss.is_asked for p in case.auto.passes] if case.auto is not None else []
    explained = case.auto is not None and case.auto.forward is not None and case.auto.forward.explained
    return explained or not asked or any(each is not False for each in asked)


def _inconclusive_otherwise(case: Case) -> str:
    door = door_of(case)
    failed = _failed(case)
    if not _repeats(case):
        return "Let what is random in it draw from torch's, NumPy's or Python's own generator: those are put back."
    if not _is_asked(case):
        own = own_step(case) or "training_step"
        return f"Let {own} call self.compute_loss once for each micro-batch, and it can be asked."
    if case.auto is None and case.record.passes:
        return "add  --loss-kwargs on,off" if door is Door.RUN else "Measure the value that the Trainer chooses."
    if not case.record.complete:
        return "go on with  --resume" if door is Door.RUN else "Measure again."
    if failed:
        smaller = f"; {_SMALLER[door]}" if door in _SMALLER else ""
        return f"See above why it failed{smaller}."
    if case.gradient_unseen and _leaves_gradients_out(case):
        return "leave out --no-gradients"
    if case.auto is not None and case.auto.forward is not None and case.auto.forward.rule is None:
        return _FINER.get(door, "Measure in float32, or with rows of more different lengths.")
    command = run_command(case) if door is not Door.RUN else None
    return f"Measure the model by itself:  {command}" if command else "There is nothing to change in the training yet."


def _leaves_gradients_out(case: Case) -> bool:
    config = getattr(case.record, "config", None)
    return config is not None and not config.gradients and door_of(case) in (Door.RUN, Door.SMOKE)


FAULTS = (
    Fault(
        "LOSS_KWARGS_REJECTED",
        always("the model refuses num_items_in_batch"),
        _rejected,
        nothing,
        _rejected_otherwise,
    ),
    Fault(
        "NONFINITE",
        lambda case: (
            "some values are not finite" if case.first_nonfinite is None else "the loss is not a finite number"
        ),
        _nonfinite,
        nothing,
        _nonfinite_otherwise,
    ),
    Fault("UNEXPLAINED", _unexplained_summary, _unexplained, _unexplained_fix, always("")),
    Fault(
        "INCONCLUSIVE",
        lambda case: _inconclusive(case)[0],
        lambda case: _inconclusive(case)[1],
        nothing,
        _inconclusive_otherwise,
    ),
)
