"""A case in words: what is wrong, why, what it did, what fixes it."""

from __future__ import annotations

from dataclasses import dataclass

from gacheck.core.verdict import Case
from gacheck.words.compared import compared
from gacheck.words.faults import FAULTS
from gacheck.words.faults.fault import Fault, Line, flag_line
from gacheck.words.impact import impact
from gacheck.words.notes import certainty, notes, sureness


@dataclass(frozen=True)
class Remedy:
    """The line that fixes it in the four places where a user may be; None where there is none, or it was not tried."""

    trainer: str | None
    model_class: str | None
    llamafactory: str | None
    trl: str | None


@dataclass(frozen=True)
class Words:
    """The verdict in words.

    Attributes:
        certainty: How well the rule fits, in numbers; empty where none does.
        compared: What was held against the right answer.
        notes: Qualifications.
        docs: Where more is said of the code.
    """

    summary: str
    cause: str
    certainty: str
    impact: str
    compared: str
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
        cause=" ".join(part for part in (fault.cause(case), sureness(case)) if part),
        certainty=certainty(case),
        impact=impact(case),
        compared=compared(case),
        fix=fault.fix_of(case),
        remedy=_remedy(case, fault),
        notes=notes(case),
        docs=fault.page,
    )


def _remedy(case: Case, fault: Fault) -> Remedy:
    """Give the line for each place where a user may be."""
    line: Line | None = flag_line(case.better_flag) if case.better_flag is not None else fault.fix(case).line
    if line is None:
        return Remedy(None, None, None, None)
    name, is_flag = case.record.model.class_name, case.better_flag is not None
    is_read = not is_flag or case.record.model.declaration_is_read is not False
    of_class = line.model_class.format(name=name) if line.model_class and is_read else None
    return Remedy(
        trainer=f"{line.script}  # {line.when}",
        model_class=f"{of_class}  # before the Trainer is made" if of_class and is_flag else of_class,
        llamafactory=f"in llamafactory/train/pt/workflow.py, {line.when}:  {line.script}",
        trl=f"{line.script}  # an SFTTrainer is a Trainer: {line.when}" if is_flag else f"{line.script}  # {line.when}",
    )
