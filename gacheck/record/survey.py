"""The record of a survey: for every class of every release its short training, or why there is none."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from gacheck.record.invariants import Count, NotNegative, check_once
from gacheck.record.parts import Raw, Record
from gacheck.record.run import RunRecord

EVERYTHING = "*"
"""Stands for what a release has to offer, until it has said what that is."""


class SurveyItem(Raw):
    """Something to judge: a class under a release of transformers."""

    name: str
    """As `tiny:` takes it: a model type, or the name of a class."""
    task: str
    transformers: str
    """The release."""
    model_type: str | None = None
    """None where only building the class tells it."""
    class_name: str | None = None

    @property
    def id(self) -> str:
        """Its name in the record."""
        return f"{self.name} {self.task} {self.transformers}"


class SurveyRow(Raw):
    """What became of an item."""

    item: SurveyItem
    seconds: NotNegative
    training: RunRecord | None = None
    """Two optimizer steps at k = 4, with the flag on and off; None where it could not be trained."""
    reason: str | None = None
    """Why there is no training."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.training is None) == (self.reason is None):
            raise ValueError("a row has a training, or a reason why it has none")
        return self


class SurveyRecord(Record):
    """A survey: a row for every class of every release."""

    kind: Literal["survey"] = "survey"
    time_limit_seconds: NotNegative
    """Of one item."""
    memory_limit_bytes: Count
    """Of the process of one item, beyond what the libraries take."""
    items: tuple[SurveyItem, ...]
    rows: tuple[SurveyRow, ...] = ()
    """In the order in which they were done."""

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        ids = [item.id for item in self.items]
        check_once("item", ids, ids)
        check_once("row", [row.item.id for row in self.rows], ids)
        return self

    @property
    def planned(self) -> tuple[SurveyItem, ...]:
        """Every item."""
        return self.items

    @property
    def recorded(self) -> frozenset[str]:
        """The ids of the items that have a row."""
        return frozenset(row.item.id for row in self.rows)

    @property
    def missing(self) -> tuple[SurveyItem, ...]:
        """The items without a row."""
        recorded = self.recorded
        return tuple(item for item in self.items if item.id not in recorded)

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases, in the order of the items."""
        return tuple(dict.fromkeys(item.transformers for item in self.items))

    def of(self, release: str) -> SurveyRecord:
        """Return the part that is of one release."""
        items = tuple(item for item in self.items if item.transformers == release)
        rows = tuple(row for row in self.rows if row.item.transformers == release)
        return self.model_copy(update={"items": items, "rows": rows})

    def with_part(self, release: str, part: SurveyRecord) -> SurveyRecord:
        """Return the record with what another one holds of a release in place of its own."""
        parts = [(part if each == release else self).of(each) for each in self.releases]
        items = tuple(item for each in parts for item in each.items)
        rows = tuple(row for each in parts for row in each.rows)
        return self.model_copy(update={"items": items, "rows": rows})


def everything_of(release: str) -> SurveyItem:
    """Return the item that stands for all of a release until its items are known."""
    return SurveyItem(name=EVERYTHING, task=EVERYTHING, transformers=release)
