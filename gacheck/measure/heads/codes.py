"""Sounds that are said in codes, several at each step, or in latent numbers; alone or after a text."""

from __future__ import annotations

import torch

from gacheck.measure.heads.maker import SPECIAL_IDS, Maker, Row
from gacheck.rules.task import IGNORE_INDEX

STEPS = 12
"""Of a dialogue, in every row as many: what pads its codes is a code."""
FEWEST, MOST = 4, 12
"""Frames after a text."""


def _codes(maker: Maker, *shape: int) -> torch.Tensor:
    sizes = [v for v in maker.fields("codebook_size", "codebook_vocab_size", "audio_vocab_size") if isinstance(v, int)]
    most = min([maker.count("vocab_size", otherwise=64), *sizes])
    least = SPECIAL_IDS if most > 2 * SPECIAL_IDS else 0
    return torch.randint(least, most, shape, generator=maker.generator)


def codebooks(maker: Maker) -> int:
    """Return how many codes a step has."""
    return maker.count("num_codebooks", "num_channels", otherwise=4)


def _check_codes(maker: Maker) -> None:
    """Refuse what knows of no codebooks.

    Raises:
        LookupError: It is so.
    """
    if maker.field("num_codebooks") is None:
        raise LookupError("no field counts codebooks")


def codes_of_steps(maker: Maker, row: Row) -> torch.Tensor:
    """At each step a code of every codebook."""
    _check_codes(maker)
    return _codes(maker, maker.length(), codebooks(maker))


def words_and_codes(maker: Maker, row: Row) -> torch.Tensor:
    """The same, and a word before them."""
    _check_codes(maker)
    return _codes(maker, maker.length(), 1 + codebooks(maker))


def words_of_steps(maker: Maker, row: Row) -> Row:
    """The word of each step, without its codes.

    Raises:
        LookupError: There are words alone.
    """
    if row["input_ids"].dim() < 2:
        raise LookupError("its steps have no codes")
    return {"labels": row["input_ids"][:, 0]}


def dialogue(maker: Maker, row: Row) -> Row:
    """What is thought in words, and what two speakers say in codes meanwhile; nothing of it is padded."""
    words, said = maker.tokens(STEPS), _codes(maker, codebooks(maker), STEPS)
    return {
        "input_ids": words,
        "user_audio_codes": _codes(maker, codebooks(maker), STEPS),
        "moshi_audio_codes": said,
        "text_labels": words,
        "audio_labels": said,
    }


def codes_after_text(maker: Maker, row: Row) -> Row:
    """A text with places for what is said, and the codes of that."""
    number = maker.integer(FEWEST, MOST + 1)
    said = _codes(maker, number, codebooks(maker))
    return {
        **_with_places(maker, number, maker.field("audio_token_id")),
        "audio_input_ids": said,
        "audio_input_ids_mask": torch.ones(number, dtype=torch.bool),
        "audio_labels": said,
    }


def latents_after_text(maker: Maker, row: Row) -> Row:
    """A text with places for what is said, one before it, and that in latent numbers."""
    number = maker.integer(FEWEST, MOST + 1)
    return {
        **_with_places(maker, number, maker.field("audio_latent_token_id"), maker.field("audio_bos_token_id")),
        "labels": maker.normal(number, maker.count("latent_dim", otherwise=16)),
        "labels_mask": torch.ones(number, dtype=torch.long),
    }


def sound_after_text(maker: Maker, row: Row) -> Row:
    """A text with places for a sound, and that; what is to be said is told by the places alone.

    Raises:
        LookupError: Nothing says how many numbers a frame has.
    """
    number, rate = maker.integer(FEWEST, MOST + 1), maker.field("frame_rate")
    length = number * round((maker.field("sampling_rate") or 0) / (rate or 1))
    if not rate or not length:
        raise LookupError("nothing says how many numbers a frame has")
    token = maker.field("audio_token_id")
    words = _with_places(maker, number, token)
    labels = words["input_ids"].where(words["input_ids"].eq(token), IGNORE_INDEX)
    ends = torch.tensor([length])
    return {**words, "labels": labels, "input_values": maker.normal(1, length), "input_values_cutoffs": ends}


def _with_places(maker: Maker, number: int, token: int | None, before: int | None = None) -> Row:
    """Make a text that ends with places for a sound.

    Raises:
        LookupError: No token stands for one.
    """
    if token is None:
        raise LookupError("no token stands for a sound")
    begin = [] if before is None else [before]
    words = torch.cat([maker.tokens(maker.length()), torch.tensor([*begin, *[token] * number])])
    return {"input_ids": words, "attention_mask": torch.ones_like(words)}
