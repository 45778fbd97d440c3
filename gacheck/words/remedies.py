"""What mends a fault, in words and code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gacheck.core.verdict import Case
from gacheck.rules.facts import Flag
from gacheck.words.impact import percent

# A change of the gradient norm below half a per cent is not worth a warning.
NOTABLE_CHANGE = 0.005

# From here on a factor says more than a percentage.
MANY_TIMES = 1.995


@dataclass(frozen=True)
class Remedy:
    """The mend in the four places where a user may be; None where there is none."""

    trainer: str | None
    model_class: str | None
    llamafactory: str | None
    trl: str | None


def fix(case: Case) -> str:
    """Say what mends it; the first line is code where a line of code does. Tried in this run where it can be."""
    if case.better_flag is not None:
        tried = case.at(case.worst.accumulation_steps, case.better_flag) if case.worst else None
        result = (
            f" Tried above (flag {case.better_flag}): {tried.reported_loss:.3f} at k={tried.accumulation_steps}."
            if tried and tried.reported_loss is not None
            else ""
        )
        left = f" Left over: {_leftover(case.remaining)}." if case.remaining else ""
        return "\n".join(filter(None, (f"{_trainer_line(case)}   # before trainer.train()", (result + left).strip())))
    if case.record.attached is not None and case.code in _ATTACHED_FIXES:
        return _ATTACHED_FIXES[case.code](case)
    return _FIXES.get(case.code, _no_line)(case)


def _suggested_flag(case: Case) -> Flag | None:
    """Return the value that mends it: tried, or, where only one value can be seen, the one that the rule asks for."""
    if case.better_flag is not None or case.record.attached is None or case.auto is None:
        return case.better_flag
    if case.code == "SCALED_BY_ACCUMULATION" and case.auto.flag == "on" and not case.record.config.compute_loss_func:
        return "off"
    return "on" if case.code == "DIVIDED_TWICE" and case.auto.flag == "off" else None


def _trainer_line(case: Case) -> str:
    return f"trainer.model_accepts_loss_kwargs = {_suggested_flag(case) == 'on'}"


def _leftover(code: str | None) -> str:
    return {
        "MEAN_OF_MEANS": "mean of means",
        "UNSHIFTED_TOKEN_COUNT": "counted before the shift",
        "SHORT_LAST_STEP": "the last step of an epoch",
    }.get(code or "", code or "")


def _none_needed(case: Case) -> str:
    other = case.other
    if other is None or other.codes[0] in ("OK", "OTHER_OBJECTIVE", "INCONCLUSIVE"):
        return "None."
    value = other.flag == "on"
    worst = case.at(case.worst.accumulation_steps, other.flag) if case.worst else None
    change = worst.grad_norm_ratio if worst else None
    size = ""
    if change is not None and worst is not None and abs(change - 1) > NOTABLE_CHANGE:
        direction = "lower" if change < 1 else "higher"
        amount = f"{change:.2g} times as large" if change > MANY_TIMES else f"{percent(abs(change - 1))} {direction}"
        size = f" (gradient norm {amount} at k={worst.accumulation_steps})"
    reason = {
        "MEAN_OF_MEANS": "short micro-batches would weigh too much",
        "SCALED_BY_ACCUMULATION": "the loss would be k times too large",
        "LOSS_KWARGS_REJECTED": "the model refuses the argument",
    }.get(other.codes[0], other.codes[0])
    return f"None. Do not set the flag to {value} here: {reason}{size}."


def _attached_flag_fix(case: Case) -> str:
    """Give the line that the rule asks for, which a training that is only watched cannot try."""
    if _suggested_flag(case) is None:
        return _no_line(case) if case.record.config.compute_loss_func else _owner_fix(case)
    own = f" Or {_owner_fix(case)[0].lower()}{_owner_fix(case)[1:]}" if case.subclass else ""
    return f"{_trainer_line(case)}   # before trainer.train()\nNot tried here: attach again to see it.{own}"


def _owner_fix(case: Case) -> str:
    if case.subclass:
        return f"Divide in {case.subclass}.compute_loss: the summed loss / num_items_in_batch, and by nothing else."
    return "Upgrade transformers, or train with gradient_accumulation_steps 1."


def _attached_means_fix(case: Case) -> str:
    if case.per_process:
        return "average_tokens_across_devices=True in the training arguments: all processes then share one count."
    return (
        f"Try both values of the flag:  {_run(case)}\n"
        "Where the model's class uses num_items_in_batch, the flag on is right; else pack rows to equal length."
    )


def _run(case: Case) -> str:
    """Return the command that measures the same model, or one of its type where it has no name."""
    model = case.record.model
    return f"gacheck run --model {model.name if model.name != model.class_name else f'tiny:{model.model_type}'}"


def _attached_world_size_fix(case: Case) -> str:
    attached = case.record.attached
    average = attached.average_tokens_across_devices if attached is not None else None
    own = f" Or take the number of processes out of {case.subclass}.compute_loss." if case.subclass else ""
    if average is None:
        return f"Upgrade transformers.{own}"
    return f"Try average_tokens_across_devices={not average} in the training arguments, or upgrade transformers.{own}"


def _attached_inconclusive_fix(case: Case) -> str:
    return f"measure the model by itself:  {_run(case)}"


_ATTACHED_FIXES: dict[str, Callable[[Case], str]] = {
    "SCALED_BY_ACCUMULATION": _attached_flag_fix,
    "DIVIDED_TWICE": _attached_flag_fix,
    "MEAN_OF_MEANS": _attached_means_fix,
    "WORLD_SIZE_SCALED": _attached_world_size_fix,
    "INCONCLUSIVE": _attached_inconclusive_fix,
}


def _mean_of_means_fix(case: Case) -> str:
    other = case.other
    if other is None:
        return "Upgrade to a release whose class uses num_items_in_batch, or pack rows to equal length."
    if other.codes[0] == "SCALED_BY_ACCUMULATION":
        return (
            f"No one-line fix: {other.flag} is k times too large here, {_auto(case)} weighs short micro-batches too "
            f"much. Upgrade to a release whose class uses num_items_in_batch, or keep {_auto(case)}."
        )
    return f"Upgrade to a release whose class uses num_items_in_batch, or keep {_auto(case)}."


def _unshifted_fix(case: Case) -> str:
    return (
        "Upgrade transformers: later releases count labels after the shift, for classes whose loss_type is ForCausalLM "
        "(set it in a class of your own). With long rows it hardly matters."
    )


def _short_last_step_fix(case: Case) -> str:
    return "Upgrade transformers, or choose the rows so that k micro-batches divide an epoch."


def _misaligned_fix(case: Case) -> str:
    return "Upgrade transformers: the count and the step have to cover the same batches."


def _world_size_fix(case: Case) -> str:
    value = "False" if case.worst and case.worst.ratio and case.worst.ratio > 1 else "True"
    return f"Try average_tokens_across_devices={value} in the training arguments, or upgrade transformers."


def _auto(case: Case) -> str:
    return case.auto.flag if case.auto else "it"


def _no_line(case: Case) -> str:
    if case.record.config.compute_loss_func:
        return "Divide by num_items_in_batch in the compute_loss_func: sum of the losses / num_items_in_batch."
    other = case.other
    if other is None:
        return "The other value of the flag was not tried: add  --loss-kwargs on,off"
    why = f" (flag {other.flag}: {other.codes[0]})"
    return f"No value of the flag mends it{why}. Upgrade transformers, or train with gradient_accumulation_steps 1."


def _inconclusive_fix(case: Case) -> str:
    if case.auto is None:
        return "add  --loss-kwargs on,off"
    if not case.record.complete:
        return "go on with  --resume"
    if case.auto.forward is not None and case.auto.forward.rule is not None:
        return "see above why they failed; a smaller --effective-batch-size or --max-length needs less memory"
    if case.auto.forward is None:
        return "see the error above; a smaller --effective-batch-size or --max-length needs less memory"
    return "measure in float32 (without --dtype, --bf16), or with rows of more different lengths"


def _unexplained_fix(case: Case) -> str:
    return "Look at the line above; a loss of the model's own (a router loss, a penalty) may be added per micro-batch."


def _nonfinite_fix(case: Case) -> str:
    return "Set logging_nan_inf_filter=False to see it in the log; then look at the learning rate, the dtype, the data."


_FIXES: dict[str, Callable[[Case], str]] = {
    "OK": _none_needed,
    "OTHER_OBJECTIVE": _none_needed,
    "MEAN_OF_MEANS": _mean_of_means_fix,
    "UNSHIFTED_TOKEN_COUNT": _unshifted_fix,
    "SHORT_LAST_STEP": _short_last_step_fix,
    "MISALIGNED_COUNT": _misaligned_fix,
    "WORLD_SIZE_SCALED": _world_size_fix,
    "NONFINITE": _nonfinite_fix,
    "UNEXPLAINED": _unexplained_fix,
    "INCONCLUSIVE": _inconclusive_fix,
}


def remedy(case: Case) -> Remedy:
    """Give the line for each place where a user may be."""
    flag = _suggested_flag(case)
    if flag is None:
        return Remedy(None, None, None, None)
    value = flag == "on"
    line = _trainer_line(case)
    name = case.record.model.class_name
    is_read = case.record.model.declaration_is_read is not False
    return Remedy(
        trainer=f"{line}  # before trainer.train()",
        model_class=f"{name}.accepts_loss_kwargs = {value}  # before the Trainer is made" if is_read else None,
        llamafactory=f"in llamafactory/train/pt/workflow.py, before trainer.train():  {line}",
        trl=f"{line}  # an SFTTrainer is a Trainer: before trainer.train()",
    )
