"""No rule answers: the model refuses, the loss is no number, nothing fits, or too little was measured."""

from __future__ import annotations

from gacheck.core.verdict import Case
from gacheck.words.faults.fault import Fault, always, location, no_line, run_command
from gacheck.words.numbers import percent

_SMALLER = "a smaller --effective-batch-size or --max-length needs less memory"


def _nonfinite(case: Case) -> str:
    first = next((f for f in case.figures if f.nonfinite and case.auto and f.loss_kwargs == case.auto.flag), None)
    place = f" at k = {first.accumulation_steps}" if first else ""
    return f"training_step returned NaN or infinity{place}. The Trainer's logging_nan_inf_filter hides that in its log."


def _unexplained_summary(case: Case) -> str:
    if case.affects == "gradient":
        return "the gradient is not that of the loss"
    return "no rule explains the loss"


def _unexplained(case: Case) -> str:
    strange = case.strangest_gradient
    if case.affects == "gradient" and strange is not None:
        worst = next((name for name, _ in strange.worst_parameters), None)
        place = f"; it differs most at {worst}" if worst else ""
        return (
            f"At k = {strange.record.accumulation_steps} the gradient before clipping has {strange.norm_ratio:.3g} "
            f"times the norm of the right one and a cosine of {strange.cosine:.3f} to it{place}."
        )
    found = case.auto.forward if case.auto else None
    nearest = f" The nearest, {found.best.label}, is {percent(found.relative_error)} off." if found else ""
    own = case.record.setup.compute_loss_func
    place = f" ({own})" if own else location(case)
    return f"No known fault predicts what the micro-batches returned{place}.{nearest}"


def _inconclusive(case: Case) -> tuple[str, str]:
    attached = case.attached
    if attached is not None and (case.auto is None or case.auto.forward is None):
        return "nothing could be judged", f"It could not be seen: {'; '.join(attached.unseen) or 'no step came'}."
    if not case.record.passes:
        return "no pass has run yet", "Nothing was measured but the right answer."
    if case.auto is None:
        chosen = case.flag.auto or "unknown"
        return "the setting that the Trainer chooses was not measured", f"Its own choice of the flag is {chosen}."
    failed = [f for f in case.figures if f.loss_kwargs == case.auto.flag and f.status == "failed"]
    if failed and case.auto.forward is None:
        return "no pass came to its end", f"{failed[0].id} ended with {failed[0].error}"
    if case.auto.forward is not None and case.auto.forward.rule is not None:
        if not failed and case.record.complete:
            return "the gradient was not seen", "The losses are right. Of the gradient nothing could be measured."
        why = f"{failed[0].id} ended with {failed[0].error}" if failed else "Some have not run yet."
        return "not every pass came to its end", f"What was measured is right. {why}"
    return (
        "the measurement is too coarse to tell the rules apart",
        f"Correct arithmetic already varies by {case.tolerance.loss:.1e} here; several rules fit within that.",
    )


def _inconclusive_fix(case: Case) -> str:
    if case.auto is None:
        return "add  --loss-kwargs on,off"
    if not case.record.complete:
        return "go on with  --resume"
    if case.auto.forward is None:
        return f"see the error above; {_SMALLER}"
    if case.auto.forward.rule is not None:
        return "leave out --no-gradients" if case.gradient_unseen else f"see above why they failed; {_SMALLER}"
    return "measure in float32 (without --dtype, --bf16), or with rows of more different lengths"


FAULTS = (
    Fault(
        "LOSS_KWARGS_REJECTED",
        always("the model refuses num_items_in_batch"),
        always(
            "The Trainer hands num_items_in_batch to a forward that does not take it; training stops at the first step."
        ),
        no_line,
    ),
    Fault(
        "NONFINITE",
        always("the loss is not a finite number"),
        _nonfinite,
        always(
            "Set logging_nan_inf_filter=False to see it in the log; then look at the learning rate, the dtype, "
            "the data."
        ),
    ),
    Fault(
        "UNEXPLAINED",
        _unexplained_summary,
        _unexplained,
        lambda case: (
            "Look for what changes gradients between backward and the optimizer step: hooks, a training_step of your "
            "own, a custom backward."
            if case.affects == "gradient"
            else "Look at the line above; a loss of the model's own (a router loss, a penalty) may be added per "
            "micro-batch."
        ),
    ),
    Fault(
        "INCONCLUSIVE",
        lambda case: _inconclusive(case)[0],
        lambda case: _inconclusive(case)[1],
        _inconclusive_fix,
        lambda case: f"measure the model by itself:  {run_command(case)}",
    ),
)
