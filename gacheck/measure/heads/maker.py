"""Draws what rows of a head are made of, seeded, of the sizes that a model's config says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from gacheck.measure.models.parts import text_config

# Rows are of unequal length, so that micro-batches have unequal counts of targets.
SHORTEST, LONGEST = 8, 32
CHOICES = 3
POSITIONS = frozenset({"max_position_embeddings", "max_target_positions", "n_positions", "n_ctx"})
SPARE = 2
"""Positions that some types keep for padding."""
SPECIAL_IDS = 4
"""Ids below are special tokens in every stand-in."""

Row = dict[str, Any]
"""Tensors by name; of objects that are to be found, a mapping of tensors; of what is only switched on, True."""

Form = Callable[["Maker", Row], Any]
"""Makes an input of a row of what the row has already."""


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
        ask: What the model answers to a row without labels.
        num_answers: Tokens that it can answer with, where they are fewer than it reads.
    """

    config: Any
    task: str | None
    generator: torch.Generator
    longest: int = LONGEST
    image: Image | None = None
    dtype: torch.dtype = torch.float32
    ask: Callable[[Row], Any] | None = None
    num_answers: int | None = None

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
        size = min(size, self.num_answers or size)
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
        return text_config(self.config)

    @property
    def parts(self) -> tuple[Any, ...]:
        """The config, and the configs within it, the outer before the inner."""
        found, fresh = [self.config], [self.config]
        while fresh:
            fresh = [v for each in fresh for v in vars(each).values() if hasattr(v, "model_type") and v not in found]
            found += fresh
        return tuple(found)

    def field(self, *names: str) -> Any:
        """Return the first of these fields that the config has, or one of the configs within it."""
        return next(iter(self.fields(*names)), None)

    def fields(self, *names: str) -> list[Any]:
        """Return all values that these fields have in the config and the configs within it, each once."""
        found: list[Any] = []
        for value in (getattr(part, name, None) for part in self.parts for name in names):
            if value is not None and value not in found:
                found.append(value)
        return found

    def count(self, *names: str, otherwise: int) -> int:
        """Return the first of these fields that is a positive number."""
        return next((v for v in self.fields(*names) if isinstance(v, int) and v > 0), otherwise)

    def _all_fields(self) -> Iterator[tuple[str, Any]]:
        for part in self.parts:
            yield from vars(part).items()
