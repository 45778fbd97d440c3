"""What a verdict code says: one entry a code, and what several entries say alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gacheck.core.verdict import Case
from gacheck.rules.facts import Flag
from gacheck.rules.table import Severity, severity_of
from gacheck.words.doors import Door, door_of
from gacheck.words.releases import upgrade_of_class

PAGE = "docs/faults.md"

LEFT_OVER = {
    "MEAN_OF_MEANS": "short micro-batches weigh too much",
    "UNSHIFTED_TOKEN_COUNT": "tokens are counted before the shift",
    "SHORT_LAST_STEP": "the last step of an epoch comes out too small",
}
"""What may still be wrong once a graver fault is fixed."""


@dataclass(frozen=True)
class Fix:
    """What to change.

    Attributes:
        text: The first line is code where a line of code does; empty where nothing is known.
        is_own: It is in the training's own code, and leaves nothing wrong.
        line: A line of code that does it, for the places where a user may be; None where it takes more than a line.
    """

    text: str = ""
    is_own: bool = False
    line: Line | None = None


NO_FIX = Fix()


@dataclass(frozen=True)
class Line:
    """One line of code.

    Attributes:
        script: In a training script.
        model_class: With the model's class; `{name}` stands for its name.
        when: Between which lines of the script.
    """

    script: str
    model_class: str | None
    when: str


@dataclass(frozen=True)
class Fault:
    """One verdict code in words.

    Attributes:
        code: As in the JSON contract; its severity stands beside the rules.
        summary: What is wrong, a clause without a capital.
        cause: Why, whole sentences.
        fix: What fixes it besides a value of the flag that was tried.
        otherwise: What to do where neither that nor a value of the flag is known to fix it.
    """

    code: str
    summary: Callable[[Case], str]
    cause: Callable[[Case], str]
    fix: Callable[[Case], Fix]
    otherwise: Callable[[Case], str]

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return severity_of(self.code)

    @property
    def page(self) -> str:
        """Where more is said of it."""
        return f"{PAGE}#{self.code.lower()}"

    def fix_of(self, case: Case) -> str:
        """Say what fixes it: best first, and nothing that could not be typed at the door of the case."""
        found = self.fix(case)
        if case.better_flag is None:
            return found.text or self.otherwise(case)
        tried = tried_flag(case)
        if not found.is_own:
            return tried
        return f"{found.text}\nOr  {tried}" if case.remaining else f"{tried}\nOr: {found.text}"


def always(text: str) -> Callable[[Case], str]:
    """Say the same in every case."""
    return lambda case: text


def nothing(case: Case) -> Fix:
    """Know no fix besides the flag."""
    return NO_FIX


def location(case: Case) -> str:
    """Return ` (modeling_x.py:12)`, the line in the model that asked for its loss, if it was seen."""
    frames = case.record.oracle.loss_location
    return f" ({frames[0].file.rsplit('/', 1)[-1]}:{frames[0].line})" if frames else ""


def named(name: str) -> str:
    """Return `MyTrainer.compute_loss` of a name with its module."""
    return name.rsplit(":", 1)[-1]


def own_function(case: Case) -> str | None:
    """Name the training's own compute_loss_func."""
    return case.overrides.compute_loss_func or case.record.setup.compute_loss_func


def own_step(case: Case) -> str | None:
    """Name the training's own training_step, where it does not go on to call the Trainer's."""
    name = case.overrides.training_step
    return named(name) if name is not None and "training_step" not in case.overrides.calls_own else None


def overriding_loss(case: Case) -> str | None:
    """Name the training's own compute_loss, whether or not it goes on to call the Trainer's."""
    name = case.overrides.compute_loss
    return named(name) if name is not None else f"{case.subclass}.compute_loss" if case.subclass else None


def own_loss(case: Case) -> str | None:
    """Name the training's own code that returns the loss; None where that is the model's or the Trainer's."""
    overriding = overriding_loss(case)
    if overriding is not None and ("compute_loss" not in case.overrides.calls_own or case.is_own_computation):
        return overriding
    return own_function(case)


def line_value(flag: Flag | None) -> bool:
    """Return what the flag's attribute is set to."""
    return flag is Flag.ON


def flag_line(flag: Flag | None) -> Line:
    """Return the line that sets the flag."""
    value = line_value(flag)
    return Line(
        script=f"trainer.model_accepts_loss_kwargs = {value}",
        model_class=f"{{name}}.accepts_loss_kwargs = {value}",
        when="before trainer.train()",
    )


def tried_flag(case: Case) -> str:
    """Give the line that sets the better value of the flag, and say what came of it."""
    line, parts = flag_line(case.better_flag), []
    tried = case.at(case.worst.accumulation_steps, case.better_flag) if case.worst else None
    if tried is not None and tried.reported_loss is not None:
        where = "above" if case.attached is None else "on the same micro-batches"
        place = f" at k={tried.accumulation_steps}" if case.attached is None else ""
        parts.append(f"Tried {where} (flag {case.better_flag}): {tried.reported_loss:.3f}{place}.")
    if case.attached is not None and case.attached.setup.chosen_loss_kwargs is case.better_flag:
        parts.append(f"Or leave out the line that sets it to {not line_value(case.better_flag)}.")
    if case.remaining:
        parts.append(f"Still wrong after that: {LEFT_OVER.get(case.remaining, case.remaining)}.")
    return "\n".join(filter(None, (f"{line.script}   # {line.when}", " ".join(parts))))


def untried_flag(case: Case, wanted: Flag | None) -> str:
    """Say how to try the other value of the flag, where it was not and is wanted; what it does is not known then."""
    door = door_of(case)
    if case.other is not None or case.auto is None:
        return ""
    if door is Door.RUN:
        return "The other value of the flag was not tried: add  --loss-kwargs on,off"
    if wanted is None or case.auto.flag is wanted:
        return ""
    line = flag_line(wanted)
    again = "attach again" if door is Door.ATTACH else "run it again"
    return f"Try  {line.script}   # {line.when}\nIt was not tried here: {again} to see what it does."


def no_value_of_the_flag(case: Case, wanted: Flag | None = None) -> str:
    """Say what to do where no value of the flag is known to fix it.

    Args:
        wanted: The value that the rule asks for, where only the other was tried.
    """
    untried = untried_flag(case, wanted)
    if untried:
        return untried
    said = f"No value of the flag fixes it (flag {case.other.flag}: {case.other.codes[0]}). " if case.other else ""
    divide = f"Return the summed loss / num_items_in_batch where the loss is computed{location(case)}"
    return f"{said}{upgrade_of_class(case) or f'{divide}, or train with gradient_accumulation_steps=1.'}"
