"""What was reduced is given back where parts do not fit: by the numbers and names in the error, one after another."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from transformers import BertConfig, PretrainedConfig

from gacheck.measure.heads.recipe import NoRecipe
from gacheck.measure.models.fitting import fit


class Inner(PretrainedConfig):
    model_type = "inner"

    def __init__(self, hidden_size: int = 768, **kwargs: Any) -> None:
        self.hidden_size = hidden_size
        super().__init__(**kwargs)


class Outer(PretrainedConfig):
    model_type = "outer"
    sub_configs: ClassVar = {"inner": Inner}

    def __init__(self, width: int = 512, groups: int = 512, depth: int = 12, **kwargs: Any) -> None:
        self.width, self.groups, self.depth = width, groups, depth
        self.inner = Inner()
        super().__init__(**kwargs)


def tiny() -> Outer:
    config = Outer(width=64, groups=512, depth=2)
    config.inner.hidden_size = 64
    return config


def made(config: Any, *, again: bool = False) -> Any:
    """Fits where the groups divide the width, and then where the inner width is six times something."""
    if config.width % config.groups:
        raise ValueError("in_channels must be divisible by groups")
    if config.inner.hidden_size % 6:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (305x60 and 64x16)")
    return config


def test_one_error_after_another_is_followed() -> None:
    small = tiny()
    found = fit(Outer(), small, made, lambda error: False)

    assert (found.width, found.inner.hidden_size) == (512, 768)
    assert found.depth == 2  # what has nothing to do with it stays small
    assert small.width == 64


def test_what_fits_stays_as_it_is() -> None:
    config = Outer(width=512, depth=2)
    assert fit(Outer(), config, made, lambda error: False) is config


def test_the_first_error_is_told_where_nothing_helps() -> None:
    def never(config: Any, *, again: bool = False) -> Any:
        raise ValueError(f"not with {config.width}")

    with pytest.raises(ValueError, match="not with 64"):
        fit(Outer(), tiny(), never, lambda error: False)


def test_what_no_size_changes_is_not_tried() -> None:
    asked = []

    def lacking(config: Any, *, again: bool = False) -> Any:
        asked.append(again)
        raise ImportError("timm")

    with pytest.raises(ImportError):
        fit(Outer(), tiny(), lacking, lambda error: isinstance(error, ImportError))
    assert asked == [False]


def test_what_no_size_changes_and_comes_up_later_is_told() -> None:
    class Hopeless(Exception):
        """No size changes it."""

    def make(config: Any, *, again: bool = False) -> str:
        if again:
            raise Hopeless("it has no loss")
        raise ValueError("sizes 1 and 2")

    original, tiny = BertConfig(hidden_size=96), BertConfig(hidden_size=32)
    with pytest.raises(Hopeless):
        fit(original, tiny, make, lambda error: isinstance(error, Hopeless))


def test_heads_are_made_wider_where_rows_came_furthest() -> None:
    def make(config: Any, *, again: bool = False, hinted: bool = False) -> int:
        if hinted and config.num_attention_heads == 2:
            return int(config.hidden_size)
        try:
            raise NoRecipe("no rows", RuntimeError("size 16 and 32"), None)
        except NoRecipe as cause:
            raise ValueError("no rows could be made") from cause

    original, tiny = BertConfig(num_attention_heads=12), BertConfig(hidden_size=64, num_attention_heads=4)
    assert fit(original, tiny, make, lambda error: False) == 64
    assert tiny.num_attention_heads == 4
