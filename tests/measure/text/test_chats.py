"""Chats become text: by the tokenizer's template, or plainly where there is none."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from gacheck.errors import DataError
from gacheck.measure.text.chats import read_chat, render_chat
from gacheck.measure.text.rows import make_rows
from gacheck.measure.text.sources import open_text
from tests.measure.modelling import small_config, stand_in_tokenizer

CHAT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
SHAREGPT = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]
PARTS = [{"role": "user", "content": [{"type": "image", "url": "x"}, {"type": "text", "text": "Hello"}]}, CHAT[1]]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
PICKY = "{{ raise_exception('roles must alternate') }}"


@pytest.mark.parametrize("value", [CHAT, SHAREGPT, [{**CHAT[0], "tool_calls": None}, CHAT[1]], PARTS])
def test_a_chat_is_read(value: Any) -> None:
    assert read_chat(value) == CHAT


@pytest.mark.parametrize(
    "value",
    [
        "text",
        None,
        3,
        [],
        ["a"],
        [{"role": "user"}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": None}],
    ],
)
def test_no_chat(value: Any) -> None:
    assert read_chat(value) is None


def test_it_is_rendered_by_the_template_where_there_is_one() -> None:
    tokenizer = copy.copy(stand_in_tokenizer())
    assert render_chat(read_chat(CHAT) or [], tokenizer) == "user: Hello\nassistant: Hi"
    tokenizer.chat_template = TEMPLATE
    assert render_chat(read_chat(CHAT) or [], tokenizer) == "<user>Hello<assistant>Hi"


@pytest.mark.parametrize(("column", "chat"), [("messages", CHAT), ("conversations", SHAREGPT)])
@pytest.mark.parametrize("named", [True, False])
def test_a_file_of_chats(tmp_path: Path, column: str, chat: Any, named: bool) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"id": n, column: chat}) + "\n" for n in range(80)))
    options = {"text_column": column} if named else {}
    config = small_config(dataset=str(path), **options)
    tokenizer = copy.copy(stand_in_tokenizer())

    rows = make_rows(open_text(config), tokenizer, config)
    assert tokenizer.decode(rows.train[0]["input_ids"]) == "user: Hello\nassistant: Hi<eos>"
    assert named or rows.facts.source == f"{path} ({column})"


def test_a_template_that_refuses_names_the_row(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": CHAT}) + "\n")
    config = small_config(dataset=str(path))
    tokenizer = copy.copy(stand_in_tokenizer())
    tokenizer.chat_template = PICKY

    with pytest.raises(DataError, match=r"refuses row 1 of .*: roles must alternate"):
        make_rows(open_text(config), tokenizer, config)
