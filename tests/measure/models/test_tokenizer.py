"""The tokenizer of bytes: it loses nothing, and is the same every time."""

from __future__ import annotations

import pytest
from transformers import PretrainedConfig

from gacheck.errors import ModelError
from gacheck.measure.models.tokenizer import byte_tokenizer, train_tokenizer

VOCAB_SIZE = 300
TEXTS = [
    "The cat sat on the mat.",
    "Ein größeres Übel — naïve café ☕",
    "  two  spaces\n\tand a tab",
    "def f(x):\n    return x",
]


def test_tokenizer_gives_back_what_it_was_given() -> None:
    tokenizer = train_tokenizer(TEXTS, VOCAB_SIZE)
    assert len(tokenizer) <= VOCAB_SIZE
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    assert (tokenizer.bos_token_id, tokenizer.unk_token_id) == (2, 3)
    for text in [*TEXTS, "never seen: 日本語 🙂"]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert min(ids) > 3


def test_tokenizer_pads_on_the_right() -> None:
    batch = train_tokenizer(TEXTS, VOCAB_SIZE)(["a", "a longer one"], padding=True)
    assert batch["input_ids"][0][-1] == 0
    assert batch["attention_mask"][0][0] == 1


def test_tokenizer_is_the_same_every_time() -> None:
    first, second = (train_tokenizer(iter(TEXTS), VOCAB_SIZE) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert first(TEXTS)["input_ids"] == second(TEXTS)["input_ids"]


def test_tokenizer_needs_room_for_the_bytes() -> None:
    with pytest.raises(ValueError, match="at least 260"):
        train_tokenizer(TEXTS, 100)


def test_a_vocabulary_without_room_for_the_bytes_is_explained() -> None:
    assert len(byte_tokenizer(PretrainedConfig(vocab_size=280), name="mine", fix="")) == 280
    with pytest.raises(ModelError, match="mine has no tokenizer") as raised:
        byte_tokenizer(PretrainedConfig(vocab_size=100), name="mine", fix="bring one")
    assert raised.value.fix == "bring one"
