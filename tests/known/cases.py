"""What a case is: a training, its truth, and of a wrong one the verdict and what comes of the remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.known.parts import mean_of_means, token_mean
from tests.known.training import Line, Training, lines_of
from tests.trials.right_steps import RightPart
from tests.trials.truth import BOUNDS, Bounds

OTHER_FLAG = Line(
    "trainer.model_accepts_loss_kwargs = not trainer.model_accepts_loss_kwargs", where="before trainer.train()"
)


@dataclass(frozen=True)
class Figures:
    """What a step is beside the right one: the loss, the gradient's norm, its cosine; None where it is not known."""

    loss: float = 1.0
    norm: float | None = 1.0
    cosine: float | None = 1.0


@dataclass(frozen=True, eq=False)
class Right:
    """A right training that is easily accused.

    Attributes:
        name: Of the case.
        training: What is trained.
        part: Its right step.
        code: The verdict.
        bounds: What rounding may make.
        calls_matter: The model counts its forwards.
        most_nats: Its loss is no larger.
    """

    name: str
    training: Training
    part: RightPart = token_mean()  # noqa: RUF009
    code: Literal["OK", "OTHER_OBJECTIVE"] = "OK"
    bounds: Bounds = BOUNDS["float32"]
    calls_matter: bool = False
    most_nats: float | None = None


@dataclass(frozen=True)
class Remedy:
    """What a verdict advises, and what comes of it.

    Attributes:
        says: Stands in the advice.
        apply: Makes the training that follows it, of the wrong one and of the line of code in the advice that holds
            `says`, if one does.
        leaves: The step that it then takes; None where that is the right one.
        warns: Stands in the advice where something is left over.
        then: The verdict on what is left over; None where that is ok.
    """

    says: str
    apply: Callable[[Training, Line | None], Training]
    leaves: RightPart | None = None
    warns: str = ""
    then: str | None = None

    def applied(self, training: Training, fix: str) -> Training:
        """Do what the advice says."""
        return self.apply(training, next(filter(self.is_in, lines_of(fix)), None))

    def is_in(self, line: Line) -> bool:
        """Whether a line of the advice is this remedy's."""
        return self.says in f"{line.where}:  {line.code}"

    def leaving_means(self, leaves: RightPart) -> Remedy:
        """Return the same, of a step that is a mean of means once it is applied."""
        return replace(self, leaves=leaves, warns="hort micro-batches", then="MEAN_OF_MEANS")


def typed(code: str) -> Remedy:
    """Type a line of the advice into the script."""

    def apply(training: Training, line: Line | None) -> Training:
        assert line is not None, f"no line to type is {code}"
        assert line.code == code
        return training.with_typed(line)

    return Remedy(code, apply)


def written(says: str, trainer: Any) -> Remedy:
    """Write the Trainer as the advice has it; code that stands in the advice stands in it too."""

    def apply(training: Training, line: Line | None) -> Training:
        assert line is None or line.stands_in(trainer), f"{line} does not stand in {trainer}"
        return replace(training, trainer=trainer)

    return Remedy(says, apply)


def changed(says: str, **fields: Any) -> Remedy:
    """Change something else of the training."""
    return Remedy(says, lambda training, line: replace(training, **fields))


@dataclass(frozen=True, eq=False)
class Wrong:
    """A wrong training.

    Attributes:
        name: Of the case.
        training: What is trained.
        figures: Of the step that shows it.
        code: The verdict.
        affects: The verdict's.
        cause: Stands in the cause, all of it.
        remedies: What is advised, the best first.
        part: The right step.
        severity: The verdict's.
        late: The first step is right.
        other_flag: The figures at the other value of the flag, where they are known.
        reference: Makes the model of the right step, where the training's own is to blame.
        pending: Why the cause is not yet told as it ought to be; empty where it is.
    """

    name: str
    training: Training
    figures: Figures
    code: str
    affects: Literal["log", "gradient", "both"]
    cause: tuple[str, ...]
    remedies: tuple[Remedy, ...]
    part: RightPart = token_mean()  # noqa: RUF009
    severity: Literal["warn", "fail"] = "fail"
    late: bool = False
    other_flag: Figures | None = None
    reference: Callable[[], Any] | None = None
    pending: str = ""


FLAG_ON = typed("trainer.model_accepts_loss_kwargs = True")
FLAG_OFF = typed("trainer.model_accepts_loss_kwargs = False")
OFF_LEAVES_MEANS = FLAG_OFF.leaving_means(mean_of_means())
