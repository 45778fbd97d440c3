"""The words of a verdict: summary, cause and notes for each code; impact and remedy from their own modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gacheck.core.verdict import Case
from gacheck.words.impact import impact, percent
from gacheck.words.notes import certainty, notes
from gacheck.words.remedies import Remedy, fix, remedy

DOCS = "docs/faults.md"


@dataclass(frozen=True)
class Words:
    """The verdict in words. `fix` and `cause` are what the terminal shows; `notes` are qualifications."""

    summary: str
    cause: str
    impact: str
    fix: str
    remedy: Remedy
    notes: tuple[str, ...]
    docs: str


def word(case: Case) -> Words:
    """Put a case into words."""
    summary, cause = _STATEMENTS[case.code](case)
    if case.affects == "gradient" and case.code != "SCALED_BY_ACCUMULATION":
        summary = f"the log looks right, but in the gradient {summary}"
    return Words(
        summary=summary,
        cause=" ".join(part for part in (cause, certainty(case)) if part),
        impact=impact(case),
        fix=fix(case),
        remedy=remedy(case),
        notes=notes(case),
        docs=f"{DOCS}#{case.code.lower()}",
    )


def _location(case: Case) -> str:
    """Return ` (modeling_x.py:12)`, the line in the model that asked for its loss, if it was seen."""
    frames = case.record.oracle.loss_location
    return f" ({frames[0].file.rsplit('/', 1)[-1]}:{frames[0].line})" if frames else ""


def _ok(case: Case) -> tuple[str, str]:
    if max(case.record.config.gradient_accumulation_steps) == case.record.hardware.world_size == 1:
        return "the loss is right at gradient_accumulation_steps 1", "One micro-batch a step: nothing to weigh."
    on = case.auto is not None and case.auto.flag == "on"
    if on and case.record.attached is not None:
        cause = "The Trainer hands out num_items_in_batch, and the loss is divided by it."
    elif on and case.flag.used_num_items_in_batch:
        cause = "The Trainer hands num_items_in_batch to the model and the model uses it."
    elif on:
        cause = "The loss that comes out is the token-weighted mean, though the model drops num_items_in_batch."
    else:
        cause = "The Trainer divides by k, and the micro-batches weigh the same here."
    return "the loss does not depend on gradient_accumulation_steps", cause


def _other_objective(case: Case) -> tuple[str, str]:
    return (
        "right at every k, for a loss that is not plain cross-entropy",
        f"The loss is meant to differ from cross-entropy{_reason_to_differ(case)}. "
        "Held against what the same code returns for one micro-batch, it is token-weighted.",
    )


def _reason_to_differ(case: Case) -> str:
    factor = case.record.config.label_smoothing_factor
    return f" (label_smoothing_factor {factor:g})" if factor else ""


def _mean_of_means(case: Case) -> tuple[str, str]:
    if case.per_process:
        return (
            "processes with few target tokens weigh too much",
            "Each process divides by its own count, and the mean over the processes is taken: a target token in a "
            "process with few of them counts for more than one in a process with many.",
        )
    return (
        "short micro-batches weigh too much",
        "The loss is averaged per micro-batch, then over the k of them: a target token in a short micro-batch "
        f"counts for more than one in a long one{_location(case)}.{_needless_declaration(case)}",
    )


def _needless_declaration(case: Case) -> str:
    if case.flag.declared is False and case.better_flag == "on":
        name = case.record.model.class_name
        return f" {name} declares accepts_loss_kwargs = False, though it normalises rightly when it is asked to."
    return ""


def _unshifted(case: Case) -> tuple[str, str]:
    worst = case.worst
    share = f"{abs(1 - worst.ratio):.1%}".replace("%", " %") if worst and worst.ratio else "a little"
    return (
        f"the loss is {share} too small with these short rows",
        "num_items_in_batch counts every label, also the first of each row, which nothing predicts; the sum is "
        "then divided by too many tokens. The share is rows / label tokens: 0.05 % at 2,048 tokens a row.",
    )


def _scaled(case: Case) -> tuple[str, str]:
    if case.affects == "gradient":
        return (
            "the gradient is k times too large, under a log that looks right",
            "The Trainer divides by k the loss that it logs, and not the loss of which it takes the gradient.",
        )
    if case.auto is not None and case.auto.flag == "off" and not case.record.config.compute_loss_func:
        cause = f"With the flag off nobody divides: each micro-batch adds its own mean{_location(case)}."
    elif case.record.config.compute_loss_func:
        cause = (
            "The Trainer takes what compute_loss_func returns as divided by num_items_in_batch already, whatever the "
            f"flag; {case.record.config.compute_loss_func} returns a mean per micro-batch."
        )
    elif case.record.config.label_smoothing_factor:
        cause = (
            "The Trainer's label smoother takes a mean per micro-batch, and the Trainer does not divide by k: "
            "the flag tells it that the model did."
        )
    else:
        cause = (
            "The Trainer hands num_items_in_batch to the model and does not divide by k; "
            f"{_dropper(case)} drops it and takes a mean per micro-batch{_location(case)}."
        )
    return "the loss is k times too large", cause


def _dropper(case: Case) -> str:
    return f"{case.subclass}.compute_loss" if case.subclass else "the model"


def _divided_twice(case: Case) -> tuple[str, str]:
    return (
        "the loss is k times too small",
        f"It is divided by num_items_in_batch{_location(case)} and once more by k.",
    )


def _short_last_step(case: Case) -> tuple[str, str]:
    short = next((p for p in case.auto.passes if p.short), None) if case.auto else None
    counts = (
        f"{len(short.step.micro_batches)} of {short.step.accumulation_steps}"
        if short and short.step
        else "fewer than k"
    )
    return (
        "the last step of an epoch comes out too small",
        f"It has {counts} micro-batches, and is divided by k all the same.",
    )


def _misaligned(case: Case) -> tuple[str, str]:
    step = case.telling.step if case.telling else None
    counts = ""
    if step is not None and step.micro_batches[0].num_items_in_batch is not None:
        counts = f": {step.micro_batches[0].num_items_in_batch:g} instead of {step.num_target_tokens}"
    return (
        "the loss is divided by a count that is not this step's",
        f"num_items_in_batch counts neither the target tokens nor the labels of the optimizer step{counts}.",
    )


def _auxiliary(case: Case) -> tuple[str, str]:
    return (
        "the auxiliary loss is k times too large",
        "The model adds an auxiliary loss (a router's) to the loss of every micro-batch; the rest is divided by "
        f"num_items_in_batch, the auxiliary loss by nothing{_location(case)}.",
    )


def _world_size(case: Case) -> tuple[str, str]:
    return (
        f"the loss is off by the number of processes, {case.record.hardware.world_size}",
        "The count is gathered from all processes and the loss is not scaled back, or the other way round.",
    )


def _rejected(case: Case) -> tuple[str, str]:
    return (
        "the model refuses num_items_in_batch",
        "The Trainer hands num_items_in_batch to a forward that does not take it; training stops at the first step.",
    )


def _nonfinite(case: Case) -> tuple[str, str]:
    first = next((f for f in case.figures if f.nonfinite and case.auto and f.loss_kwargs == case.auto.flag), None)
    place = f" at k = {first.accumulation_steps}" if first else ""
    return (
        "the loss is not a finite number",
        f"training_step returned NaN or infinity{place}. The Trainer's logging_nan_inf_filter hides that in its log.",
    )


def _unexplained(case: Case) -> tuple[str, str]:
    found = case.auto.forward if case.auto else None
    nearest = f" The nearest, {found.best.label}, is {percent(found.relative_error)} off." if found else ""
    own = case.record.config.compute_loss_func
    place = f" ({own})" if own else _location(case)
    return (
        "no rule explains the loss",
        f"No known fault predicts what the micro-batches returned{place}.{nearest}",
    )


def _inconclusive(case: Case) -> tuple[str, str]:
    attached = case.record.attached
    if attached is not None and (case.auto is None or case.auto.forward is None):
        return "nothing could be judged", f"It could not be seen: {'; '.join(attached.unseen) or 'no step came'}."
    if not case.record.passes:
        return "no pass has run yet", "Nothing was measured but the right answer."
    if case.auto is None:
        chosen = {True: "on", False: "off", None: "unknown"}[case.flag.auto]
        return "the setting that the Trainer chooses was not measured", f"Its own choice of the flag is {chosen}."
    if case.auto.forward is not None and case.auto.forward.rule is not None:
        return "only k = 1 was measured", "The passes with several micro-batches a step failed, or have not run yet."
    failed = [f for f in case.figures if f.loss_kwargs == case.auto.flag and f.status == "failed"]
    if failed and case.auto.forward is None:
        return "no pass came to its end", f"{failed[0].id} ended with {failed[0].error}"
    return (
        "the measurement is too coarse to tell the rules apart",
        f"Correct arithmetic already varies by {case.tolerance.loss:.1e} here; several rules fit within that.",
    )


_STATEMENTS: dict[str, Callable[[Case], tuple[str, str]]] = {
    "OK": _ok,
    "OTHER_OBJECTIVE": _other_objective,
    "MEAN_OF_MEANS": _mean_of_means,
    "UNSHIFTED_TOKEN_COUNT": _unshifted,
    "SCALED_BY_ACCUMULATION": _scaled,
    "DIVIDED_TWICE": _divided_twice,
    "SHORT_LAST_STEP": _short_last_step,
    "MISALIGNED_COUNT": _misaligned,
    "AUX_LOSS_SCALED": _auxiliary,
    "WORLD_SIZE_SCALED": _world_size,
    "LOSS_KWARGS_REJECTED": _rejected,
    "NONFINITE": _nonfinite,
    "UNEXPLAINED": _unexplained,
    "INCONCLUSIVE": _inconclusive,
}
