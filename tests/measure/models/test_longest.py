"""The longest row is tried before any pass: learned positions end somewhere, and rotary ones do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gacheck.errors import ConfigError
from gacheck.measure.models.longest import TooLongError, _largest
from gacheck.measure.session import Session
from tests.measure.modelling import small_config

LIMIT = 40


def opened(model: str, **options: Any) -> Session:
    return Session(small_config(**{"model": model, "max_steps": 1, "effective_batch_size": 4, **options}))


@pytest.mark.parametrize(
    ("model", "field"),
    [("gpt2", "n_positions"), ("opt", "max_position_embeddings"), ("gpt_neo", "max_position_embeddings")],
)
@pytest.mark.parametrize("packing", [True, False])
def test_the_length_that_is_advised_works_and_the_next_does_not(model: str, field: str, packing: bool) -> None:
    options: dict[str, Any] = {"config_override": {field: LIMIT}, "packing": packing, "max_steps": 8}
    # Rows of the built-in text that are not packed have up to half of max_length.
    with pytest.raises(ConfigError) as raised:
        opened(f"tiny:{model}", max_length=400, **options)
    works = LIMIT if packing else 2 * LIMIT
    assert raised.value.fix == f"write  --max-length {works}"
    assert f"it takes {LIMIT} tokens" in raised.value.what
    assert isinstance(raised.value, TooLongError)
    assert raised.value.works == works
    opened(f"tiny:{model}", max_length=works, **options)
    if packing:
        with pytest.raises(ConfigError):
            opened(f"tiny:{model}", max_length=works + 1, **options)


def test_rotary_positions_have_no_end() -> None:
    opened("tiny:llama", config_override={"max_position_embeddings": LIMIT}, packing=True, max_length=200)


def test_what_fails_at_any_length_is_not_a_matter_of_length(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        raise RuntimeError("broken at any length")

    monkeypatch.setattr("transformers.models.llama.modeling_llama.LlamaMLP.forward", broken)
    with pytest.raises(Exception, match="broken at any length") as raised:
        opened("tiny:llama")
    assert "--max-length" not in str(raised.value)


def test_memory_is_not_a_matter_of_positions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] > 20:
            raise RuntimeError("CUDA out of memory")
        return x

    monkeypatch.setattr("transformers.models.llama.modeling_llama.LlamaMLP.forward", forward)
    opened("tiny:llama", packing=True, max_length=64, gradients=False)


@pytest.mark.parametrize("limit", [2, 3, 7, 63, 64, 99])
def test_the_search_by_hand(limit: int) -> None:
    assert _largest(lambda length: length <= limit, 2, 100) == limit
