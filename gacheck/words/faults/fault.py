"""What a verdict code says: one entry a code, and what several entries say alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gacheck.core.verdict import Case
from gacheck.rules.facts import Flag
from gacheck.rules.table import Severity, severity_of

PAGE = "docs/faults.md"


@dataclass(frozen=True)
class Fault:
    """One verdict code in words.

    Attributes:
        code: As in the JSON contract; its severity stands beside the rules.
        summary: What is wrong, a clause without a capital.
        cause: Why, whole sentences.
        fix: What fixes it, where no value of the flag does; the first line is code where a line of code does.
        attached_fix: The same for a training that was only watched; None where it is no other.
    """

    code: str
    summary: Callable[[Case], str]
    cause: Callable[[Case], str]
    fix: Callable[[Case], str]
    attached_fix: Callable[[Case], str] | None = None

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return severity_of(self.code)

    @property
    def page(self) -> str:
        """Where more is said of it."""
        return f"{PAGE}#{self.code.lower()}"

    def fix_of(self, case: Case) -> str:
        """Say what fixes it at the door at which the training was measured."""
        if case.attached is not None and self.attached_fix is not None:
            return self.attached_fix(case)
        return self.fix(case)


def always(text: str) -> Callable[[Case], str]:
    """Say the same in every case."""
    return lambda case: text


def location(case: Case) -> str:
    """Return ` (modeling_x.py:12)`, the line in the model that asked for its loss, if it was seen."""
    frames = case.record.oracle.loss_location
    return f" ({frames[0].file.rsplit('/', 1)[-1]}:{frames[0].line})" if frames else ""


def auto_flag(case: Case) -> str:
    """Name the value of the flag that the verdict speaks of."""
    return str(case.auto.flag) if case.auto else "it"


def suggested_flag(case: Case) -> Flag | None:
    """Return the value that fixes it: tried, or, where only one value can be seen, the one that the rule asks for."""
    if case.better_flag is not None or case.attached is None or case.auto is None:
        return case.better_flag
    own_function = case.record.setup.compute_loss_func
    if case.code == "SCALED_BY_ACCUMULATION" and case.auto.flag.is_on and not own_function:
        return Flag.OFF
    return Flag.ON if case.code == "DIVIDED_TWICE" and not case.auto.flag.is_on else None


def trainer_line(flag: Flag | None) -> str:
    """Return the line that sets the flag in a training script."""
    return f"trainer.model_accepts_loss_kwargs = {flag is Flag.ON}"


def run_command(case: Case) -> str:
    """Return the command that measures the same model, or one of its type where it has no name."""
    model = case.record.model
    return f"gacheck run --model {model.name if model.name != model.class_name else f'tiny:{model.model_type}'}"


def no_line(case: Case) -> str:
    """Say what to do where no value of the flag fixes it."""
    if case.record.setup.compute_loss_func:
        return "Divide by num_items_in_batch in the compute_loss_func: sum of the losses / num_items_in_batch."
    if case.other is None:
        return "The other value of the flag was not tried: add  --loss-kwargs on,off"
    why = f" (flag {case.other.flag}: {case.other.codes[0]})"
    return f"No value of the flag fixes it{why}. Upgrade transformers, or train with gradient_accumulation_steps 1."


def attached_flag_fix(case: Case) -> str:
    """Give the line that the rule asks for, which a training that is only watched cannot try."""
    flag = suggested_flag(case)
    owner = _owner_fix(case)
    if flag is None:
        return no_line(case) if case.record.setup.compute_loss_func else owner
    own = f" Or {owner[0].lower()}{owner[1:]}" if case.subclass else ""
    return f"{trainer_line(flag)}   # before trainer.train()\nNot tried here: attach again to see it.{own}"


def _owner_fix(case: Case) -> str:
    if case.subclass:
        return f"Divide in {case.subclass}.compute_loss: the summed loss / num_items_in_batch, and by nothing else."
    return "Upgrade transformers, or train with gradient_accumulation_steps 1."
