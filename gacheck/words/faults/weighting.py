"""The micro-batches, or their tokens, are counted, weighed or scored wrongly."""

from __future__ import annotations

from gacheck.core.figures import PassFigures
from gacheck.core.verdict import Case
from gacheck.rules.facts import Flag
from gacheck.words.doors import Door, door_of, run_command
from gacheck.words.faults.fault import (
    Fault,
    Fix,
    Line,
    always,
    location,
    named,
    overriding_loss,
    own_function,
    own_loss,
    own_step,
    untried_flag,
)
from gacheck.words.faults.scale import HAND_ON, scaling_owner
from gacheck.words.numbers import percent
from gacheck.words.releases import COUNTS_THE_STEP, REAL_LENGTH, SHIFTED_COUNT, is_older, upgrade, upgrade_of_class

# Nobody notices a gradient that is off by less.
NOTABLE_NORM = 0.005
NOTABLE_COSINE = 0.005
MANY_TIMES = 1.995

SHIFTING = ("ForCausalLM", "ForConditionalGeneration")
"""How the classes end whose loss the Trainer knows to shift the labels."""


# MEAN_OF_MEANS


def _means_summary(case: Case) -> str:
    what = "processes with few target tokens" if case.per_process else "short micro-batches"
    worst = case.furthest_gradient
    return f"{what} weigh too much{_size(worst) if worst is not None else ''}"


def _size(figures: PassFigures) -> str:
    """Say what it does to the gradient: ` (gradient norm 12 % lower, cosine 0.98)`."""
    ratio, cosine, said = figures.grad_norm_ratio, figures.grad_cosine, []
    if ratio is not None and abs(ratio - 1) > NOTABLE_NORM:
        many = f"{ratio:.2g} times as large"
        some = f"{percent(abs(ratio - 1))} {'lower' if ratio < 1 else 'higher'}"
        said.append(f"norm {many if ratio > MANY_TIMES else some}")
    if cosine is not None and 1 - cosine > NOTABLE_COSINE:
        said.append(f"cosine {cosine:.2f}")
    return f" (gradient {', '.join(said)})" if said else ""


def _means_cause(case: Case) -> str:
    if case.per_process:
        return (
            "Each process divides by its own count, and the mean over the processes is taken: a target token in a "
            "process with few of them counts for more than one in a process with many."
        )
    if case.rule is not None and case.rule.name.startswith("row_mean"):
        said = "The mean of every micro-batch weighs by its share of the rows"
    else:
        said = "The loss is averaged per micro-batch, then over the k of them"
    return (
        f"{said}: a target token in a short micro-batch counts for more than one in a long one{location(case)}."
        f"{_who_leaves_the_count(case)}"
    )


def _who_leaves_the_count(case: Case) -> str:
    """Say why the count is not used, as far as it was read."""
    is_on = case.auto is not None and case.auto.flag.is_on
    if not is_on:
        attached = case.attached
        if attached is not None and attached.setup.chosen_loss_kwargs is Flag.ON:
            return " The training's own code set the flag to False; the Trainer had chosen True."
        if case.flag.declared is False and case.better_flag is Flag.ON:
            name = case.record.model.class_name
            return f" {name} declares accepts_loss_kwargs = False, though it normalises rightly when it is asked to."
        return ""
    dropper, _ = _dropped(case)
    if dropper is not None:
        return f" {dropper} does not hand num_items_in_batch on."
    if case.overrides.loss_is_scaled_for_ga is False:
        return f" {scaling_owner(case)}.loss_is_scaled_for_ga = False lets the Trainer divide by k."
    return ""


