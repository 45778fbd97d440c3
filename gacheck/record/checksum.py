"""A record's checksum, by which a file that was edited since it was written is told."""

from __future__ import annotations

import hashlib
import re
from enum import Enum

KEY = "checksum"
"""The last key of the file: SHA-256, in hexadecimal, of all bytes before the comma in front of it."""

_END = re.compile(rb',\n "checksum": "([0-9a-f]{64})"\n\}\n\Z')
_LENGTH = len(',\n "checksum": "') + 64 + len('"\n}\n')


class Integrity(Enum):
    """Whether a record is as it was written."""

    WHOLE = "whole"
    EDITED = "edited"
    UNKNOWN = "unknown"
    """It has no checksum: an earlier gacheck wrote it, or somebody took it out."""


def sealed(text: str) -> str:
    """Return a file's text with its checksum.

    Args:
        text: A JSON object over several lines, indented by one space.
    """
    body = text.removesuffix("\n}")
    return f'{body},\n "{KEY}": "{_digest(body.encode())}"\n}}\n'


def integrity_of(content: bytes) -> Integrity:
    """Tell whether a file is as it was written, to the byte."""
    end = _END.search(content, max(0, len(content) - _LENGTH))
    if end is not None:
        return Integrity.WHOLE if _digest(content[: end.start()]) == end[1].decode() else Integrity.EDITED
    return Integrity.EDITED if f'"{KEY}"'.encode() in content else Integrity.UNKNOWN


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
