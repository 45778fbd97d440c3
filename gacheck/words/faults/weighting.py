"""The micro-batches, or their tokens, are counted or weighed wrongly."""

from __future__ import annotations

from gacheck.core.verdict import Case
from gacheck.words.faults.fault import Fault, always, auto_flag, location, run_command


def _means_summary(case: Case) -> str:
    if case.per_process:
        return "processes with few target tokens weigh too much"
    return "short micro-batches weigh too much"


def _means_cause(case: Case) -> str:
    if case.per_process:
        return (
            "Each process divides by its own count, and the mean over the processes is taken: a target token in a "
            "process with few of them counts for more than one in a process with many."
        )
    return (
        "The loss is averaged per micro-batch, then over the k of them: a target token in a short micro-batch "
        f"counts for more than one in a long one{location(case)}.{_needless_declaration(case)}"
    )


def _needless_declaration(case: Case) -> str:
    if case.flag.declared is False and case.better_flag is not None and case.better_flag.is_on:
        name = case.record.model.class_name
        return f" {name} declares accepts_loss_kwargs = False, though it normalises rightly when it is asked to."
    return ""


def _means_fix(case: Case) -> str:
    other, auto = case.other, auto_flag(case)
    upgrade = "Upgrade to a release whose class uses num_items_in_batch"
    if other is None:
        return f"{upgrade}, or pack rows to equal length."
    if other.codes[0] == "SCALED_BY_ACCUMULATION":
        return (
            f"No one-line fix: {other.flag} is k times too large here, {auto} weighs short micro-batches too much. "
            f"{upgrade}, or keep {auto}."
        )
    return f"{upgrade}, or keep {auto}."


def _attached_means_fix(case: Case) -> str:
    if case.per_process:
        return "average_tokens_across_devices=True in the training arguments: all processes then share one count."
    return (
        f"Try both values of the flag:  {run_command(case)}\n"
        "Where the model's class uses num_items_in_batch, the flag on is right; else pack rows to equal length."
    )


def _unshifted_summary(case: Case) -> str:
    worst = case.worst
    share = f"{abs(1 - worst.ratio):.1%}".replace("%", " %") if worst and worst.ratio else "a little"
    return f"the loss is {share} too small with these short rows"


def _short_last_step(case: Case) -> str:
    short = next((p for p in case.auto.passes if p.short), None) if case.auto else None
    counts = "fewer than k"
    if short is not None and short.step is not None:
        counts = f"{len(short.step.micro_batches)} of {short.step.accumulation_steps}"
    return f"It has {counts} micro-batches, and is divided by k all the same."


def _misaligned(case: Case) -> str:
    step = case.telling.step if case.telling else None
    counts = ""
    if step is not None and step.micro_batches[0].num_items_in_batch is not None:
        counts = f": {step.micro_batches[0].num_items_in_batch:g} instead of {step.num_target_tokens}"
    return f"num_items_in_batch counts neither the target tokens nor the labels of the optimizer step{counts}."


FAULTS = (
    Fault(
        "LABELS_NOT_SHIFTED",
        always("the model learns to repeat its input: each label is scored at its own position"),
        always(
            "The model's own loss scores the label of the next position; the loss that is trained on scores that of "
            "the same position, which the model has just read."
        ),
        always("Score logits[..., :-1, :] against labels[..., 1:]."),
    ),
    Fault("MEAN_OF_MEANS", _means_summary, _means_cause, _means_fix, _attached_means_fix),
    Fault(
        "UNSHIFTED_TOKEN_COUNT",
        _unshifted_summary,
        always(
            "num_items_in_batch counts every label, also the first of each row, which nothing predicts; the sum is "
            "then divided by too many tokens. The share is rows / label tokens: 0.05 % at 2,048 tokens a row."
        ),
        always(
            "Upgrade transformers: later releases count labels after the shift, for classes whose loss_type is "
            "ForCausalLM (set it in a class of your own). With long rows it hardly matters."
        ),
    ),
    Fault(
        "SHORT_LAST_STEP",
        always("the last step of an epoch comes out too small"),
        _short_last_step,
        always("Upgrade transformers, or choose the rows so that k micro-batches divide an epoch."),
    ),
    Fault(
        "MISALIGNED_COUNT",
        always("the loss is divided by a count that is not this step's"),
        _misaligned,
        always("Upgrade transformers: the count and the step have to cover the same batches."),
    ),
)