def _dropped(case: Case) -> tuple[str | None, str]:
    """Name what leaves the count behind that it was given, and the call that hands it on."""
    seen = case.overrides
    if seen.training_step is not None and "training_step" in seen.drops_count:
        calls_own = "training_step" in seen.calls_own
        call = "super().training_step(model, inputs, num_items_in_batch)"
        return named(seen.training_step), call if calls_own else f"self.compute_loss(model, inputs, {HAND_ON})"
    if seen.compute_loss is not None and "compute_loss" in seen.drops_count and not case.is_own_computation:
        calls_own = "compute_loss" in seen.calls_own
        call = f"super().compute_loss(model, inputs, return_outputs, {HAND_ON})"
        return named(seen.compute_loss), call if calls_own else f"model(**inputs, {HAND_ON})"
    return None, ""


def _averages_tokens(case: Case) -> bool | None:
    """Return `average_tokens_across_devices`; None in one process, or in a release without it."""
    arguments = case.record.hardware if case.attached is None else case.attached.setup
    return arguments.average_tokens_across_devices


def _means_fix(case: Case) -> Fix:
    if case.per_process:
        # In a release without the argument there is none to set.
        if _averages_tokens(case) is False:
            return Fix("average_tokens_across_devices=True in the training arguments: all processes share one count.")
        return Fix("Let all processes divide by one count, that of all of them.")
    dropper, call = _dropped(case)
    if dropper is not None and case.auto is not None and case.auto.flag.is_on:
        # What is divided by the count is not to be divided by k as well.
        besides = ""
        if own_step(case) is not None:
            besides = f", and do not divide by k in {own_step(case)}"
        elif case.overrides.loss_is_scaled_for_ga is False:
            besides = f", and take {scaling_owner(case)}.loss_is_scaled_for_ga = False out"
        return Fix(f"Hand it on in {dropper}{besides}:  {call}", is_own=True)
    who = own_loss(case) or own_step(case)
    if who is None:
        return Fix()
    given = ", with the flag on" if case.auto is not None and not case.auto.flag.is_on else ""
    told = ""
    if case.overrides.loss_is_scaled_for_ga is False:
        told = f" {scaling_owner(case)}.loss_is_scaled_for_ga = True then says so."
    divided = f"the summed loss / num_items_in_batch{given}, divided by nothing else"
    return Fix(f"Return from {who} {divided}.{told}", is_own=True)


def _means_otherwise(case: Case) -> str:
    other, auto = case.other, case.auto.flag if case.auto is not None else Flag.OFF
    pack = f"keep {auto}, and pack rows to equal length"
    upgrade = upgrade_of_class(case)
    if other is not None and other.codes[0] == "SCALED_BY_ACCUMULATION":
        rest = f"{upgrade} Until then k" if upgrade else "K"
        return (
            f"No one-line fix: {other.flag} is k times too large here, {auto} weighs short micro-batches too much. "
            f"{rest}{pack[1:]}."
        )
    if upgrade:
        return f"{upgrade} Until then {pack}."
    untried = untried_flag(case, Flag.ON)
    command = run_command(case) if door_of(case) is not Door.RUN else None
    if untried:
        return f"{untried} Both values of the flag are tried by  {command}" if command else untried
    return f"{pack[0].upper()}{pack[1:]}."


# UNSHIFTED_TOKEN_COUNT


def _unshifted_summary(case: Case) -> str:
    worst = case.worst
    share = f"{abs(1 - worst.ratio):.1%}".replace("%", " %") if worst and worst.ratio else "a little"
    return f"the loss is {share} too small with these {'short ' if case.attached is None else ''}rows"


def _unshifted_cause(case: Case) -> str:
    return (
        "num_items_in_batch counts every label, also the first of each row, which nothing predicts; the sum is then "
        f"divided by too many tokens.{_why_it_counts_them(case)} The share is rows / label tokens: 0.05 % at 2,048 "
        "tokens a row."
    )


def _why_it_counts_them(case: Case) -> str:
    samples = case.overrides.get_batch_samples
    if samples is not None:
        return f" {named(samples)} takes the place of the Trainer's count."
    if _has_no_loss_type(case) and not is_older(case, SHIFTED_COUNT):
        return f" The Trainer counts after the shift by loss_type, which is None of {case.record.model.class_name}."
    return ""


