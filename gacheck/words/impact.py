"""What a fault does to the training, in words: the log, the gradient, or both; what hid it."""

from __future__ import annotations

from gacheck.core.figures import PassFigures, divide
from gacheck.core.verdict import Case
from gacheck.words.numbers import percent

# Optimizers whose step does not grow with the gradient; the Trainer's names begin so.
SCALE_FREE_OPTIMIZERS = ("adam", "lamb", "lion", "lomo", "adalomo", "adafactor", "stable_adamw", "schedule_free_adamw")

# Held-out losses closer than this, relative, are the same training for a person's purposes.
SAME_TRAINING = 0.01
# … and this close, there is nothing to tell.
NOTHING = 0.0005


def impact(case: Case) -> str:
    """Say what the fault did to gradient and training in this run."""
    worst, auto = case.worst, case.auto
    if worst is None or auto is None or worst.ratio is None:
        return "Not measured."
    if case.code == "NONFINITE":
        return _nonfinite_sentence(case)
    if case.code == "LABELS_NOT_SHIFTED":
        return "Gradients follow the log: both are of the wrong targets."
    if case.only_tails:
        return "Only the steps at the end of an epoch have this fault, in the log and in the gradient."
    if case.attached is not None and auto.backward is None and not any(p.gradients for p in auto.passes):
        return "The gradient was not seen."
    if case.code == "INCONCLUSIVE" and not case.gradient_unseen:
        return "Not judged."
    if case.affects == "none" or case.code == "INCONCLUSIVE":
        return "The gradient was not seen." if case.gradient_unseen else "Gradients agree too."
    parts = [_gradient_sentence(case, worst)]
    if case.affects in ("both", "gradient"):
        parts.append(_training_sentence(case, worst))
    if case.code == "SCALED_BY_ACCUMULATION" and case.affects != "gradient":
        parts.append(_last_step_sentence(case, worst))
    return " ".join(part for part in parts if part)


def _nonfinite_sentence(case: Case) -> str:
    if case.first_nonfinite is None:
        return "The losses are finite; the optimizer is handed gradients that are not."
    return "The gradients are not finite either, or not to be trusted."


def _gradient_sentence(case: Case, worst: PassFigures) -> str:
    if case.affects == "log":
        return "Only the logged number is wrong: the gradients are right."
    ratio, place = worst.grad_norm_ratio, f"at k={worst.accumulation_steps}"
    if case.telling is not None and case.telling.number:
        ratio, place = case.telling.grad_norm_ratio, f"in step {case.telling.number + 1}"
    # A sketch has a norm to a per cent or two.
    digits = 3 if case.attached is None else 2
    size = f" (norm {ratio:.{digits}f} of the right one {place})" if ratio is not None else ""
    if case.affects == "gradient":
        return f"The log looks right, the gradients are not{size}."
    if case.code == "SCALED_BY_ACCUMULATION":
        other = case.at(worst.accumulation_steps, worst.loss_kwargs.other)
        quotient = divide(worst.grad_norm, other.grad_norm) if other and other.status == "ok" else None
        if quotient is not None and case.better_flag:
            size = f" ({worst.loss_kwargs} / {case.better_flag} = {quotient:.3f})"
        return f"Gradients are k times too large too{size}."
    return f"Gradients are off in the same way{size}."


def _training_sentence(case: Case, worst: PassFigures) -> str:
    """Say what the wrong gradient did here, from the held-out loss after the passes."""
    setup = case.record.setup
    right = case.at(worst.accumulation_steps, case.better_flag) if case.better_flag else None
    if right is None and setup.per_device_train_batch_size is None:
        right = case.at(1, worst.loss_kwargs)  # with a batch that grows with k, k = 1 has seen less text
    if right is None or right is worst or not right.heldout_loss or worst.heldout_loss is None:
        return ""
    change = worst.heldout_loss / right.heldout_loss - 1
    if abs(change) > SAME_TRAINING:
        return (
            f"It changed the training: held-out loss {worst.heldout_loss:.3f} after the pass at "
            f"k={worst.accumulation_steps}, {right.heldout_loss:.3f} "
            f"{f'with the flag {right.loss_kwargs}' if case.better_flag else 'at k=1'}."
        )
    if case.code != "SCALED_BY_ACCUMULATION" and case.code != "DIVIDED_TWICE":
        if abs(change) < NOTHING:
            return f"After {len(worst.steps)} steps the held-out loss is the same."
        return f"After {len(worst.steps)} steps the held-out loss differs by {percent(abs(change))}."
    return _what_hid_it(case, worst.accumulation_steps)


def _what_hid_it(case: Case, k: int) -> str:
    optim, clip = case.record.setup.optim or "", case.record.setup.max_grad_norm
    hiders = []
    if optim.startswith(SCALE_FREE_OPTIMIZERS):
        hiders.append("AdamW" if optim.startswith("adamw") else optim)
    if clip and case.code == "SCALED_BY_ACCUMULATION":
        hiders.append(f"max_grad_norm {clip}")
    size = "large" if case.code == "SCALED_BY_ACCUMULATION" else "small"
    hid = f"{' and '.join(hiders)} hid it here; under" if hiders else "It did not show here; under"
    return f"{hid} plain SGD the step would be {k} times too {size}."


def _last_step_sentence(case: Case, worst: PassFigures) -> str:
    if case.better_flag is None or case.attached is not None or not worst.steps:
        return ""
    better = case.at(worst.accumulation_steps, case.better_flag)
    if better is None or not better.steps:
        return ""
    k, last = worst.accumulation_steps, worst.steps[-1]
    return (
        f"Last step's loss / {k} = {last.reported_loss / k:.3f}; "
        f"flag {case.better_flag}: {better.steps[-1].reported_loss:.3f}."
    )
