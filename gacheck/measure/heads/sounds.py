"""Sounds of a row, and what is to be said."""

from __future__ import annotations

from functools import partial

import torch

from gacheck.measure.heads.codes import codebooks
from gacheck.measure.heads.maker import Form, Maker, Row

FRAMES = 64
"""Of a spectrogram whose length the config leaves open."""
SAMPLES_PER_FRAME = 320
"""Of a waveform, for each position that comes out; what the convolutions of wav2vec 2.0 take."""
POSITIONS_OF_A_SOUND = (14, 24)
"""From how many on, and below how many: more than twice as many as there are labels to be found among them."""
LONGEST_SOUND = 4
"""In frames, of one token that is spoken."""

BINS = ("num_mel_bins", "feature_size", "input_feat_per_channel", "input_dim", "n_mels")
"""Fields that count the frequencies of a spectrogram."""
STACKED_BINS = ("feature_projection_input_dim", "num_mels", *BINS)
"""The same where frames may be stacked, too."""


def _spectrogram(maker: Maker, row: Row) -> torch.Tensor:
    bins = maker.field(*BINS) or 80
    positions = maker.field("max_source_positions")
    # Where positions are fixed, two frames make one; a config that counts convolutions takes any length.
    if positions and maker.field("conv_layers", "num_conv_layers") is None:
        return maker.normal(int(bins), 2 * int(positions))
    return maker.normal(FRAMES, int(bins))


def _other_spectrogram(which: int, frames_first: bool, maker: Maker, row: Row) -> torch.Tensor:
    """One with as many bins as another field says, in one of the two orders."""
    known = [each for each in maker.fields(*STACKED_BINS) if isinstance(each, int)]
    if which >= len(known):
        raise LookupError("no other field counts them")
    return maker.normal(*((FRAMES, known[which]) if frames_first else (known[which], FRAMES)))


def _stacked_spectrogram(times: int, maker: Maker, row: Row) -> torch.Tensor:
    """One some of whose frames stand side by side."""
    return maker.normal(FRAMES // times, times * int(maker.field(*BINS) or 80))


def _spectrogram_of_a_text(maker: Maker, row: Row) -> torch.Tensor:
    """One with as many frames for every token of a text; its bins come first."""
    frames = maker.count("audio_length_per_tok", otherwise=8) * len(row["input_ids"])
    return maker.normal(int(maker.field(*BINS) or 80), frames)


def _mono_spectrogram(maker: Maker, row: Row) -> torch.Tensor:
    return _spectrogram(maker, row)[None]


SPECTROGRAMS: tuple[Form, ...] = (
    _spectrogram,
    _mono_spectrogram,
    *(partial(_stacked_spectrogram, times) for times in (2, 4)),
    *(partial(_other_spectrogram, which, first) for which in range(3) for first in (True, False)),
    _spectrogram_of_a_text,
)


def _wave(maker: Maker, row: Row) -> torch.Tensor:
    bins = maker.field("num_mel_bins")
    if bins and maker.field("max_length") and not maker.field("conv_dim"):
        return maker.normal(int(maker.field("max_length")), int(bins))
    return _samples(maker, row)


def _samples(maker: Maker, row: Row) -> torch.Tensor:
    return maker.normal(SAMPLES_PER_FRAME * maker.integer(*POSITIONS_OF_A_SOUND))


def _mono(maker: Maker, row: Row) -> torch.Tensor:
    return _samples(maker, row)[None]


def _long(maker: Maker, row: Row) -> torch.Tensor:
    """For what makes many samples one."""
    return maker.normal(1, 8 * SAMPLES_PER_FRAME * POSITIONS_OF_A_SOUND[1])


WAVES: tuple[Form, ...] = (_wave, _samples, _mono, _long, _spectrogram)


def spectrogram_to_say(maker: Maker, row: Row) -> Row:
    """The spectrogram of what is said, of an even number of frames: some are made two at a time."""
    return {"labels": maker.normal(2 * maker.integer(8, 20), maker.count(*BINS, otherwise=80))}


def spoken_tokens(maker: Maker, row: Row) -> Row:
    """The spectrogram of a text, and of each of its tokens how long, how high and how loud it is spoken."""
    number = row["input_ids"].shape[-1]
    durations = torch.randint(1, LONGEST_SOUND + 1, (number,), generator=maker.generator)
    # A text is padded behind its end, so that the longest sound is that of the longest text.
    durations = torch.full_like(durations, 2)
    return {
        "spectrogram_labels": maker.normal(int(durations.sum()), maker.count("num_mel_bins", otherwise=80)),
        "duration_labels": durations,
        "pitch_labels": maker.normal(number, 1),
        "energy_labels": maker.normal(number, 1),
    }


def codes(maker: Maker, row: Row) -> Row:
    """The codes of a sound: at each step one of every codebook."""
    return {"labels": maker.tokens(maker.length(), codebooks(maker))}


def codes_of_a_step(maker: Maker, row: Row) -> Row:
    """The codes of a single step."""
    return {"labels": maker.tokens(codebooks(maker))}