def _has_no_loss_type(case: Case) -> bool:
    """Whether the Trainer does not know of the model that its loss shifts the labels."""
    model = case.record.model
    return bool(model.has_loss_type) and model.loss_type is None and not model.class_name.endswith(SHIFTING)


def _unshifted_fix(case: Case) -> Fix:
    if case.overrides.get_batch_samples is not None:
        return Fix(f"Count labels[..., 1:] in {named(case.overrides.get_batch_samples)}.", is_own=True)
    new = upgrade(case, SHIFTED_COUNT, "which counts labels after the shift")
    if not _has_no_loss_type(case):
        return Fix(f"{new} With long rows it hardly matters." if new else "")
    line = _loss_type_line(case)
    if new:
        return Fix(f"{new} There the Trainer goes by loss_type:  {line.script}   # {line.when}")
    return Fix(f"{line.script}   # {line.when}\nThe Trainer then counts labels after the shift.", line=line)


def _loss_type_line(case: Case) -> Line:
    model = "model" if case.record.model.adapter is None else "model.get_base_model()"
    return Line(
        script=f'{model}.loss_type = "ForCausalLM"',
        model_class='self.loss_type = "ForCausalLM"  # in {name}.__init__, after super().__init__',
        when="before the Trainer is made",
    )


# LABELS_NOT_SHIFTED


def _alignment_cause(case: Case) -> str:
    if _is_smoothed(case):
        return (
            "The Trainer's label smoother shifts the labels for the classes in transformers' list of causal language "
            f"models alone, and {case.record.model.class_name} is not in it: each label is scored at its own position, "
            "where the model has just read it."
        )
    who = own_loss(case) or "The loss that is trained on"
    return (
        f"The model's own loss scores the label of the next position. {who} scores the label of the same "
        f"position{location(case)}, which the model has just read."
    )


def _is_smoothed(case: Case) -> bool:
    is_read = case.record.oracle.overrides is not None
    return case.overrides.label_smoother or bool(case.record.setup.label_smoothing_factor and not is_read)


def _alignment_fix(case: Case) -> Fix:
    if _is_smoothed(case):
        return Fix("Set label_smoothing_factor=0.0 in the training arguments: the model's own loss shifts the labels.")
    where = own_loss(case) or own_step(case)
    return Fix(f"Score logits[..., :-1, :] against labels[..., 1:]{f' in {where}' if where else ''}.", is_own=True)


# SHORT_LAST_STEP, MISALIGNED_COUNT


def _short_last_step(case: Case) -> str:
    short = next((p for p in case.auto.passes if p.short), None) if case.auto else None
    counts = "fewer than k"
    if short is not None and short.step is not None:
        counts = f"{len(short.step.micro_batches)} of {short.step.accumulation_steps}"
    step = own_step(case)
    return f"It has {counts} micro-batches, and is divided by k all the same{f', in {step}' if step else ''}."


def _short_last_step_fix(case: Case) -> Fix:
    step = own_step(case)
    if step is not None:
        divisor = "self.current_gradient_accumulation_steps, the micro-batches of the step"
        name = divisor if case.overrides.counts_micro_batches else "the micro-batches that the step has"
        return Fix(f"Divide in {step} by {name}.", is_own=True)
    return Fix(upgrade(case, REAL_LENGTH, "which divides a short step by its own micro-batches"))


