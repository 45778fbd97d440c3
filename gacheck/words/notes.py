"""What stands beside a verdict: how sure it is, what was compared, what limits it, what else was found."""

from __future__ import annotations

from collections.abc import Iterator

from gacheck.core.verdict import Case
from gacheck.record.checksum import Integrity
from gacheck.record.parts import Record
from gacheck.rules.matching import SLACK, Match
from gacheck.rules.table import OptimizerStep, Rule
from gacheck.words.numbers import percent, power, told_apart
from gacheck.words.reasons import in_own_words

# Rows that do not influence each other give the same sums to a hundred roundings; half precision rounds coarser.
UNUSUAL_FLOAT32 = 1e-5
UNUSUAL_HALF = 1e-2


def _leading_match(case: Case) -> Match | None:
    """Return the match that the verdict speaks of; None where no rule fits."""
    if case.code == "UNEXPLAINED":
        return None  # that of the losses is not what the verdict speaks of
    found = case.auto.forward if case.auto else None
    if case.auto is not None and case.affects == "gradient":
        found = case.auto.backward
    if case.only_tails and case.telling is not None:
        found = case.telling.forward
    return found if found is not None and found.rule is not None else None


def sureness(case: Case) -> str:
    """Say in words how sure a fault is: whether another rule would do as well."""
    found = _leading_match(case)
    if found is None or found.rule is None or found.rule.right:
        return ""  # what is right was compared with the right answer itself
    alone = "" if found.runner_up is None or _other_readings(case) else ", and no other rule does"
    return f"This arithmetic fits every micro-batch that was observed{alone}."


def certainty(case: Case) -> str:
    """Say how well the rule fits, and how far off the next best is."""
    found = _leading_match(case)
    if found is None or found.rule is None:
        return ""
    what = "the right answer " if found.rule.right else ""
    exactly = f"Fits {what}exactly" if found.relative_error == 0 else f"Fits {what}to {power(found.relative_error)}"
    if found.runner_up_error is None:
        return f"{exactly}."
    return f"{exactly}; next best is {percent(found.runner_up_error)} off."


def _limits(case: Case) -> Iterator[str]:
    """Say what makes the measurement coarser than its arithmetic."""
    noise, hardware = case.record.oracle.noise, case.record.hardware
    natural = UNUSUAL_FLOAT32 if hardware.dtype == "float32" and hardware.autocast is None else UNUSUAL_HALF
    if noise.repeat is not None and noise.repeat > natural:
        yield f"Two identical forwards differ by {percent(noise.repeat)}: something random could not be switched off."
    if noise.regrouping is not None and noise.regrouping > natural:
        yield (
            f"A row's loss changes by {percent(noise.regrouping)} with the rows beside it: batch normalisation, expert "
            "capacity or the like. Then no grouping gives exactly the loss of another."
        )


def _of_evaluation(case: Case) -> Iterator[str]:
    """Say that losses of evaluations with batches of other sizes are no losses to compare."""
    found = case.record.oracle.evaluation
    if found is None:
        return
    together, alone = told_apart(found.together_nats, found.alone_nats)
    if abs(found.together_nats - found.alone_nats) > SLACK * case.tolerance.loss * abs(found.together_nats):
        yield (
            f"eval_loss depends on per_device_eval_batch_size: {together} for {found.num_rows} rows in one batch, "
            f"{alone} for the same one by one."
        )


def _other_readings(case: Case) -> tuple[Rule, ...]:
    """Return the rules that predict the same on this data, without those that could not predict anything else."""
    found = case.auto.forward if case.auto else None
    declared = any(p.record.own_loss.unit == "declared sum" for p in case.auto.passes) if case.auto else False
    if case.auto is None or found is None or found.rule is None or declared:
        return ()
    steps = _steps(case)
    same_rows = all(len({m.num_rows for m in step.micro_batches}) == 1 for step in steps)
    unshifted = all(step.num_label_tokens == step.num_target_tokens for step in steps)

    def is_the_same(rule: Rule) -> bool:
        return (same_rows and rule.name.startswith("row_mean")) or (unshifted and rule.name.startswith("unshifted"))

    return tuple(rule for rule in found.equivalent if not is_the_same(rule))


def integrity_note(record: Record) -> str | None:
    """Say that a record is not as it was written, or that this cannot be told; None where it is."""
    if record.integrity is Integrity.EDITED:
        return "The record was edited since it was measured: nobody may have measured what stands here."
    if record.integrity is Integrity.UNKNOWN:
        return "The record has no checksum, so it cannot be told whether it was edited since it was measured."
    return None


def _steps(case: Case) -> list[OptimizerStep]:
    return [p.step for p in case.auto.passes if p.step is not None] if case.auto is not None else []


def _has_one_micro_batch(case: Case) -> bool:
    return all(len(step.micro_batches) == 1 for step in _steps(case))


def _has_unequal_counts(case: Case) -> bool:
    return any(len({m.num_target_tokens for m in step.micro_batches}) > 1 for step in _steps(case))


def _what_would_tell(case: Case) -> str:
    """Say what would tell rules apart that predict the same; nothing where no other data may."""
    if _has_one_micro_batch(case):
        return "; an accumulation step above 1 would tell them apart"
    if not _has_unequal_counts(case):
        return "; rows of unequal length would tell them apart"
    # What the counts of the micro-batches do not tell apart differs by k and the number of processes, if at all.
    return "; another k would tell them apart" if len({*case.record.accumulation_steps}) == 1 else ""


def notes(case: Case) -> tuple[str, ...]:
    """Say what qualifies the verdict."""
    edited = integrity_note(case.record)
    said = [*([edited] if edited else []), *_limits(case)]
    others = _other_readings(case)
    if others:
        names = ", ".join(rule.label for rule in others)
        said.append(f"On this data the same is predicted by: {names}{_what_would_tell(case)}.")
    if case.auto is not None:
        failed = [f.id for f in case.figures if f.status == "failed" and f.loss_kwargs == case.auto.flag]
        if failed and case.code != "LOSS_KWARGS_REJECTED":
            said.append(f"Failed, so not judged: {', '.join(failed)}.")
    if case.attached is not None and case.code != "INCONCLUSIVE":
        said += [f"Not all could be seen: {in_own_words(reason)}." for reason in case.attached.unseen]
    said += _of_evaluation(case)
    more = [code for code in case.codes[1:] if code != "OK"]
    if more:
        said.append(f"Also: {', '.join(more)}.")
    return tuple(said)
