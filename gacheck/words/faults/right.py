"""Nothing is wrong: the loss is right, as cross-entropy or as what it is meant to be."""

from __future__ import annotations

from gacheck.core.verdict import Case
from gacheck.words.faults.fault import Fault, Fix, always
from gacheck.words.numbers import percent

# A change of the gradient norm below half a per cent is not worth a warning.
NOTABLE_CHANGE = 0.005

# From here on a factor says more than a percentage.
MANY_TIMES = 1.995


def _only_one_micro_batch(case: Case) -> bool:
    return max(case.record.accumulation_steps) == case.record.hardware.world_size == 1


def _ok_summary(case: Case) -> str:
    if _only_one_micro_batch(case):
        return "the loss is right at gradient_accumulation_steps 1"
    return "the loss does not depend on gradient_accumulation_steps"


def _ok_cause(case: Case) -> str:
    if _only_one_micro_batch(case):
        return "One micro-batch a step: nothing to weigh."
    if case.auto is None or not case.auto.flag.is_on:
        return "The Trainer divides by k, and the micro-batches weigh the same here."
    if case.attached is not None:
        return "The Trainer hands out num_items_in_batch, and the loss is divided by it."
    if case.flag.used_num_items_in_batch:
        return "The Trainer hands num_items_in_batch to the model and the model uses it."
    return "The loss that comes out is the token-weighted mean, though the model drops num_items_in_batch."


def _other_summary(case: Case) -> str:
    if _is_open(case):
        return "each micro-batch is weighed alike, by a loss that is not plain cross-entropy"
    return "right at every k, for a loss that is not plain cross-entropy"


def _is_open(case: Case) -> bool:
    """Whether what another objective is a mean over was asked, and could not be told: it is taken for the mildest."""
    rule = case.rule.name if case.rule is not None else ""
    units = {p.record.own_loss.unit for p in case.auto.passes} if case.auto is not None else set()
    several = case.auto is not None and any(p.record.accumulation_steps > 1 for p in case.auto.passes)
    return rule != "own_count_mean" and units == {None} and several


_OPEN = (
    " How the loss of several rows follows from those of each was not found: where it does not, as with weights or "
    "pairs, another k gives another gradient."
)


def _other_objective(case: Case) -> str:
    factor = case.record.setup.label_smoothing_factor
    reason = f" (label_smoothing_factor {factor:g})" if factor else ""
    return (
        f"The loss is meant to differ from cross-entropy{reason}. Held against what the same code returns for one "
        f"micro-batch, it is {_weighed(case)}.{_OPEN if _is_open(case) else ''}"
    )


def _weighed(case: Case) -> str:
    """Say what another objective is a mean over."""
    units = {p.record.own_loss.unit for p in case.auto.passes} if case.auto is not None else set()
    if "declared sum" in units:
        return "the sum that the model's config declares"
    if _is_open(case):
        return "a mean over the micro-batches"
    name = case.rule.name if case.rule is not None else ""
    if name in ("row_mean", "mean_of_means"):
        return {"row_mean": "a mean over rows", "mean_of_means": "a mean over the micro-batches"}[name]
    seen = (
        [m.observation for p in case.auto.passes for s in p.record.steps for m in s.micro_batches] if case.auto else []
    )
    scored = any(o.num_target_tokens for o in seen if o is not None)
    return "token-weighted" if scored else "a mean over rows"


def _none_needed(case: Case) -> Fix:
    other = case.other
    if other is None or other.codes[0] in ("OK", "OTHER_OBJECTIVE", "INCONCLUSIVE"):
        return Fix("None.")
    reason = {
        "MEAN_OF_MEANS": "short micro-batches would weigh too much",
        "SCALED_BY_ACCUMULATION": "the loss would be k times too large",
        "DIVIDED_TWICE": "the loss would be k times too small",
        "LOSS_KWARGS_REJECTED": "the model refuses the argument",
    }.get(other.codes[0], other.codes[0])
    return Fix(f"None. Do not set the flag to {other.flag.is_on} here: {reason}{_size_of_change(case)}.")


def _size_of_change(case: Case) -> str:
    """Say by how much the other value of the flag changes the gradient's norm, where that is notable."""
    worst = case.at(case.worst.accumulation_steps, case.other.flag) if case.worst and case.other else None
    change = worst.grad_norm_ratio if worst else None
    if worst is None or change is None or abs(change - 1) <= NOTABLE_CHANGE:
        return ""
    direction = "lower" if change < 1 else "higher"
    amount = f"{change:.2g} times as large" if change > MANY_TIMES else f"{percent(abs(change - 1))} {direction}"
    return f" (gradient norm {amount} at k={worst.accumulation_steps})"


FAULTS = (
    Fault("OK", _ok_summary, _ok_cause, _none_needed, always("None.")),
    Fault(
        "OTHER_OBJECTIVE",
        _other_summary,
        _other_objective,
        _none_needed,
        always("None."),
    ),
)
