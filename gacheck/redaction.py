"""Takes secrets and the home folder out of a text, by their names, their shapes, and what the environment holds."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

HIDDEN = "***"
"""Stands where something was."""

SHORTEST = 6
"""Of the value of a variable that is taken out wherever it stands: a shorter one is part of too many words."""
LONGEST_SECRET = 4000
"""Characters behind the end of a text that is cut, where a secret may go on."""

# Names of secrets, as options, fields and variables have them. A tokenizer's pad_token is none.
_TOKEN = r"(?:[\w-]*[_-])?(?<!pad.)(?<!eos.)(?<!bos.)(?<!unk.)(?<!sep.)(?<!cls.)(?<!mask.)(?<!image.)token"
_NAME = rf"(?:{_TOKEN}|(?:[\w-]+[_-])?(?:apikey|passw(?:or)?d|passphrase|secrets?|credentials?)|[\w-]+[_-]key)"
_VALUE = r"""'[^']*'|"[^"]*"|[^\s,;&'"()\[\]{}]+"""
_VARIABLE = re.compile(r"(?:_TOKEN|_KEY)$|^TOKEN$|PASSWORD|PASSWD|SECRET|CREDENTIAL", re.IGNORECASE)
_OPTION = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,2000}\.[\w-]{8,2000}\.[\w-]+)"
)
_RULES = (
    (_SHAPES, HIDDEN),
    # user:password@ of an address, and a token in the place of both.
    (re.compile(r"(?<=://)[^\s/@'\"]+(?=@)"), HIDDEN),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    # --hub_token X, --hub_token=X, hub_token='X', "api_key": "X", HF_TOKEN=X
    (re.compile(rf"(?<![\w-])(--?{_NAME})(\s+)(?!-)(?:{_VALUE})", re.IGNORECASE), rf"\1\2{HIDDEN}"),
    (re.compile(rf"(?<![\w-])(-{{0,2}}{_NAME}['\"]?\s*=\s*)(?:{_VALUE})", re.IGNORECASE), rf"\1{HIDDEN}"),
    # "Unexpected token: X" is told of a text, not of a secret.
    (re.compile(rf"(?<![\w-])((?!token\b){_NAME}['\"]?\s*:\s*)(?:{_VALUE})", re.IGNORECASE), rf"\1{HIDDEN}"),
)


def redacted_text(text: str) -> str:
    """Return a text without secrets and without the name of the home folder; what is no UTF-8 is written as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    for value in _values(frozenset(os.environ.items())):
        text = text.replace(value, HIDDEN)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    for home in _homes(os.environ.get("HOME")):
        text = home.sub("~", text)
    return text


def names_a_secret(word: str) -> bool:
    """Whether a word of a command line is an option whose value, the next word, is a secret."""
    return _OPTION.fullmatch(word) is not None


@lru_cache(maxsize=4)
def _values(environment: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    """Return the values of the variables that hold secrets by their names, the longest first."""
    found = {value.strip() for name, value in environment if _VARIABLE.search(name)}
    return tuple(sorted((value for value in found if len(value) >= SHORTEST), key=len, reverse=True))


@lru_cache(maxsize=4)
def _homes(home: str | None) -> tuple[re.Pattern[str], ...]:
    """Return what finds the home folder, as it is called and as it is reached; `home` is HOME, for it may change."""
    try:
        folders = {str(Path.home()), str(Path.home().resolve())}
    except (OSError, RuntimeError):
        return ()  # nobody's, as in some containers
    return tuple(re.compile(rf"(?<![\w.~-]){re.escape(each)}(?![\w.-])") for each in folders if len(each) > 1)
