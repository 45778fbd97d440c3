"""Fills templates in. Imports jinja2: imported when a page is made."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from gacheck.reporters.text import clean, shorten

STYLE = "style.css"

# More than any text of ours takes; an error message that it quotes may have no end.
TEXT_COLUMNS = 500


def fill(template: str, *more_styles: str, **values: object) -> str:
    """Fill a template in.

    Args:
        template: Its name; it extends `base.html`.
        more_styles: Style sheets besides the one that all pages have.
        values: What it shows; text of whatever origin.
    """
    style = "".join(_source(name) for name in (STYLE, *more_styles))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment().get_template(template).render(style=style, style_hash=digest, **values)


@cache
def environment() -> Environment:
    """Return where the templates are, and how they are read."""
    return Environment(
        loader=PackageLoader("gacheck.reporters.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _source(name: str) -> str:
    loader = environment().loader
    assert loader is not None
    return loader.get_source(environment(), name)[0]


def _shown(value: object) -> object:
    """Make whatever a template shows harmless text; what is markup already was made of such, or is ours alone."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return shorten(clean(value), TEXT_COLUMNS)
    return value
