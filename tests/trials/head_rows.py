"""Rows for heads, drawn at random: text, images and sounds, with a target of every kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from tests.trials.batches import IGNORED, Data, Row

CLASSES, CHOICES = 3, 3
IMAGE = 16
MEL_BINS, FRAMES = 8, 20
SOUND = 600
START = 0
"""The token that a decoder begins with."""
MASKED_OF_A_ROW = 3
"""In pretraining: equally many in every row, so that a mean over tokens is one over rows."""


@dataclass(frozen=True)
class Stacks:
    """Stacks rows; what is of unequal length is padded on the right.

    Attributes:
        decodes: Give the decoder's inputs: each label after the one before it.
    """

    decodes: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return a micro-batch."""
        batch = {name: self._stacked(name, [torch.as_tensor(row[name]) for row in rows]) for name in rows[0]}
        if "input_ids" in rows[0]:
            ones = [torch.ones_like(torch.as_tensor(row["input_ids"])) for row in rows]
            batch["attention_mask"] = self._stacked("attention_mask", ones)
        if self.decodes:
            known = batch["labels"].clamp(min=0)
            batch["decoder_input_ids"] = torch.cat([torch.full_like(known[:, :1], START), known[:, :-1]], 1)
        return batch

    def _stacked(self, name: str, values: list[torch.Tensor]) -> torch.Tensor:
        shape = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
        stacked = values[0].new_full((len(values), *shape), IGNORED if name == "labels" else 0)
        for place, value in zip(stacked, values, strict=True):
            place[tuple(map(slice, value.shape))] = value
        return stacked


def _tokens(random: Random, vocabulary: int, length: int | None = None) -> list[int]:
    return [random.randrange(4, vocabulary) for _ in range(random.randint(4, 24) if length is None else length)]


def _normal(random: Random, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(random.randrange(2**31)))


def one_class(random: Random, vocabulary: int) -> Row:
    """A class for the whole row."""
    return {"input_ids": _tokens(random, vocabulary), "labels": random.randrange(CLASSES)}


def several_classes(random: Random, vocabulary: int) -> Row:
    """Of each class whether it holds."""
    labels = torch.tensor([float(random.randrange(2)) for _ in range(CLASSES)])
    return {"input_ids": _tokens(random, vocabulary), "labels": labels}


def number(random: Random, vocabulary: int) -> Row:
    """A number for the whole row."""
    return {"input_ids": _tokens(random, vocabulary), "labels": torch.tensor(random.gauss(0.0, 1.0))}


def choice(random: Random, vocabulary: int) -> Row:
    """Which of several texts it is."""
    length = random.randint(4, 24)
    texts = [_tokens(random, vocabulary, length) for _ in range(CHOICES)]
    return {"input_ids": texts, "labels": random.randrange(CHOICES)}


def follows(random: Random, vocabulary: int) -> Row:
    """Whether a sentence follows the other."""
    return {"input_ids": _tokens(random, vocabulary), "labels": random.randrange(2)}


def class_of_each(random: Random, vocabulary: int) -> Row:
    """A class for some of the tokens, the first pieces of words; at least for one."""
    tokens = _tokens(random, vocabulary)
    chosen = {random.randrange(len(tokens))} | {place for place in range(len(tokens)) if random.random() < 0.7}
    labels = [random.randrange(CLASSES) if place in chosen else IGNORED for place in range(len(tokens))]
    return {"input_ids": tokens, "labels": labels}


def _masking(tokens: list[int], chosen: set[int]) -> Row:
    return {
        "input_ids": [3 if place in chosen else token for place, token in enumerate(tokens)],
        "labels": [token if place in chosen else IGNORED for place, token in enumerate(tokens)],
    }


def masked(random: Random, vocabulary: int) -> Row:
    """Some tokens are masked, and those are the targets; at least one."""
    tokens = _tokens(random, vocabulary)
    places = {place for place in range(len(tokens)) if random.random() < 0.2}
    return _masking(tokens, {random.randrange(len(tokens))} | places)


def masked_and_follows(random: Random, vocabulary: int) -> Row:
    """A few tokens are masked, in each row as many; and whether the second sentence follows the first."""
    tokens = _tokens(random, vocabulary)
    row = _masking(tokens, set(random.sample(range(len(tokens)), MASKED_OF_A_ROW)))
    return {**row, "next_sentence_label": random.randrange(2)}


def answer(random: Random, vocabulary: int) -> Row:
    """Where an answer begins and ends; nothing is called labels."""
    tokens = _tokens(random, vocabulary)
    first = random.randrange(len(tokens))
    return {"input_ids": tokens, "start_positions": first, "end_positions": random.randrange(first, len(tokens))}


def other_text(random: Random, vocabulary: int) -> Row:
    """A text that becomes another."""
    return {"input_ids": _tokens(random, vocabulary), "labels": _tokens(random, vocabulary)}


def image(random: Random, vocabulary: int) -> Row:
    """An image, and its class."""
    return {"pixel_values": _normal(random, 3, IMAGE, IMAGE), "labels": random.randrange(CLASSES)}


def speech(random: Random, vocabulary: int) -> Row:
    """A spectrogram, and what was said."""
    return {"input_features": _normal(random, MEL_BINS, FRAMES), "labels": _tokens(random, vocabulary)}


def sound(random: Random, vocabulary: int) -> Row:
    """A sound, and what is heard in it: a few tokens, somewhere."""
    return {"input_values": _normal(random, SOUND), "labels": _tokens(random, vocabulary, random.randint(2, 5))}


def _data(name: str, draw: Callable[[Random, int], Row], **more: Any) -> Data:
    return Data(name, draw, Stacks(**more))


ONE_CLASS, SEVERAL_CLASSES, NUMBER = "a class for a row", "several classes for a row", "a number for a row"
CHOICE, FOLLOWS, ANSWER = "one text of several", "two sentences", "where the answer is"
CLASS_OF_EACH, MASKED, MASKED_AND_FOLLOWS = "classes for tokens", "masked at random", "masked, two sentences"
OTHER_TEXT, DECODED = "another text", "another text, the decoder's inputs"
IMAGES, SPEECH, SPEECH_DECODED, SOUNDS = "images", "speech", "speech, the decoder's inputs", "sounds"

HEAD_DATA: dict[str, Data] = {
    data.name: data
    for data in (
        _data(ONE_CLASS, one_class),
        _data(SEVERAL_CLASSES, several_classes),
        _data(NUMBER, number),
        _data(CHOICE, choice),
        _data(FOLLOWS, follows),
        _data(CLASS_OF_EACH, class_of_each),
        _data(MASKED, masked),
        _data(MASKED_AND_FOLLOWS, masked_and_follows),
        _data(ANSWER, answer),
        _data(OTHER_TEXT, other_text),
        _data(DECODED, other_text, decodes=True),
        _data(IMAGES, image),
        _data(SPEECH, speech),
        _data(SPEECH_DECODED, speech, decodes=True),
        _data(SOUNDS, sound),
    )
}

OF_HEADS = tuple(HEAD_DATA)
