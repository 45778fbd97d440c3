"""A case in words: what is wrong, why, what it did, what fixes it."""

from __future__ import annotations

from dataclasses import dataclass

from gacheck.core.verdict import Case
from gacheck.words.faults import FAULTS
from gacheck.words.faults.fault import suggested_flag, trainer_line
from gacheck.words.impact import impact
from gacheck.words.notes import certainty, notes

_LEFT_OVER = {
    "MEAN_OF_MEANS": "short micro-batches weigh too much",
    "UNSHIFTED_TOKEN_COUNT": "tokens are counted before the shift",
    "SHORT_LAST_STEP": "the last step of an epoch comes out too small",
}


@dataclass(frozen=True)
class Remedy:
    """The fix in the four places where a user may be; None where there is none."""

    trainer: str | None
    model_class: str | None
    llamafactory: str | None
    trl: str | None


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


def words_of(case: Case) -> Words:
    """Put a case into words."""
    fault = FAULTS[case.code]
    summary = fault.summary(case)
    if case.affects == "gradient" and case.code not in ("SCALED_BY_ACCUMULATION", "UNEXPLAINED"):
        summary = f"the log looks right, but in the gradient {summary}"
    return Words(
        summary=summary,
        cause=" ".join(part for part in (fault.cause(case), certainty(case)) if part),
        impact=impact(case),
        fix=fault.fix_of(case) if case.better_flag is None else _tried_flag(case),
        remedy=_remedy(case),
        notes=notes(case),
        docs=fault.page,
    )


def _tried_flag(case: Case) -> str:
    """Give the line that sets the better value of the flag, and say what came of it in this run."""
    parts = []
    tried = case.at(case.worst.accumulation_steps, case.better_flag) if case.worst else None
    if tried is not None and tried.reported_loss is not None:
        parts.append(
            f"Tried above (flag {case.better_flag}): {tried.reported_loss:.3f} at k={tried.accumulation_steps}."
        )
    if case.remaining:
        parts.append(f"Still wrong after that: {_LEFT_OVER.get(case.remaining, case.remaining)}.")
    return "\n".join(filter(None, (f"{trainer_line(case.better_flag)}   # before trainer.train()", " ".join(parts))))


def _remedy(case: Case) -> Remedy:
    """Give the line for each place where a user may be."""
    flag = suggested_flag(case)
    if flag is None:
        return Remedy(None, None, None, None)
    line, name = trainer_line(flag), case.record.model.class_name
    is_read = case.record.model.declaration_is_read is not False
    return Remedy(
        trainer=f"{line}  # before trainer.train()",
        model_class=f"{name}.accepts_loss_kwargs = {flag.is_on}  # before the Trainer is made" if is_read else None,
        llamafactory=f"in llamafactory/train/pt/workflow.py, before trainer.train():  {line}",
        trl=f"{line}  # an SFTTrainer is a Trainer: before trainer.train()",
    )