def _misaligned(case: Case) -> str:
    step = case.telling.step if case.telling else None
    counts = ""
    if step is not None and step.micro_batches[0].num_items_in_batch is not None:
        counts = f": {step.micro_batches[0].num_items_in_batch:g} instead of {step.num_target_tokens}"
    samples = case.overrides.get_batch_samples
    if step is not None and samples is not None and step.own_count is not None:
        passed = step.micro_batches[0].num_items_in_batch
        return f"num_items_in_batch is {passed:g}, which is not what {named(samples)} counts in these micro-batches."
    if _is_divided_among_processes(case):
        return (
            f"The Trainer divides num_items_in_batch by the number of processes that have the same rows{counts}. "
            "Without average_tokens_across_devices it was not added up over them."
        )
    by = f", as {named(samples)} counts them" if samples is not None else ""
    if _leaves_first_labels_out(case):
        before = ", predicted by what the adapter puts before it" if case.record.model.adapter is not None else ""
        return f"num_items_in_batch leaves out the first label of each row{counts}{by}. It is scored too{before}."
    return f"num_items_in_batch counts neither the target tokens nor the labels of the optimizer step{counts}{by}."


def _leaves_first_labels_out(case: Case) -> bool:
    """Whether what is scored is what is counted, and one label a row besides."""
    step = case.telling.step if case.telling else None
    count = step.micro_batches[0].num_items_in_batch if step is not None else None
    return step is not None and count is not None and 0 < step.num_rows == step.num_target_tokens - count


def _is_divided_among_processes(case: Case) -> bool:
    """Whether a process's own count is divided by the processes that have the same rows, as if all had added theirs."""
    step, world = case.telling.step if case.telling else None, case.record.hardware.world_size
    count = step.micro_batches[0].num_items_in_batch if step is not None else None
    if step is None or not count or _averages_tokens(case) is not False or case.overrides.get_batch_samples:
        return False
    times = step.num_target_tokens / count
    return times > 1 and times.is_integer() and world == times * step.num_processes


def _misaligned_fix(case: Case) -> Fix:
    samples = case.overrides.get_batch_samples
    if _is_divided_among_processes(case):
        return Fix("average_tokens_across_devices=True in the training arguments: the count is then added up first.")
    if samples is None and _leaves_first_labels_out(case):
        return Fix("Set the first label of each row to -100: it is then neither scored nor counted.", is_own=True)
    if samples is None:
        ends = "which counts the batches of the step also at the end of an epoch"
        return Fix(upgrade(case, COUNTS_THE_STEP, ends) if case.only_tails else "")
    step = case.telling.step if case.telling else None
    if step is not None and step.own_count is not None:
        return Fix(f"Count in {named(samples)} what is in the batches that it returns, and nothing else.", is_own=True)
    labels = "labels[..., 1:]" if case.record.oracle.shifts else "the labels"
    return Fix(f"Count in {named(samples)} {labels} of the batches that it returns, and no others.", is_own=True)


def _misaligned_otherwise(case: Case) -> str:
    if case.only_tails:
        return "Choose the rows so that k micro-batches divide an epoch."
    who = overriding_loss(case) or own_step(case) or own_function(case)
    place = f" in {named(who)}" if who else ""
    return f"Look{place} for what divides by another count than that of the step's own batches."


FAULTS = (
    Fault(
        "LABELS_NOT_SHIFTED",
        always("the model learns to repeat its input: each label is scored at its own position"),
        _alignment_cause,
        _alignment_fix,
        always(""),
    ),
    Fault("MEAN_OF_MEANS", _means_summary, _means_cause, _means_fix, _means_otherwise),
    Fault(
        "UNSHIFTED_TOKEN_COUNT",
        _unshifted_summary,
        _unshifted_cause,
        _unshifted_fix,
        always("None is known for this class and release. With long rows it hardly matters."),
    ),
    Fault(
        "SHORT_LAST_STEP",
        always("the last step of an epoch comes out too small"),
        _short_last_step,
        _short_last_step_fix,
        always("Choose the rows so that k micro-batches divide an epoch."),
    ),
    Fault(
        "MISALIGNED_COUNT",
        always("the loss is divided by a count that is not this step's"),
        _misaligned,
        _misaligned_fix,
        _misaligned_otherwise,
    ),
)
