"""The faults page, which is shipped with the package: what more is said of a code."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

PAGE_NAME = "faults.md"


def sections() -> Mapping[str, str]:
    """Return the sections of the page by their titles, in their order; the codes' are titled by the code.

    Source: docs/faults.md, of which faults.md beside this module is a link.
    """
    text = files("gacheck.words").joinpath(PAGE_NAME).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in text.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        found[title.strip()] = body.strip()
    return found
