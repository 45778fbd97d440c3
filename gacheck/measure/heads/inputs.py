"""Makes the inputs of a head: what its forward asks for by name, of the shape that its config says, seeded.

Nothing here knows a model by name. A forward is given what a row of its kind cannot do without; what it then demands
besides, and names in its error, it is given too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

# Rows are of unequal length, so that micro-batches have unequal counts of targets.
SHORTEST, LONGEST = 8, 32
CHOICES = 3
FRAMES = 64
"""Of a spectrogram whose length the config leaves open."""
FRAMES_OF_A_VIDEO = ("num_frames", "frames_per_clip")
"""Fields that count them: what has one is given a video where it asks for pixels."""
SAMPLES_PER_FRAME = 320
"""Of a waveform, for each position that comes out; what the convolutions of wav2vec 2.0 take."""
POSITIONS_OF_A_SOUND = (14, 24)
"""From how many on, and below how many: more than twice as many as there are labels to be found among them."""
POSITIONS = frozenset({"max_position_embeddings", "max_target_positions", "n_positions", "n_ctx"})
SPARE = 2
"""Positions that some types keep for padding."""
SPECIAL_IDS = 4
"""Ids below are special tokens in every stand-in."""

Row = dict[str, Any]
"""Tensors by name; of objects that are to be found, a mapping of tensors."""


@dataclass(frozen=True)
class Image:
    """How a model for images and text is given one image a row.

    Attributes:
        layout: Makes its pixels, and what says how they lie.
        token: Stands in the text at each of its places.
        num_tokens: How many places it takes.
        start: Stands before them; None where nothing does.
        names: Of what the layout makes, those that the forward names.
    """

    layout: Callable[[Maker], Row]
    token: int
    num_tokens: int
    start: int | None
    names: frozenset[str]

    @property
    def text(self) -> torch.Tensor:
        """What stands for it in the text."""
        before = () if self.start is None else (self.start,)
        return torch.tensor([*before, *[self.token] * self.num_tokens])

    def inputs(self, maker: Maker) -> Row:
        """Make one."""
        return {name: value for name, value in self.layout(maker).items() if name in self.names}


@dataclass(frozen=True)
class Maker:
    """Makes the inputs of rows.

    Args:
        config: The model's.
        task: As its auto class is called.
        generator: Seeded.
        longest: Tokens in the longest row.
        image: How an image is given; None where there is none, or nothing but one.
        dtype: Of all that is no whole number: the model's.
    """

    config: Any
    task: str | None
    generator: torch.Generator
    longest: int = LONGEST
    image: Image | None = None
    dtype: torch.dtype = torch.float32

    def length(self) -> int:
        """Draw the length of a row, of as many tokens as the model has positions for."""
        positions = [v for n, v in self._all_fields() if n in POSITIONS and isinstance(v, int) and v > SPARE]
        longest = min([max(SHORTEST, self.longest), *(each - SPARE for each in positions)])
        return self.integer(min(SHORTEST, longest), longest + 1)

    def integer(self, low: int, high: int) -> int:
        """Draw an integer below `high`."""
        return int(torch.randint(low, high, (), generator=self.generator))

    def normal(self, *shape: int) -> torch.Tensor:
        """Draw numbers of mean 0 and variance 1."""
        return torch.randn(shape, generator=self.generator)

    def tokens(self, *shape: int) -> torch.Tensor:
        """Draw ids of tokens, none of them special, the last that of the end."""
        text = self.text_config
        size = int(getattr(text, "vocab_size", 0) or getattr(self.config, "vocab_size", 0) or SPECIAL_IDS + 2)
        special = {v for n, v in self._all_fields() if n.endswith(("_token_id", "_token_index")) and isinstance(v, int)}
        allowed = torch.tensor([i for i in range(min(SPECIAL_IDS, size - 1), size) if i not in special])
        drawn = allowed[torch.randint(len(allowed), shape, generator=self.generator)]
        end = getattr(text, "eos_token_id", None)
        if isinstance(end, int) and 0 <= end < size:
            drawn[..., -1] = end  # some heads read the position of the end
        return drawn

    @property
    def text_config(self) -> Any:
        """The part of the config that speaks of text."""
        get = getattr(self.config, "get_text_config", None)
        return self.config if get is None else get()

    @property
    def parts(self) -> tuple[Any, ...]:
        """The config, and the configs within it."""
        inner = [each for each in vars(self.config).values() if hasattr(each, "model_type")]
        return (self.config, *inner)

    def field(self, *names: str) -> Any:
        """Return the first of these fields that the config has, or one of the configs within it."""
        found = (getattr(part, name, None) for part in self.parts for name in names)
        return next((value for value in found if value is not None), None)

    def _all_fields(self) -> Iterator[tuple[str, Any]]:
        for part in self.parts:
            yield from vars(part).items()


def _pixels(maker: Maker, row: Row) -> torch.Tensor:
    return maker.normal(*image_shape(maker)) if maker.field(*FRAMES_OF_A_VIDEO) is None else _video(maker, row)


def image_shape(maker: Maker) -> tuple[int, int, int]:
    """Return channels, height and width of an image."""
    size = maker.field("image_size", "input_size") or 32
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = maker.field("num_channels", "in_channels", "in_chans") or 3
    return int(channels), int(height), int(width)


def _video(maker: Maker, row: Row) -> torch.Tensor:
    frames = maker.field(*FRAMES_OF_A_VIDEO) or 2
    return maker.normal(int(frames), *image_shape(maker))


def _spectrogram(maker: Maker, row: Row) -> torch.Tensor:
    bins = maker.field("num_mel_bins", "feature_size", "input_feat_per_channel", "input_dim", "n_mels") or 80
    positions = maker.field("max_source_positions")
    # Where positions are fixed, two frames make one; a config that counts convolutions takes any length.
    if positions and maker.field("conv_layers", "num_conv_layers") is None:
        return maker.normal(int(bins), 2 * int(positions))
    return maker.normal(FRAMES, int(bins))


def _wave(maker: Maker, row: Row) -> torch.Tensor:
    bins = maker.field("num_mel_bins")
    if bins and maker.field("max_length") and not maker.field("conv_dim"):
        return maker.normal(int(maker.field("max_length")), int(bins))
    return maker.normal(SAMPLES_PER_FRAME * maker.integer(*POSITIONS_OF_A_SOUND))


def _boxes(maker: Maker, row: Row) -> torch.Tensor:
    corners = torch.randint(0, 100, (*row["input_ids"].shape, 2), generator=maker.generator)
    return torch.cat([corners, corners + 10], -1)


def _text(maker: Maker, row: Row) -> torch.Tensor:
    length = maker.length()
    if maker.task == "multiple-choice":
        return maker.tokens(CHOICES, length)
    text = maker.tokens(length)
    if maker.image is None:
        return text
    return torch.cat([text[:1], maker.image.text, text[1:]])


def _is_of_an_image(maker: Maker, row: Row) -> torch.Tensor:
    return of_images(maker, row["input_ids"]).long()


def of_images(maker: Maker, tokens: torch.Tensor) -> torch.Tensor:
    """Tell which tokens stand for a part of an image."""
    return tokens.eq(-1 if maker.image is None else maker.image.token)


def _like_text(value: int) -> Callable[[Maker, Row], torch.Tensor]:
    return lambda maker, row: torch.full_like(row["input_ids"], value)


MAKERS: dict[str, Callable[[Maker, Row], torch.Tensor]] = {
    "input_ids": _text,
    "attention_mask": _like_text(1),
    "token_type_ids": _is_of_an_image,
    "mm_token_type_ids": _is_of_an_image,
    "pixel_values": _pixels,
    "pixel_values_videos": _video,
    "input_features": _spectrogram,
    "input_values": _wave,
    "inputs": _text,
    "bbox": _boxes,
    "decoder_input_ids": lambda maker, row: maker.tokens(maker.length()),
}
"""How an argument of a forward is made, in the order in which they are."""
