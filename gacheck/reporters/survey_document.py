"""The shape of a survey as JSON: the contract for other programs. Keys are only ever added."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from gacheck.reporters.document import LossKwargs
from gacheck.rules.table import Severity

# A word that Python keeps for itself.
_Class = TypedDict("_Class", {"class": str | None})


class SurveyEnvironment(TypedDict):
    """Versions where the survey was begun; the release of transformers that judged a row stands in the row."""

    gacheck: str
    python: str
    platform: str
    torch: NotRequired[str]
    transformers: NotRequired[str]


class SurveyedClass(_Class):
    """A class under a release: its verdict, or why there is none."""

    name: str
    """As tiny: takes it."""
    model_type: str | None
    task: str
    transformers: str
    verdict: str | None
    severity: Severity | None
    rule_on: str | None
    """The rule that explains the losses with the flag on."""
    rule_off: str | None
    loss_kwargs: LossKwargs | None
    ratio: float | None
    """The reported loss over the right one, with the flag as the Trainer chooses it."""
    accumulation_steps: int | None
    loss_location: str | None
    """File and line that ask for the loss."""
    seconds: float
    reason: str | None
    """Why there is no verdict."""


class SurveyDocument(TypedDict):
    """A survey."""

    kind: Literal["survey"]
    schema_version: int
    complete: bool
    environment: SurveyEnvironment
    rows: list[SurveyedClass]
