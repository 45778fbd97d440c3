"""Chat data: a column of messages, rendered to text as the tokenizer's template says, or plainly without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Under these names a column is looked for where the text's own is not there.
COLUMNS = ("messages", "conversations")
# ShareGPT's names, and those that chat templates know.
_KEYS = (("role", "content"), ("from", "value"))
_ROLES = {"human": "user", "gpt": "assistant"}

Chat = list[dict[str, str]]


def read_chat(value: object) -> Chat | None:
    """Return the messages of a chat with `role` and `content`; None for what is no chat."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    messages = [_message(each) for each in value]
    return None if None in messages else [each for each in messages if each is not None]


def _message(value: object) -> dict[str, str] | None:
    if not isinstance(value, Mapping):
        return None
    for role, content in _KEYS:
        name, text = value.get(role), _text(value.get(content))
        if isinstance(name, str) and text is not None:
            return {"role": _ROLES.get(name, name), "content": text}
    return None


def _text(content: object) -> str | None:
    """Return what is text of a message: all of it, or those of its parts that are; images are not read."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    texts = [each["text"] for each in content if isinstance(each, Mapping) and isinstance(each.get("text"), str)]
    return "\n".join(texts) if texts else None


def render_chat(chat: Chat, tokenizer: Any) -> str:
    """Return a chat as one text: by the tokenizer's chat template, or a line `role: content` a message without one."""
    if getattr(tokenizer, "chat_template", None):
        return str(tokenizer.apply_chat_template(chat, tokenize=False))
    return "\n".join(f"{each['role']}: {each['content']}" for each in chat)
