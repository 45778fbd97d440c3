"""Rows drawn at random, of many kinds, and what makes micro-batches of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

Row = dict[str, Any]
IGNORED = -100


@dataclass(frozen=True)
class Pads:
    """Pads rows to a micro-batch.

    Attributes:
        left: Pad on the left.
        positions: Give position_ids, counted from each row's first token.
        square: Give a 4-d attention mask instead of one a row.
        shifted: Give the labels shifted as well.
        aligned: Give them shifted instead.
    """

    left: bool = False
    positions: bool = False
    square: bool = False
    shifted: bool = False
    aligned: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return a micro-batch."""
        length = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, fill: int) -> torch.Tensor:
            lists = []
            for row in rows:
                fillers = [fill] * (length - len(row[name]))
                lists.append(fillers + row[name] if self.left else row[name] + fillers)
            return torch.tensor(lists)

        rows = [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows]
        batch = {
            "input_ids": padded("input_ids", 0),
            "attention_mask": padded("attention_mask", 0),
            "labels": padded("labels", IGNORED),
        }
        if self.positions:
            batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
        if self.square:
            seen = batch["attention_mask"][:, None, None, :].bool() & torch.ones(length, length).tril().bool()
            # A padded position sees itself, so that no softmax runs over nothing.
            batch["attention_mask"] = seen | torch.eye(length).bool()
        if self.shifted or self.aligned:
            ends = torch.full((len(rows), 1), IGNORED)
            batch["labels" if self.aligned else "shift_labels"] = torch.cat([batch["labels"][:, 1:], ends], 1)
        return batch


@dataclass(frozen=True)
class Flattens:
    """Makes one long row of all, which their positions tell apart."""

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return a micro-batch of one row."""
        # Nothing in another row predicts a row's first token.
        labels = [label for row in rows for label in [IGNORED, *row["labels"][1:]]]
        return {
            "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
            "position_ids": torch.tensor([[place for row in rows for place in range(len(row["input_ids"]))]]),
            "labels": torch.tensor([labels]),
        }


@dataclass(frozen=True)
class Pairs:
    """Pads pairs: the chosen rows first, the rejected ones after them.

    Attributes:
        pads: Pads the rows.
        labels: What the labels are called.
    """

    pads: Callable[[Sequence[Row]], dict[str, torch.Tensor]] = Pads()
    labels: str = "labels"

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return a micro-batch of twice as many rows."""
        sides = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
        references = torch.tensor([side["reference_logp"] for side in sides])
        batch = {**self.pads(sides), "reference_logps": references}
        return {self.labels if name == "labels" else name: tensor for name, tensor in batch.items()}


def _tokens(random: Random, vocabulary: int, length: int) -> list[int]:
    return [random.randrange(1, vocabulary) for _ in range(length)]


def _row(tokens: list[int], first_target: int = 0) -> Row:
    return {"input_ids": tokens, "labels": [IGNORED] * first_target + tokens[first_target:]}


def unequal(random: Random, vocabulary: int) -> Row:
    """Of unequal length, each token a target."""
    return _row(_tokens(random, vocabulary, random.randint(4, 24)))


def prompted(random: Random, vocabulary: int) -> Row:
    """A prompt that is no target, then an answer."""
    prompt, answer = random.randint(1, 16), random.randint(1, 16)
    return _row(_tokens(random, vocabulary, prompt + answer), prompt)


def one_target(random: Random, vocabulary: int) -> Row:
    """Only the last token is a target."""
    length = random.randint(3, 16)
    return _row(_tokens(random, vocabulary, length), length - 1)


def packed(random: Random, vocabulary: int) -> Row:
    """All rows of one length, each token a target."""
    return _row(_tokens(random, vocabulary, 16))


def some_without_targets(random: Random, vocabulary: int) -> Row:
    """About half the rows have no target at all."""
    row = unequal(random, vocabulary)
    return _row(row["input_ids"], len(row["input_ids"])) if random.random() < 0.5 else row


def very_long_or_short(random: Random, vocabulary: int) -> Row:
    """Three tokens or sixty."""
    return _row(_tokens(random, vocabulary, random.choice((3, 60))))


def by_heart(random: Random, vocabulary: int) -> Row:
    """Each token is followed by the next higher one."""
    first, length = random.randrange(vocabulary), random.randint(4, 24)
    return _row([(first + place) % vocabulary for place in range(length)])


@dataclass(frozen=True)
class Data:
    """A kind of data: how a row is drawn, and how rows become micro-batches."""

    name: str
    draw: Callable[[Random, int], Row]
    collator: Callable[[Sequence[Row]], dict[str, torch.Tensor]] = Pads()
    repeated: bool = False

    def rows(self, random: Random, vocabulary: int, number: int) -> list[Row]:
        """Draw a data set."""
        if self.repeated:
            few = [self.draw(random, vocabulary) for _ in range(2)]
            return [random.choice(few) for _ in range(number)]
        return [self.draw(random, vocabulary) for _ in range(number)]

    def pairs(self, random: Random, vocabulary: int, number: int) -> list[Row]:
        """Draw a data set of pairs, each with what a reference model thinks of its rows."""

        def side() -> Row:
            return {**self.draw(random, vocabulary), "reference_logp": random.uniform(-60.0, -10.0)}

        return [{"chosen": side(), "rejected": side()} for _ in range(number)]


FLATTENED = "flattened"
ALIGNED = "labels shifted already"

DATA: dict[str, Data] = {
    data.name: data
    for data in (
        Data("rows of unequal length", unequal),
        Data("prompts masked", prompted),
        Data("one target a row", one_target),
        Data("packed", packed),
        Data("padded on the left", unequal, Pads(left=True)),
        Data("known by heart", by_heart),
        Data("rows without targets", some_without_targets),
        Data("position_ids", prompted, Pads(left=True, positions=True)),
        Data("4-d attention mask", unequal, Pads(square=True)),
        Data("two rows, repeated", unequal, repeated=True),
        Data("very long and very short", very_long_or_short),
        Data("shift_labels", prompted, Pads(shifted=True)),
        Data(FLATTENED, unequal, Flattens()),
        Data(ALIGNED, prompted, Pads(aligned=True)),
    )
}
