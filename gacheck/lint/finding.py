"""What was read of a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gacheck.rules.facts import CodeLocation

Answer = Literal["reaches", "dropped", "unknown"]
"""Whether the count gets into the loss."""

Effect = Literal["affected", "unknown", "mean_of_means", "fine"]
"""What a user gets who changes nothing: a loss that grows with k, nothing that can be told, a mean of the means of all
micro-batches, or the right loss."""


@dataclass(frozen=True)
class Finding:
    """What was read of a class.

    Attributes:
        class_name: Its name.
        model_type: The folder of transformers in which it stands; None for the user's own.
        file: In which it stands.
        answer: Whether the count gets into the loss.
        effect: What that means by default.
        trail: The lines from forward's to the one that uses the count, or that computes the loss without it.
        why: What is open, or how the count is lost; empty where the lines say it.
        apart: Lines of other losses, for other kinds of labels, that are computed without the count.
        declared: What `accepts_loss_kwargs` says; None where the class says nothing, or nothing that can be read.
        takes_kwargs: Whether forward takes `**kwargs`.
        flag: What the Trainer sets by default; None where that cannot be read.
        counted: Whether the Trainer counts the labels of this class.
        has_loss: Whether a loss was found at all.
    """

    class_name: str
    model_type: str | None
    file: str
    answer: Answer = "unknown"
    effect: Effect = "unknown"
    trail: tuple[CodeLocation, ...] = ()
    why: str = ""
    apart: tuple[CodeLocation, ...] = ()
    declared: bool | None = None
    takes_kwargs: bool = False
    flag: bool | None = None
    counted: bool = True
    has_loss: bool = True


@dataclass(frozen=True)
class LintReport:
    """What was read of several classes.

    Attributes:
        transformers: The release whose sources were read; None where none is installed.
        findings: In the order of the classes' names.
    """

    transformers: str | None
    findings: tuple[Finding, ...]

    def having(self, effect: Effect) -> tuple[Finding, ...]:
        """Return the findings of one effect."""
        return tuple(each for each in self.findings if each.effect == effect)
