"""Series of numbers over time, and how they go on."""

from __future__ import annotations

import torch

from gacheck.measure.heads.maker import Form, Maker, Row
from gacheck.measure.heads.pixels import num_labels

STEPS = 32
"""Of a series whose length the config leaves open."""


def _length(maker: Maker) -> int:
    lags = maker.field("lags_sequence") or (0,)
    return maker.count("context_length", "prediction_length", otherwise=STEPS) + max(lags)


def _channels(maker: Maker) -> tuple[int, ...]:
    number = maker.count("num_input_channels", "input_size", otherwise=1)
    return (number,) if number > 1 or maker.field("num_input_channels") else ()


def _past(maker: Maker, row: Row) -> torch.Tensor:
    return maker.normal(_length(maker), *_channels(maker))


PASTS: tuple[Form, ...] = (_past,)


def _times(maker: Maker, steps: int) -> torch.Tensor:
    return maker.normal(steps, maker.field("num_time_features") or 0)


def past_times(maker: Maker, row: Row) -> torch.Tensor:
    """What is known of each step of the past besides: the hour, the day."""
    return _times(maker, len(row["past_values"]))


def how_it_goes_on(maker: Maker, row: Row) -> Row:
    """The values that follow."""
    steps = maker.count("prediction_length", "horizon_length", otherwise=STEPS)
    past = row["past_values"]
    return {
        "future_values": maker.normal(steps, *past.shape[1:]),
        "future_time_features": _times(maker, steps),
        "return_loss": True,
    }


def class_of_a_series(maker: Maker, row: Row) -> Row:
    """One of the classes."""
    most = maker.count("num_targets", otherwise=num_labels(maker))
    return {"target_values": torch.tensor(maker.integer(0, most)), "return_loss": True}


def numbers_of_a_series(maker: Maker, row: Row) -> Row:
    """Numbers, as many as are predicted of it."""
    return {"target_values": maker.normal(maker.count("num_targets", otherwise=1)), "return_loss": True}
